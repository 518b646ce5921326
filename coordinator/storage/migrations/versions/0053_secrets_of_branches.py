"""secrets of branches, tags and accounts; which ref's code builds run; deployments that are well

A ref of an earlier build is not known: what says who may have a secret asks for one that is.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0053"
down_revision = "0052"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "secret_values",
        sa.Column("scope_id", sa.String(36), nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("pattern", sa.Text, nullable=False),
        sa.Column("sealed", sa.LargeBinary, nullable=False),
        sa.Column("updated_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("scope_id", "name", "pattern", name="pk_secret_values"),
    )
    op.execute(
        "INSERT INTO secret_values (scope_id, name, pattern, sealed, updated_at) "
        "SELECT project_id, name, '', sealed, updated_at FROM secrets"
    )
    op.drop_table("secrets")
    op.add_column("deployments", sa.Column("healthy_epoch", sa.Integer))
    op.add_column("builds", sa.Column("trusted_ref", sa.Text))
