"""What was pushed: refs, the files of modules, deliveries, LFS objects."""

from __future__ import annotations

import sqlalchemy as sa

from coordinator.storage.tables.columns import Instant, id_of, metadata, ordinal, own_id

seen_refs = sa.Table(
    "seen_refs",
    metadata,
    sa.Column("project_id", sa.String(36), sa.ForeignKey("projects.id"), primary_key=True),
    sa.Column("ref", sa.Text, primary_key=True),
    sa.Column("sha", sa.String(64), nullable=False),
)

begun_pushes = sa.Table(
    "begun_pushes",
    metadata,
    sa.Column("project_id", sa.String(36), sa.ForeignKey("projects.id"), primary_key=True),
    sa.Column("ref", sa.Text, primary_key=True),
    sa.Column("sha", sa.String(64), primary_key=True),
    sa.Column("processes", sa.Integer, nullable=False),
)

module_files = sa.Table(
    "module_files",
    metadata,
    sa.Column("project_id", sa.String(36), sa.ForeignKey("projects.id"), primary_key=True),
    sa.Column("commit_hash", sa.Text),
    sa.Column("branch", sa.Text),
    sa.Column("problems", sa.JSON, nullable=False),
    sa.Column("is_broken", sa.Boolean, nullable=False),
)

modules = sa.Table(
    "modules",
    metadata,
    sa.Column("project_id", sa.String(36), sa.ForeignKey("projects.id"), primary_key=True),
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("definition", sa.JSON, nullable=False),
    sa.Index("ix_modules_name", "name"),
)

schedules = sa.Table(
    "schedules",
    metadata,
    own_id(),
    id_of("projects"),
    sa.Column("path", sa.Text, nullable=False),
    sa.Column("definition", sa.JSON, nullable=False),
    sa.Column("next_at", Instant, nullable=False),
    sa.Index("ix_schedules_project_id", "project_id"),
    sa.Index("ix_schedules_next_at", "next_at"),
)

build_listeners = sa.Table(
    "build_listeners",
    metadata,
    own_id(),
    id_of("accounts"),
    id_of("projects"),
    sa.Column("path", sa.Text, nullable=False),
    sa.Column("upstream", sa.Text, nullable=False),
    sa.Column("definition", sa.JSON, nullable=False),
    sa.Index("ix_build_listeners_project_id", "project_id"),
    sa.Index("ix_build_listeners_upstream", "account_id", "upstream"),
)

followings = sa.Table(
    "followings",
    metadata,
    own_id(),
    id_of("projects"),
    sa.Column("path", sa.Text, nullable=False),
    sa.Column("upstream", sa.JSON, nullable=False),
    sa.Column("faults", sa.Integer, nullable=False, default=0, server_default="0"),
    # Missing: at once.
    sa.Column("due_at", Instant),
    sa.Index("ix_followings_project_id", "project_id"),
    sa.Index("ix_followings_due_at", "due_at"),
)

deliveries = sa.Table(
    "deliveries",
    metadata,
    own_id(),
    id_of("projects"),
    id_of("accounts"),
    sa.Column("delivery_id", sa.Text, nullable=False),
    sa.Column("forge", sa.Text, nullable=False),
    sa.Column("event", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("reason", sa.Text),
    sa.Column("payload", sa.JSON, nullable=False),
    sa.Column("builds", sa.JSON, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False, default=0),
    sa.Column("next_try_at", Instant),
    sa.Column("received_at", Instant, nullable=False),
    sa.Column("finished_at", Instant),
    sa.UniqueConstraint("project_id", "delivery_id"),
    ordinal("deliveries"),
    sa.Index("ix_deliveries_ordinal", "ordinal", unique=True),
    sa.Index("ix_deliveries_project", "project_id", "ordinal"),
    # What is old is found by its time.
    sa.Index("ix_deliveries_listed", "project_id", "received_at", "id"),
    # Partial: what waits is looked for at each wake and must not grow with the history.
    sa.Index(
        "ix_deliveries_waiting",
        "next_try_at",
        sqlite_where=sa.text("state = 'received'"),
        postgresql_where=sa.text("state = 'received'"),
    ),
)

lfs_objects = sa.Table(
    "lfs_objects",
    metadata,
    sa.Column("project_id", sa.String(36), sa.ForeignKey("projects.id"), primary_key=True),
    sa.Column("oid", sa.String(64), primary_key=True),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("created_at", Instant, nullable=False),
)

lfs_origins = sa.Table(
    "lfs_origins",
    metadata,
    sa.Column("project_id", sa.String(36), sa.ForeignKey("projects.id"), primary_key=True),
    sa.Column("oid", sa.String(64), primary_key=True),
    sa.Column("origin", sa.String(64), primary_key=True),
)
