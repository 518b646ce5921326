"""Repositories whose truth is here and in the object store, and not on a coordinator's disk."""

from __future__ import annotations

import sqlalchemy as sa

from coordinator.storage.tables.columns import Instant, metadata

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
