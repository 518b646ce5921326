"""agents that are told to end once what they run is over"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0041"
down_revision = "0040"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "agents", sa.Column("drained", sa.Boolean, nullable=False, server_default=sa.false())
    )
