"""what others are told of builds: messages, their recipients, and which builds and projects tell"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0035"
down_revision = "0034"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for table in ("projects", "builds"):
        op.add_column(
            table, sa.Column("tells", sa.Boolean, nullable=False, server_default=sa.false())
        )
    op.add_column("builds", sa.Column("notify", sa.JSON))
    op.create_table(
        "recipients",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("project_id", sa.String(36), nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("forge", sa.Text),
        sa.Column("address", sa.Text, nullable=False),
        sa.Column("occasions", sa.Text, nullable=False, server_default=""),
        sa.Column("sealed", sa.LargeBinary, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_recipients"),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name="fk_recipients_project_id_projects"
        ),
    )
    op.create_index("ix_recipients_project_id", "recipients", ["project_id"])
    op.create_table(
        "outbox",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("project_id", sa.String(36), nullable=False),
        sa.Column("recipient_id", sa.String(36), nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("stream", sa.Text, nullable=False),
        sa.Column("build_id", sa.String(36), nullable=False),
        sa.Column("build_number", sa.Integer, nullable=False),
        sa.Column("facts", sa.JSON, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("reason", sa.Text),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("next_try_at", sa.BigInteger),
        sa.Column("tried_since", sa.BigInteger, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("finished_at", sa.BigInteger),
        sa.PrimaryKeyConstraint("id", name="pk_outbox"),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name="fk_outbox_project_id_projects"
        ),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_outbox_project_id", "outbox", ["project_id", "id"])
    op.create_index("ix_outbox_stream", "outbox", ["recipient_id", "stream", "build_number", "id"])
    op.create_index(
        "ix_outbox_waiting",
        "outbox",
        ["next_try_at", "id"],
        sqlite_where=sa.text("state = 'waiting'"),
        postgresql_where=sa.text("state = 'waiting'"),
    )
