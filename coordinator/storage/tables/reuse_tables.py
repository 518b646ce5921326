"""What steps with `inputs` were made of, and which of their results may be taken."""

from __future__ import annotations

import sqlalchemy as sa

from coordinator.storage.tables.columns import Instant, id_of, metadata

KEPT = "epoch IS NOT NULL"

step_inputs = sa.Table(
    "step_inputs",
    metadata,
    sa.Column("step_id", sa.String(36), sa.ForeignKey("steps.id"), primary_key=True),
    id_of("projects"),
    sa.Column("build_number", sa.Integer, nullable=False),
    sa.Column("workflow", sa.Text, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("scope", sa.Text, nullable=False),
    sa.Column("key", sa.String(64)),
    sa.Column("parts", sa.JSON, nullable=False),
    sa.Column("files", sa.String(64)),
    # Why it was not looked for an earlier result, or why its own is none for others.
    sa.Column("never", sa.Text),
    # Whether an agent had to be asked for the image's digest.
    sa.Column("asked", sa.Boolean, nullable=False, default=False, server_default=sa.false()),
    # Number of the build that really ran it, where its result was taken.
    sa.Column("taken_from", sa.Integer),
    # Who sent the result that it is or was taken from, where no agent of ours has run it.
    sa.Column("laptop_of", sa.Text),
    # Of the attempt whose result others may take.
    sa.Column("epoch", sa.Integer),
    # Of what that attempt left.
    sa.Column("left_files", sa.String(64)),
    # The one that an equal step takes.
    sa.Index(
        "ix_step_inputs_key",
        "project_id",
        "key",
        "scope",
        "build_number",
        sqlite_where=sa.text(KEPT),
    ),
    # The nearest success of a step.
    sa.Index(
        "ix_step_inputs_name",
        "project_id",
        "workflow",
        "name",
        "build_number",
        sqlite_where=sa.text(KEPT),
    ),
    # Which lists of files are still of use.
    sa.Index("ix_step_inputs_files", "project_id", "files"),
)

input_lists = sa.Table(
    "input_lists",
    metadata,
    sa.Column("project_id", sa.String(36), sa.ForeignKey("projects.id"), primary_key=True),
    sa.Column("digest", sa.String(64), primary_key=True),
    # Compressed JSON, path → mode and id.
    sa.Column("files", sa.LargeBinary, nullable=False),
    sa.Column("created_at", Instant, nullable=False),
)
