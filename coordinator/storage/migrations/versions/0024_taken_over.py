"""taken over: attempts whose log is that of an earlier build's"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None

SHARED = sa.text("log_of IS NOT NULL")


def upgrade() -> None:
    op.add_column("attempts", sa.Column("log_of", sa.String(60)))
    op.create_index(
        "ix_attempts_log_of",
        "attempts",
        ["log_of"],
        sqlite_where=SHARED,
        postgresql_where=SHARED,
    )
