"""agents: which take no new steps, and when one was removed"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0032"
down_revision = "0031"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "agents", sa.Column("paused", sa.Boolean, nullable=False, server_default=sa.false())
    )
    op.add_column("agents", sa.Column("removed_at", sa.BigInteger))
