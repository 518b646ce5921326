"""which coordinator an agent is at, of several

SQLite has one coordinator, and no table of the others.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0056"
down_revision = "0055"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("agents", sa.Column("home", sa.Text))
    if op.get_bind().dialect.name == "postgresql":
        op.execute(
            "CREATE TABLE homes (name TEXT PRIMARY KEY, address TEXT NOT NULL,"
            " beat_at TIMESTAMPTZ NOT NULL, version BIGINT NOT NULL, agents TEXT NOT NULL)"
        )
