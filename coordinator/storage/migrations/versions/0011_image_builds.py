"""image builds from source files, and deployments of images

To be renumbered, with `down_revision` and migrate.HEAD, where another 0011 is merged first.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "image_projects",
        sa.Column("account_id", sa.String(length=36), nullable=False),
        sa.Column("image_name", sa.Text(), nullable=False),
        sa.Column("project_id", sa.String(length=36), nullable=False),
        sa.ForeignKeyConstraint(
            ["account_id"], ["accounts.id"], name=op.f("fk_image_projects_account_id")
        ),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name=op.f("fk_image_projects_project_id")
        ),
        sa.PrimaryKeyConstraint("account_id", "image_name", name=op.f("pk_image_projects")),
    )
    op.create_table(
        "image_builds",
        sa.Column("id", sa.String(length=50), nullable=False),
        sa.Column("build_id", sa.String(length=36), nullable=False),
        sa.Column("account_id", sa.String(length=36), nullable=False),
        sa.Column("agent_name", sa.Text(), nullable=False),
        sa.Column("image", sa.Text(), nullable=False),
        sa.Column("language", sa.Text(), nullable=False),
        sa.Column("entry_point", sa.Text(), nullable=True),
        sa.Column("framework", sa.Text(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["account_id"], ["accounts.id"], name=op.f("fk_image_builds_account_id")
        ),
        sa.ForeignKeyConstraint(["build_id"], ["builds.id"], name=op.f("fk_image_builds_build_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_image_builds")),
        sa.UniqueConstraint("build_id", name=op.f("uq_image_builds_build_id")),
    )
    op.create_table(
        "deployments",
        sa.Column("id", sa.String(length=50), nullable=False),
        sa.Column("build_id", sa.String(length=36), nullable=False),
        sa.Column("image_build_id", sa.String(length=50), nullable=True),
        sa.Column("account_id", sa.String(length=36), nullable=False),
        sa.Column("agent_name", sa.Text(), nullable=False),
        sa.Column("image", sa.Text(), nullable=False),
        sa.Column("llm_configs", sa.JSON(), nullable=False),
        sa.Column("replaced_by", sa.String(length=50), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["account_id"], ["accounts.id"], name=op.f("fk_deployments_account_id")
        ),
        sa.ForeignKeyConstraint(["build_id"], ["builds.id"], name=op.f("fk_deployments_build_id")),
        sa.ForeignKeyConstraint(
            ["image_build_id"],
            ["image_builds.id"],
            name=op.f("fk_deployments_image_build_id"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_deployments")),
        sa.UniqueConstraint("build_id", name=op.f("uq_deployments_build_id")),
    )
    op.create_index(
        "ix_deployments_account_id_agent_name", "deployments", ["account_id", "agent_name"]
    )
    op.create_index(
        "ix_deployments_account_id_created_at", "deployments", ["account_id", "created_at"]
    )
    op.create_index("ix_deployments_created_at", "deployments", ["created_at"])
