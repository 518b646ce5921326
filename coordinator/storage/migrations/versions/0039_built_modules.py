"""builds: those of modules that succeeded, for the address of a module's artifacts"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0039"
down_revision = "0038"
branch_labels = None
depends_on = None

BUILT_MODULE = "state = 'succeeded' AND module IS NOT NULL"


def upgrade() -> None:
    op.create_index(
        "ix_builds_built_module",
        "builds",
        ["project_id", "ordinal"],
        sqlite_where=sa.text(BUILT_MODULE),
        postgresql_where=sa.text(BUILT_MODULE),
    )
