"""delayed steps: which wait between two attempts, and until when"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0042"
down_revision = "0041"
branch_labels = None
depends_on = None

FOR_A_TIME = sa.text("state IN ('ready', 'waiting', 'delayed')")
WAITING = sa.text("state IN ('blocked', 'waiting', 'in-line', 'ready', 'delayed')")


def upgrade() -> None:
    for name, column, where in (
        ("ix_steps_queue_until", "queue_until", FOR_A_TIME),
        ("ix_steps_waiting", "project_id", WAITING),
    ):
        op.drop_index(name, "steps")
        op.create_index(name, "steps", [column], sqlite_where=where, postgresql_where=where)
