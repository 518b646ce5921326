"""step inputs: what steps were made of, so that nothing is done twice"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0046"
down_revision = "0045"
branch_labels = None
depends_on = None

KEPT = sa.text("epoch IS NOT NULL")


def upgrade() -> None:
    op.create_table(
        "step_inputs",
        sa.Column("step_id", sa.String(36), sa.ForeignKey("steps.id"), primary_key=True),
        sa.Column("project_id", sa.String(36), sa.ForeignKey("projects.id"), nullable=False),
        sa.Column("build_number", sa.Integer, nullable=False),
        sa.Column("workflow", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("scope", sa.Text, nullable=False),
        sa.Column("key", sa.String(64)),
        sa.Column("parts", sa.JSON, nullable=False),
        sa.Column("files", sa.String(64)),
        sa.Column("never", sa.Text),
        sa.Column("asked", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("taken_from", sa.Integer),
        sa.Column("epoch", sa.Integer),
        sa.Column("left_files", sa.String(64)),
    )
    for name, columns in (
        ("ix_step_inputs_key", ["project_id", "key", "scope", "build_number"]),
        ("ix_step_inputs_name", ["project_id", "workflow", "name", "build_number"]),
    ):
        op.create_index(name, "step_inputs", columns, sqlite_where=KEPT, postgresql_where=KEPT)
    op.create_index("ix_step_inputs_files", "step_inputs", ["project_id", "files"])
    op.create_table(
        "input_lists",
        sa.Column("project_id", sa.String(36), sa.ForeignKey("projects.id"), primary_key=True),
        sa.Column("digest", sa.String(64), primary_key=True),
        sa.Column("files", sa.LargeBinary, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
    )
    op.add_column("build_images", sa.Column("found_at", sa.BigInteger))
    op.create_index("ix_build_images_found", "build_images", ["reference", "found_at"])
