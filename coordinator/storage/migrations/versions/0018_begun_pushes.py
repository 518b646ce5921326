"""pushes whose reading was begun, to notice those that end the coordinator

To be renumbered, with `down_revision` and migrate.HEAD, where another 0018 is merged first.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "begun_pushes",
        sa.Column("project_id", sa.String(length=36), nullable=False),
        sa.Column("ref", sa.Text(), nullable=False),
        sa.Column("sha", sa.String(length=64), nullable=False),
        sa.Column("processes", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name=op.f("fk_begun_pushes_project_id")
        ),
        sa.PrimaryKeyConstraint("project_id", "ref", "sha", name=op.f("pk_begun_pushes")),
    )
