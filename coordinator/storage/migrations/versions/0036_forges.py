"""projects: the kind of their forge, where somebody said so"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0036"
down_revision = "0035"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("projects", sa.Column("forge", sa.Text))
