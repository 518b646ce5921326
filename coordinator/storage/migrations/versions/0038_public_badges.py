"""projects: whether everybody sees their badges and their feed"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0038"
down_revision = "0037"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "projects",
        sa.Column("public_badges", sa.Boolean, nullable=False, server_default=sa.false()),
    )
