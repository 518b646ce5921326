"""links and folders among a step's outputs, and the times of its artifacts"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("artifacts", sa.Column("modified", sa.BigInteger))
    op.create_table(
        "output_entries",
        sa.Column("step_id", sa.String(36), sa.ForeignKey("steps.id"), primary_key=True),
        sa.Column("epoch", sa.Integer, primary_key=True),
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("target", sa.Text),
        sa.Column("mode", sa.Integer, nullable=False),
    )
