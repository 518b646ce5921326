"""queues: what a ready step wants of an agent is a column, so that it can be asked for"""

from __future__ import annotations

import hashlib
import json

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

OPEN = "state IN ('blocked', 'ready', 'offered', 'running')"


def upgrade() -> None:
    op.add_column(
        "steps",
        sa.Column("queue_class", sa.String(length=32), nullable=False, server_default=""),
    )
    steps = sa.table(
        "steps",
        sa.column("id", sa.String),
        sa.column("account_id", sa.String),
        sa.column("labels", sa.JSON),
        sa.column("needs", sa.JSON),
        sa.column("queue_class", sa.String),
    )
    connection = op.get_bind()
    for row in connection.execute(sa.select(steps).where(sa.text(OPEN))).all():
        wanted = json.dumps([row.account_id, sorted(row.labels.items()), sorted(row.needs)])
        digest = hashlib.sha256(wanted.encode()).hexdigest()[:32]
        connection.execute(steps.update().where(steps.c.id == row.id).values(queue_class=digest))
    op.drop_index("ix_steps_ready", "steps")
    op.create_index(
        "ix_steps_queue",
        "steps",
        ["queue_class", "project_id", "ready_at", "position"],
        sqlite_where=sa.text("state = 'ready'"),
        postgresql_where=sa.text("state = 'ready'"),
    )
