"""Steps, their attempts, and what these made."""

from __future__ import annotations

import sqlalchemy as sa

from coordinator.storage.tables.columns import Instant, id_of, metadata, own_id

WAITS_FOR_A_TIME = "state IN ('ready', 'waiting', 'delayed')"
"""For an agent, for an answer, or for its next attempt: until a time that its row has."""
WAITS = "state IN ('blocked', 'resolving', 'waiting', 'in-line', 'ready', 'delayed')"
"""For whatever it may be."""
IN_A_GROUP = "concurrency_group IS NOT NULL AND state IN ('in-line', 'ready', 'offered', 'running')"
"""With a place in it, or in line for one."""

steps = sa.Table(
    "steps",
    metadata,
    own_id(),
    id_of("builds"),
    id_of("projects"),
    id_of("accounts"),
    sa.Column("position", sa.Integer, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("definition", sa.JSON, nullable=False),
    sa.Column("depends_on", sa.JSON, nullable=False),
    sa.Column("dependants", sa.JSON, nullable=False, default=list, server_default="[]"),
    sa.Column("waits", sa.Integer, nullable=False, default=0, server_default="0"),
    sa.Column("labels", sa.JSON, nullable=False),
    sa.Column("epoch", sa.Integer, nullable=False, default=0),
    sa.Column("attempt", sa.Integer, nullable=False, default=0),
    sa.Column("lost_count", sa.Integer, nullable=False, default=0),
    sa.Column("needs", sa.JSON, nullable=False, default=list),
    # A digest of account, labels and needs: steps of one class suit the same agents.
    sa.Column("queue_class", sa.String(32), nullable=False, server_default=""),
    sa.Column("holder", sa.Text),
    sa.Column("lease_seconds", sa.Float),
    sa.Column("cancel_requested_by", sa.Text),
    sa.Column("exit_code", sa.Integer),
    sa.Column("reason", sa.Text),
    sa.Column("message", sa.Text),
    sa.Column("images", sa.JSON(none_as_null=True)),
    sa.Column("concurrency_group", sa.Text),
    # Of a gate: what somebody said.
    sa.Column("answer", sa.JSON(none_as_null=True)),
    # What a `keep` of its outputs let go.
    sa.Column("gone_outputs", sa.JSON(none_as_null=True)),
    sa.Column("ready_at", Instant),
    # When its time in the queue, for an answer or between two attempts is over. An offer that
    # comes back does not prolong it.
    sa.Column("queue_until", Instant),
    sa.Column("started_at", Instant),
    sa.Column("finished_at", Instant),
    sa.UniqueConstraint("build_id", "name"),
    sa.Index("ix_steps_build_id_position", "build_id", "position"),
    # Which steps of a build pushed images: rarely any.
    sa.Index(
        "ix_steps_images",
        "build_id",
        sqlite_where=sa.text("images IS NOT NULL"),
    ),
    # Partial: the queue is read on every dispatch and must not grow with the history.
    sa.Index(
        "ix_steps_queue",
        "queue_class",
        "project_id",
        "ready_at",
        "position",
        sqlite_where=sa.text("state = 'ready'"),
    ),
    sa.Index(
        "ix_steps_queue_until",
        "queue_until",
        sqlite_where=sa.text(WAITS_FOR_A_TIME),
    ),
    # Who has a place in a group, and who is next.
    sa.Index(
        "ix_steps_concurrency_group",
        "account_id",
        "concurrency_group",
        "state",
        "ready_at",
        "position",
        sqlite_where=sa.text(IN_A_GROUP),
    ),
    # Looked for whenever one begins to be resolved.
    sa.Index(
        "ix_steps_resolving",
        "build_id",
        sqlite_where=sa.text("state = 'resolving'"),
    ),
    # Counted with each new build.
    sa.Index(
        "ix_steps_waiting",
        "project_id",
        sqlite_where=sa.text(WAITS),
    ),
    sa.Index(
        "ix_steps_handed_out",
        "project_id",
        sqlite_where=sa.text("state IN ('offered', 'running')"),
    ),
)

attempts = sa.Table(
    "attempts",
    metadata,
    sa.Column("step_id", sa.String(36), sa.ForeignKey("steps.id"), primary_key=True),
    sa.Column("epoch", sa.Integer, primary_key=True),
    sa.Column("number", sa.Integer, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("holder", sa.Text, nullable=False),
    sa.Column("exit_code", sa.Integer),
    sa.Column("reason", sa.Text),
    sa.Column("log_bytes", sa.BigInteger),
    sa.Column("log_sha256", sa.String(64)),
    # How long its object is once it is folded.
    sa.Column("log_stored", sa.BigInteger),
    sa.Column("started_at", Instant, nullable=False),
    sa.Column("finished_at", Instant),
    # What its script handed on, key → value; NULL where that is nothing.
    sa.Column("outputs", sa.JSON(none_as_null=True)),
    # The attempt whose completion was answered with this one.
    sa.Column("given_with", sa.String(60)),
    # The attempt, of an earlier build, whose log this one shares.
    sa.Column("log_of", sa.String(60)),
    # Asked for each log that is to be deleted.
    sa.Index(
        "ix_attempts_log_of",
        "log_of",
        sqlite_where=sa.text("log_of IS NOT NULL"),
    ),
    sa.Index(
        "ix_attempts_given_with",
        "given_with",
        sqlite_where=sa.text("state = 'running'"),
    ),
)

artifacts = sa.Table(
    "artifacts",
    metadata,
    sa.Column("step_id", sa.String(36), sa.ForeignKey("steps.id"), primary_key=True),
    sa.Column("epoch", sa.Integer, primary_key=True),
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("sha256", sa.String(64), nullable=False),
    sa.Column("mode", sa.Integer, nullable=False),
    sa.Column("modified", sa.BigInteger),
    sa.Index("ix_artifacts_sha256", "sha256"),
)

# Links and folders, which have no bytes of their own.
output_entries = sa.Table(
    "output_entries",
    metadata,
    sa.Column("step_id", sa.String(36), sa.ForeignKey("steps.id"), primary_key=True),
    sa.Column("epoch", sa.Integer, primary_key=True),
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("target", sa.Text),
    sa.Column("mode", sa.Integer, nullable=False),
)

cache_generations = sa.Table(
    "cache_generations",
    metadata,
    sa.Column("project_id", sa.String(36), sa.ForeignKey("projects.id"), primary_key=True),
    sa.Column("scope", sa.Text, primary_key=True),
    sa.Column("step_name", sa.Text, primary_key=True),
    sa.Column("generation", sa.Text, nullable=False),
    sa.Column("previous", sa.Text),
)
