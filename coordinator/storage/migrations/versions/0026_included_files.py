"""which files of other projects a build's workflow includes"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0026"
down_revision = "0025"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("builds", sa.Column("includes", sa.JSON(), nullable=False, server_default="[]"))
