"""Images: named, built, settled and deployed."""

from __future__ import annotations

import sqlalchemy as sa

from coordinator.storage.tables.columns import Instant, id_of, metadata, own_id

images = sa.Table(
    "images",
    metadata,
    own_id(),
    id_of("accounts"),
    sa.Column("slug", sa.Text, nullable=False),
    sa.Column("image_url", sa.Text, nullable=False),
    sa.Column("public", sa.Boolean, nullable=False),
    sa.Column("shared", sa.Boolean, nullable=False),
    sa.Column("created_at", Instant, nullable=False),
    sa.UniqueConstraint("account_id", "slug"),
    sa.Index("ix_images_slug", "slug"),
    sa.Index(
        "ix_images_public",
        "slug",
        sqlite_where=sa.text("public = 1"),
    ),
)

image_projects = sa.Table(
    "image_projects",
    metadata,
    sa.Column("account_id", sa.String(36), sa.ForeignKey("accounts.id"), primary_key=True),
    sa.Column("image_name", sa.Text, primary_key=True),
    id_of("projects"),
)

image_builds = sa.Table(
    "image_builds",
    metadata,
    sa.Column("id", sa.String(50), primary_key=True),
    id_of("builds"),
    id_of("accounts"),
    sa.Column("agent_name", sa.Text, nullable=False),
    sa.Column("image", sa.Text, nullable=False),
    sa.Column("language", sa.Text, nullable=False),
    sa.Column("entry_point", sa.Text),
    sa.Column("framework", sa.Text),
    sa.Column("created_at", Instant, nullable=False),
    sa.UniqueConstraint("build_id"),
    sa.Index("ix_image_builds_account_id_created_at", "account_id", "created_at"),
    sa.Index("ix_image_builds_created_at", "created_at"),
)

build_images = sa.Table(
    "build_images",
    metadata,
    sa.Column("build_id", sa.String(36), sa.ForeignKey("builds.id"), primary_key=True),
    sa.Column("reference", sa.String(600), primary_key=True),
    sa.Column("digest", sa.String(71), nullable=False),
    sa.Column("found_at", Instant),
    # What an agent found of late.
    sa.Index("ix_build_images_found", "reference", "found_at"),
)
"""What a tag meant to the first of a build's steps that asked its registry."""

deployments = sa.Table(
    "deployments",
    metadata,
    sa.Column("id", sa.String(50), primary_key=True),
    id_of("builds"),
    sa.Column("image_build_id", sa.String(50), sa.ForeignKey("image_builds.id")),
    id_of("accounts"),
    sa.Column("agent_name", sa.Text, nullable=False),
    sa.Column("image", sa.Text, nullable=False),
    sa.Column("llm_configs", sa.JSON, nullable=False),
    sa.Column("replaced_by", sa.String(50)),
    # The hand-out of its program that has answered its health check.
    sa.Column("healthy_epoch", sa.Integer),
    sa.Column("created_at", Instant, nullable=False),
    sa.UniqueConstraint("build_id"),
    sa.Index("ix_deployments_account_id_agent_name", "account_id", "agent_name"),
    sa.Index("ix_deployments_account_id_created_at", "account_id", "created_at"),
    sa.Index("ix_deployments_created_at", "created_at"),
)
