"""who started: the name of whoever asked for a build"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0029"
down_revision = "0028"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("builds", sa.Column("started_by", sa.Text))
