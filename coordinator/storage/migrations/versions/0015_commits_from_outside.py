"""whether a build's commit was on no branch of the project when it was made"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "builds", sa.Column("outside", sa.Boolean(), nullable=False, server_default=sa.false())
    )
