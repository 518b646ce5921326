"""projects: archived, renamed, with a new webhook secret, deleted

The audit log keeps what was done to a project that is gone, so it refers to none any more.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("projects", sa.Column("archived_at", sa.BigInteger))
    op.add_column(
        "projects",
        sa.Column("webhook_secret_number", sa.Integer, nullable=False, server_default="0"),
    )
    op.create_table(
        "former_slugs",
        sa.Column("account_id", sa.String(36), sa.ForeignKey("accounts.id"), primary_key=True),
        sa.Column("slug", sa.Text, primary_key=True),
        sa.Column("project_id", sa.String(36), sa.ForeignKey("projects.id"), nullable=False),
    )
    op.create_index("ix_former_slugs_project_id", "former_slugs", ["project_id"])
    with op.batch_alter_table("audit_log") as audit_log:
        audit_log.drop_constraint("fk_audit_log_project_id", type_="foreignkey")
