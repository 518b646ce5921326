"""whose token it is, where a user made it

A person is the holder of what another of his tokens has claimed.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("tokens", sa.Column("user_id", sa.String(length=36), nullable=True))
