"""groups of steps: which group a step is in, and who has a place or is in line for one"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0034"
down_revision = "0033"
branch_labels = None
depends_on = None

IN_A_GROUP = sa.text(
    "concurrency_group IS NOT NULL AND state IN ('in-line', 'ready', 'offered', 'running')"
)
WAITING = sa.text("state IN ('blocked', 'waiting', 'in-line', 'ready')")


def upgrade() -> None:
    op.add_column("steps", sa.Column("concurrency_group", sa.Text))
    op.create_index(
        "ix_steps_concurrency_group",
        "steps",
        ["account_id", "concurrency_group", "state", "ready_at", "position"],
        sqlite_where=IN_A_GROUP,
        postgresql_where=IN_A_GROUP,
    )
    op.drop_index("ix_steps_waiting", "steps")
    op.create_index(
        "ix_steps_waiting",
        "steps",
        ["project_id"],
        sqlite_where=WAITING,
        postgresql_where=WAITING,
    )
