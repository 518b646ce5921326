"""who leads the coordinators that share a PostgreSQL

SQLite has one coordinator, and no table of it.
"""

from __future__ import annotations

from alembic import op

revision = "0054"
down_revision = "0053"
branch_labels = None
depends_on = None


def upgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.execute(
            "ALTER TABLE coordinator_starts ADD COLUMN holder TEXT, ADD COLUMN address TEXT,"
            " ADD COLUMN key_print TEXT, ADD COLUMN beat_at TIMESTAMPTZ"
        )
