"""projects: whether their forges are told of each step, too"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0043"
down_revision = "0042"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "projects",
        sa.Column("status_per_step", sa.Boolean, nullable=False, server_default=sa.false()),
    )
