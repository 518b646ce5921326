"""build images: what a tag meant to the first of a build's steps that asked"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "build_images",
        sa.Column("build_id", sa.String(36), sa.ForeignKey("builds.id"), primary_key=True),
        sa.Column("reference", sa.String(600), primary_key=True),
        sa.Column("digest", sa.String(71), nullable=False),
    )
