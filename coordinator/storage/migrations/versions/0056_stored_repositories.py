"""stored_repositories: repositories without a shared disk"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0056"
down_revision = "0054"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "stored_repositories",
        sa.Column("project_id", sa.String(36), primary_key=True),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("stamp", sa.String(32), nullable=False),
        sa.Column("head", sa.Text, nullable=False),
    )
    op.create_table(
        "stored_refs",
        sa.Column("project_id", sa.String(36), primary_key=True),
        sa.Column("ref", sa.Text, primary_key=True),
        sa.Column("sha", sa.String(64), nullable=False),
    )
    op.create_table(
        "stored_packs",
        sa.Column("object", sa.Text, primary_key=True),
        sa.Column("project_id", sa.String(36), nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("aside", sa.BigInteger),
        sa.Column("pack_bytes", sa.BigInteger, nullable=False),
        sa.Column("index_bytes", sa.BigInteger, nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("goes_at", sa.BigInteger),
    )
    op.create_index("ix_stored_packs_project_id", "stored_packs", ["project_id"])
    op.create_index("ix_stored_packs_goes_at", "stored_packs", ["goes_at"])
    op.create_table(
        "ref_moves",
        sa.Column("project_id", sa.String(36), primary_key=True),
        sa.Column("ref", sa.Text, primary_key=True),
        sa.Column("version", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("old", sa.String(64)),
        sa.Column("new", sa.String(64), nullable=False),
        sa.Column("moved_at", sa.BigInteger, nullable=False),
    )
