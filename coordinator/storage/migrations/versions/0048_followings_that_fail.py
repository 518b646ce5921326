"""builds that are to follow: how often making one has failed, and when it is tried again"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0048"
down_revision = "0047"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("followings", sa.Column("faults", sa.Integer, nullable=False, server_default="0"))
    op.add_column("followings", sa.Column("due_at", sa.BigInteger))
    op.create_index("ix_followings_due_at", "followings", ["due_at"])
