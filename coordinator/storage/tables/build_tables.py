"""Builds, how many there are of each kind, and what a deleted one leaves."""

from __future__ import annotations

import sqlalchemy as sa

from coordinator.storage.tables.columns import Instant, id_of, metadata, ordinal, own_id

ON_ITS_WAY_IN_A_GROUP = "state IN ('queued', 'running') AND concurrency_group IS NOT NULL"
BUILT_MODULE = "state = 'succeeded' AND module IS NOT NULL"

builds = sa.Table(
    "builds",
    metadata,
    own_id(),
    id_of("projects"),
    id_of("accounts"),
    id_of("workflows", nullable=True),
    sa.Column("workflow_name", sa.Text, nullable=False),
    sa.Column("number", sa.Integer, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("event", sa.Text, nullable=False),
    sa.Column("version", sa.Integer, nullable=False, default=1),
    sa.Column("open_steps", sa.Integer, nullable=False, default=0, server_default="0"),
    sa.Column("reason", sa.Text),
    sa.Column("problems", sa.JSON, nullable=False, default=list),
    sa.Column("commit_hash", sa.Text),
    sa.Column("repo_url", sa.Text),
    sa.Column("branch", sa.Text),
    sa.Column("commit_message", sa.Text),
    sa.Column("commit_author", sa.Text),
    sa.Column("tag", sa.Text),
    sa.Column("params", sa.JSON(none_as_null=True)),
    sa.Column("retry_of", sa.String(36), sa.ForeignKey("builds.id")),
    sa.Column("pull_request", sa.JSON(none_as_null=True)),
    sa.Column("module", sa.JSON(none_as_null=True)),
    sa.Column("includes", sa.JSON, nullable=False, default=list, server_default="[]"),
    sa.Column("clean", sa.Boolean, nullable=False, default=False, server_default=sa.false()),
    sa.Column("outside", sa.Boolean, nullable=False, default=False, server_default=sa.false()),
    sa.Column("started_by", sa.Text),
    sa.Column("concurrency_group", sa.Text),
    sa.Column(
        "cancel_running", sa.Boolean, nullable=False, default=False, server_default=sa.false()
    ),
    sa.Column("in_line", sa.Boolean, nullable=False, default=False, server_default=sa.false()),
    sa.Column("fail_fast", sa.Boolean, nullable=False, default=False, server_default=sa.false()),
    sa.Column("timeout_seconds", sa.Integer),
    sa.Column("deadline", Instant),
    # Gates that wait now, and what is left of the timeout when they have been answered.
    sa.Column("open_gates", sa.Integer, nullable=False, default=0, server_default="0"),
    sa.Column("timeout_left", sa.Float),
    sa.Column("fails_as", sa.Text),
    # Whether attempts of its steps have any: else nobody looks for them.
    sa.Column("has_outputs", sa.Boolean, nullable=False, default=False, server_default=sa.false()),
    # Whether others are told of it: else nobody looks for them.
    sa.Column("tells", sa.Boolean, nullable=False, default=False, server_default=sa.false()),
    # Whether others wait for its success: else nobody looks for them.
    sa.Column(
        "starts_others", sa.Boolean, nullable=False, default=False, server_default=sa.false()
    ),
    sa.Column("upstream", sa.JSON(none_as_null=True)),
    sa.Column("trusted_ref", sa.Text),
    sa.Column("notify", sa.JSON(none_as_null=True)),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("updated_at", Instant, nullable=False, server_default="0"),
    sa.Column("started_at", Instant),
    sa.Column("finished_at", Instant),
    # Whom it owes that no limit of retention reaches it.
    sa.Column("pinned_by", sa.Text),
    # Since when its logs, and its artifacts, are deleted, while it stays.
    sa.Column("logs_gone_at", Instant),
    sa.Column("artifacts_gone_at", Instant),
    # How long outputs of its steps stay that say so themselves, in seconds; NULL where none does
    # any more.
    sa.Column("keeps", sa.JSON(none_as_null=True)),
    sa.UniqueConstraint("project_id", "number"),
    # What a workflow's steps took last, for the estimate of a running build's end.
    sa.Index("ix_builds_workflow_id_finished_at", "workflow_id", "finished_at"),
    ordinal("builds"),
    # The lists of storage.build_lists. What stands behind the ordinal is there so that no row has
    # to be read for one that is skipped.
    sa.Index("ix_builds_ordinal", "ordinal", unique=True),
    sa.Index("ix_builds_state", "state", "ordinal"),
    sa.Index("ix_builds_account", "account_id", "ordinal"),
    sa.Index("ix_builds_account_updated", "account_id", "updated_at", "ordinal"),
    sa.Index("ix_builds_account_number", "account_id", "number", "ordinal"),
    sa.Index("ix_builds_account_state", "account_id", "state", "ordinal"),
    sa.Index("ix_builds_account_state_updated", "account_id", "state", "updated_at", "ordinal"),
    sa.Index("ix_builds_account_state_number", "account_id", "state", "number", "ordinal"),
    sa.Index("ix_builds_project", "project_id", "ordinal"),
    sa.Index("ix_builds_project_branch", "project_id", "branch", "ordinal", "state"),
    sa.Index("ix_builds_project_state", "project_id", "state", "ordinal"),
    sa.Index("ix_builds_project_state_updated", "project_id", "state", "updated_at", "ordinal"),
    sa.Index("ix_builds_project_updated", "project_id", "updated_at", "ordinal", "branch", "state"),
    # What there is of a commit that is pushed and asked to be merged.
    sa.Index("ix_builds_commit", "project_id", "commit_hash"),
    # Who is on its way, or in line, in a group.
    sa.Index(
        "ix_builds_concurrency_group",
        "project_id",
        "concurrency_group",
        sqlite_where=sa.text(ON_ITS_WAY_IN_A_GROUP),
    ),
    sa.Index(
        "ix_builds_deadline",
        "deadline",
        sqlite_where=sa.text("state = 'running' AND deadline IS NOT NULL"),
    ),
    # The newest success of a module, whose artifacts have its address.
    sa.Index(
        "ix_builds_built_module",
        "project_id",
        "ordinal",
        sqlite_where=sa.text(BUILT_MODULE),
    ),
    # Of how many builds outputs are kept for as long as they say.
    sa.Index(
        "ix_builds_keeps",
        "project_id",
        sqlite_where=sa.text("keeps IS NOT NULL"),
    ),
    # A build that is deleted is looked for here: its retries lose their link.
    sa.Index(
        "ix_builds_retry_of",
        "retry_of",
        sqlite_where=sa.text("retry_of IS NOT NULL"),
    ),
)

build_counts = sa.Table(
    "build_counts",
    metadata,
    sa.Column("branch", sa.Text, primary_key=True),
    sa.Column("account_id", sa.String(36), sa.ForeignKey("accounts.id"), primary_key=True),
    sa.Column("project_id", sa.String(36), sa.ForeignKey("projects.id"), primary_key=True),
    sa.Column("state", sa.Text, primary_key=True),
    sa.Column("builds", sa.Integer, nullable=False),
    sqlite_with_rowid=False,
)

doomed_objects = sa.Table(
    "doomed_objects",
    metadata,
    sa.Column("kind", sa.Text, primary_key=True),
    sa.Column("account_id", sa.String(36), sa.ForeignKey("accounts.id"), primary_key=True),
    sa.Column("name", sa.Text, primary_key=True),
)

keyed_requests = sa.Table(
    "keyed_requests",
    metadata,
    sa.Column("account_id", sa.String(36), primary_key=True),
    sa.Column("holder", sa.String(300), primary_key=True),
    sa.Column("key", sa.String(255), primary_key=True),
    sa.Column("fingerprint", sa.String(64), nullable=False),
    sa.Column("build_id", sa.String(36), nullable=False),
    sa.Column("answer", sa.Text, nullable=False),
    sa.Column("created_at", Instant, nullable=False),
    # What is old is found by its time.
    sa.Index("ix_keyed_requests_created_at", "created_at"),
)
