"""What was pushed: refs, the files of modules, deliveries, LFS objects, and repositories whose
truth is here and in the object store, and not on a coordinator's disk."""

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

# A repository is made before its project's row, so nothing refers to that.
stored_repositories = sa.Table(
    "stored_repositories",
    metadata,
    sa.Column("project_id", sa.String(36), primary_key=True),
    sa.Column("version", sa.BigInteger, nullable=False),
    # Of the last change: a version may come twice, where a restored backup or a standby that took
    # over goes on from before; this doesn't.
    sa.Column("stamp", sa.String(32), nullable=False),
    sa.Column("head", sa.Text, nullable=False),
)

stored_refs = sa.Table(
    "stored_refs",
    metadata,
    sa.Column("project_id", sa.String(36), primary_key=True),
    sa.Column("ref", sa.Text, primary_key=True),
    sa.Column("sha", sa.String(64), nullable=False),
)

stored_packs = sa.Table(
    "stored_packs",
    metadata,
    sa.Column("object", sa.Text, primary_key=True),
    sa.Column("project_id", sa.String(36), nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    # When it was put aside as garbage, in seconds since 1970; missing: it is the repository's.
    sa.Column("aside", sa.BigInteger),
    sa.Column("pack_bytes", sa.BigInteger, nullable=False),
    sa.Column("index_bytes", sa.BigInteger, nullable=False),
    sa.Column("sha256", sa.String(64), nullable=False),
    sa.Column("created_at", Instant, nullable=False),
    # Set: it is of no repository any more, and deleted then.
    sa.Column("goes_at", Instant),
    sa.Index("ix_stored_packs_project_id", "project_id"),
    sa.Index("ix_stored_packs_goes_at", "goes_at"),
)

# What git has in the logs of branches.
ref_moves = sa.Table(
    "ref_moves",
    metadata,
    sa.Column("project_id", sa.String(36), primary_key=True),
    sa.Column("ref", sa.Text, primary_key=True),
    sa.Column("version", sa.BigInteger, primary_key=True, autoincrement=False),
    # Several of one version: those of a repository that was stored as it was found.
    sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("old", sa.String(64)),
    sa.Column("new", sa.String(64), nullable=False),
    sa.Column("moved_at", Instant, nullable=False),
)
