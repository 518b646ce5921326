"""step_inputs: who sent a result from a laptop"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0051"
down_revision = "0050"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("step_inputs", sa.Column("laptop_of", sa.Text))
