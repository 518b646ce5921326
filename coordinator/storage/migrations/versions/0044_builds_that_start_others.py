"""builds that start workflows of other projects; steps wait that are resolved late"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0044"
down_revision = "0043"
branch_labels = None
depends_on = None

WAITS = sa.text("state IN ('blocked', 'resolving', 'waiting', 'in-line', 'ready', 'delayed')")


def upgrade() -> None:
    op.create_table(
        "build_listeners",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("account_id", sa.String(36), sa.ForeignKey("accounts.id"), nullable=False),
        sa.Column("project_id", sa.String(36), sa.ForeignKey("projects.id"), nullable=False),
        sa.Column("path", sa.Text, nullable=False),
        sa.Column("upstream", sa.Text, nullable=False),
        sa.Column("definition", sa.JSON, nullable=False),
    )
    op.create_index("ix_build_listeners_project_id", "build_listeners", ["project_id"])
    op.create_index("ix_build_listeners_upstream", "build_listeners", ["account_id", "upstream"])
    op.create_table(
        "followings",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("project_id", sa.String(36), sa.ForeignKey("projects.id"), nullable=False),
        sa.Column("path", sa.Text, nullable=False),
        sa.Column("upstream", sa.JSON, nullable=False),
    )
    op.create_index("ix_followings_project_id", "followings", ["project_id"])
    op.add_column(
        "builds",
        sa.Column("starts_others", sa.Boolean, nullable=False, server_default=sa.false()),
    )
    op.add_column("builds", sa.Column("upstream", sa.JSON))
    op.drop_index("ix_steps_waiting", "steps")
    op.create_index(
        "ix_steps_waiting",
        "steps",
        ["project_id"],
        sqlite_where=WAITS,
        postgresql_where=WAITS,
    )
