"""steps: which wait until their conditions are worked out"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0037"
down_revision = "0036"
branch_labels = None
depends_on = None

RESOLVING = sa.text("state = 'resolving'")


def upgrade() -> None:
    op.create_index(
        "ix_steps_resolving",
        "steps",
        ["build_id"],
        sqlite_where=RESOLVING,
        postgresql_where=RESOLVING,
    )
