"""queue timeouts: until when a ready step waits for an agent

What waits already does so for a day from now: nobody was told before that it might end.
"""

from __future__ import annotations

import time

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

DAY_SECONDS = 24 * 60 * 60


def upgrade() -> None:
    op.add_column("steps", sa.Column("queue_until", sa.BigInteger(), nullable=True))
    until = int((time.time() + DAY_SECONDS) * 1_000_000)
    op.get_bind().execute(
        sa.text("UPDATE steps SET queue_until = :until WHERE state IN ('ready', 'offered')"),
        {"until": until},
    )
    op.create_index(
        "ix_steps_queue_until",
        "steps",
        ["queue_until"],
        sqlite_where=sa.text("state = 'ready'"),
        postgresql_where=sa.text("state = 'ready'"),
    )
