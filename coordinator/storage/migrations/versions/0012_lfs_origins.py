"""where LFS objects were fetched from, and for whom

Those that are here already are fetched once more: nobody wrote down where they came from.
To be renumbered, with `down_revision` and migrate.HEAD, where another 0012 is merged first.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "lfs_origins",
        sa.Column("project_id", sa.String(length=36), nullable=False),
        sa.Column("oid", sa.String(length=64), nullable=False),
        sa.Column("origin", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name=op.f("fk_lfs_origins_project_id")
        ),
        sa.PrimaryKeyConstraint("project_id", "oid", "origin", name=op.f("pk_lfs_origins")),
    )
