"""tags and parameters of builds

To be renumbered, with `down_revision` and migrate.HEAD, where another 0002 is merged first.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("builds", sa.Column("tag", sa.Text(), nullable=True))
    op.add_column("builds", sa.Column("params", sa.JSON(), nullable=True))
