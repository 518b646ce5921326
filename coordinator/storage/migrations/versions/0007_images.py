"""what steps need of an engine and what images they pushed; logins to registries

To be renumbered, with `down_revision` and migrate.HEAD, where another 0007 is merged first.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("steps", sa.Column("needs", sa.JSON(), nullable=False, server_default="[]"))
    op.add_column("steps", sa.Column("images", sa.JSON(), nullable=True))
    op.create_table(
        "registry_logins",
        sa.Column("scope_id", sa.String(length=36), nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("username", sa.Text(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("scope_id", "host", name=op.f("pk_registry_logins")),
    )
