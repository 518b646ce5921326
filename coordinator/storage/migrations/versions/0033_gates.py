"""gates: steps that wait for somebody's answer, and builds whose clock stands still meanwhile"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0033"
down_revision = "0032"
branch_labels = None
depends_on = None

WAITS_FOR_SOMEBODY = sa.text("state IN ('ready', 'waiting')")


def upgrade() -> None:
    op.add_column("steps", sa.Column("answer", sa.JSON()))
    op.add_column("builds", sa.Column("open_gates", sa.Integer, nullable=False, server_default="0"))
    op.add_column("builds", sa.Column("timeout_left", sa.Float))
    op.drop_index("ix_steps_queue_until", "steps")
    op.create_index(
        "ix_steps_queue_until",
        "steps",
        ["queue_until"],
        sqlite_where=WAITS_FOR_SOMEBODY,
        postgresql_where=WAITS_FOR_SOMEBODY,
    )
