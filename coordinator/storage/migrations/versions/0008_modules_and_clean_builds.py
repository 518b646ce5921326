"""modules of repositories, builds of a module, clean builds and the caches they begin

To be renumbered, with `down_revision` and migrate.HEAD, where another 0008 is merged first.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "module_files",
        sa.Column("project_id", sa.String(length=36), nullable=False),
        sa.Column("commit_hash", sa.Text(), nullable=True),
        sa.Column("branch", sa.Text(), nullable=True),
        sa.Column("problems", sa.JSON(), nullable=False),
        sa.Column("is_broken", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name=op.f("fk_module_files_project_id")
        ),
        sa.PrimaryKeyConstraint("project_id", name=op.f("pk_module_files")),
    )
    op.create_table(
        "modules",
        sa.Column("project_id", sa.String(length=36), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("definition", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name=op.f("fk_modules_project_id")
        ),
        sa.PrimaryKeyConstraint("project_id", "name", name=op.f("pk_modules")),
    )
    op.create_index("ix_modules_name", "modules", ["name"])
    op.create_table(
        "cache_generations",
        sa.Column("project_id", sa.String(length=36), nullable=False),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("step_name", sa.Text(), nullable=False),
        sa.Column("generation", sa.Text(), nullable=False),
        sa.Column("previous", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name=op.f("fk_cache_generations_project_id")
        ),
        sa.PrimaryKeyConstraint(
            "project_id", "scope", "step_name", name=op.f("pk_cache_generations")
        ),
    )
    op.add_column("builds", sa.Column("module", sa.JSON(), nullable=True))
    op.add_column(
        "builds", sa.Column("clean", sa.Boolean(), nullable=False, server_default=sa.false())
    )
