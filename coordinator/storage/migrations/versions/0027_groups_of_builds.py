"""groups of builds: which of a group is on its way, and what ends a whole build"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0027"
down_revision = "0026"
branch_labels = None
depends_on = None

INDEXES = {
    "ix_builds_concurrency_group": (
        ["project_id", "concurrency_group"],
        "state IN ('queued', 'running') AND concurrency_group IS NOT NULL",
    ),
    "ix_builds_deadline": (["deadline"], "state = 'running' AND deadline IS NOT NULL"),
}


def upgrade() -> None:
    op.add_column("builds", sa.Column("concurrency_group", sa.Text))
    for name in ("cancel_running", "in_line", "fail_fast"):
        op.add_column(
            "builds", sa.Column(name, sa.Boolean, nullable=False, server_default=sa.false())
        )
    op.add_column("builds", sa.Column("timeout_seconds", sa.Integer))
    op.add_column("builds", sa.Column("deadline", sa.BigInteger))
    op.add_column("builds", sa.Column("fails_as", sa.Text))
    for name, (columns, where) in INDEXES.items():
        op.create_index(
            name,
            "builds",
            columns,
            sqlite_where=sa.text(where),
            postgresql_where=sa.text(where),
        )
