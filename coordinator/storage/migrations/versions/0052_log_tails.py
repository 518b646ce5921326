"""log_tails: the newest lines of logs that are not folded yet"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0052"
down_revision = "0051"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "log_tails",
        sa.Column("attempt_id", sa.String(60), primary_key=True),
        sa.Column("start", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("end_offset", sa.BigInteger, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
    )
    # How long the object of a folded log is; what a log takes that isn't folded is its text.
    op.add_column("attempts", sa.Column("log_stored", sa.BigInteger))
