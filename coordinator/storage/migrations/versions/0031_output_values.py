"""output values: what a step's script hands on to those that depend on it"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0031"
down_revision = "0030"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("attempts", sa.Column("outputs", sa.JSON()))
    op.add_column(
        "builds",
        sa.Column("has_outputs", sa.Boolean, nullable=False, server_default=sa.false()),
    )
