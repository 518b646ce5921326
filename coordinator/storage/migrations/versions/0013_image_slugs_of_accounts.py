"""image slugs are an account's own; only what an administrator makes public is everybody's

Who made a public image was not written down. Those of the account that administrators' images go to
stay everybody's where nobody else could have made them there.
To be renumbered, with `down_revision` and migrate.HEAD, where another 0013 is merged first.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

KEPT = "id, account_id, slug, image_url, public, created_at"
SHARED = """
    public AND account_id IN (SELECT id FROM accounts WHERE slug = 'default')
    AND NOT EXISTS (SELECT 1 FROM memberships WHERE account_id = images.account_id)
    AND NOT EXISTS (
        SELECT 1 FROM tokens
        WHERE account_id = images.account_id AND role IN ('maintainer', 'admin')
    )
"""


def upgrade() -> None:
    # On PostgreSQL the names of keys are unique in the schema, and `images` still has them.
    beside = "_beside" if op.get_bind().dialect.name == "postgresql" else ""
    op.create_table(
        "images_of_accounts",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("account_id", sa.String(length=36), nullable=False),
        sa.Column("slug", sa.Text(), nullable=False),
        sa.Column("image_url", sa.Text(), nullable=False),
        sa.Column("public", sa.Boolean(), nullable=False),
        sa.Column("shared", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_images_account_id")),
        sa.PrimaryKeyConstraint("id", name=op.f(f"pk_images{beside}")),
        sa.UniqueConstraint("account_id", "slug", name=op.f(f"uq_images_account_id_slug{beside}")),
    )
    op.execute(
        f"INSERT INTO images_of_accounts ({KEPT}, shared) SELECT {KEPT}, {SHARED} FROM images"  # noqa: S608 - constants
    )
    op.drop_table("images")
    op.rename_table("images_of_accounts", "images")
    if beside:
        for kind in ("pk_images", "uq_images_account_id_slug"):
            op.execute(f"ALTER INDEX {kind}{beside} RENAME TO {kind}")
    op.create_index("ix_images_slug", "images", ["slug"])
    op.create_index(
        "ix_images_public",
        "images",
        ["slug"],
        sqlite_where=sa.text("public = 1"),
        postgresql_where=sa.text("public"),
    )
