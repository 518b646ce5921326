"""outputs that say how long they stay, and what went of them; projects that are trusted"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0050"
down_revision = "0049"
branch_labels = None
depends_on = None

SOME = sa.text("keeps IS NOT NULL")


def upgrade() -> None:
    op.add_column("builds", sa.Column("keeps", sa.JSON))
    op.add_column("steps", sa.Column("gone_outputs", sa.JSON))
    op.add_column(
        "projects", sa.Column("trusted", sa.Boolean, nullable=False, server_default=sa.false())
    )
    op.create_index(
        "ix_builds_keeps", "builds", ["project_id"], sqlite_where=SOME, postgresql_where=SOME
    )
