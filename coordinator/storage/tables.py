"""The tables, as both SQLite and PostgreSQL understand them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Instant(sa.types.TypeDecorator[datetime]):
    """An aware UTC time, stored as microseconds since 1970 so that both databases sort it alike."""

    impl = sa.BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> int | None:
        return None if value is None else (value - EPOCH) // timedelta(microseconds=1)

    def process_result_value(self, value: Any | None, dialect: sa.Dialect) -> datetime | None:
        return None if value is None else EPOCH + timedelta(microseconds=int(value))


metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
    }
)


def _ordinal(table: str) -> sa.Column[int]:
    """+1 with each row, in the order of the inserts, whatever the clock says.

    Lists are sorted by it: it is short, no two rows share it, and every index can end in it.
    """
    following = sa.text(f"(SELECT coalesce(max(ordinal), 0) + 1 FROM {table})")  # noqa: S608
    return sa.Column(
        "ordinal", sa.BigInteger, nullable=False, default=following, server_default="0"
    )


def _id() -> sa.Column[str]:
    return sa.Column("id", sa.String(36), primary_key=True)


def _to(table: str, *, nullable: bool = False) -> sa.Column[Any]:
    return sa.Column(
        f"{table[:-1]}_id", sa.String(36), sa.ForeignKey(f"{table}.id"), nullable=nullable
    )


accounts = sa.Table(
    "accounts",
    metadata,
    _id(),
    sa.Column("slug", sa.Text, nullable=False, unique=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("created_at", Instant, nullable=False),
    sa.Index("ix_accounts_name_created_at", "name", "created_at"),
)

agents = sa.Table(
    "agents",
    metadata,
    _id(),
    _to("accounts", nullable=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("labels", sa.JSON, nullable=False),
    sa.Column("slots", sa.Integer, nullable=False),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("last_seen_at", Instant, nullable=False),
    sa.Index("ix_agents_created_at", "created_at"),
    sa.Index("ix_agents_account_id_created_at", "account_id", "created_at"),
)

SHOWN_TOKEN = sa.text("revoked_at IS NULL AND kind <> 'session'")
"""What a list of tokens shows: partial, since sessions come with every login and stay."""

tokens = sa.Table(
    "tokens",
    metadata,
    _id(),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("role", sa.Text, nullable=False),
    sa.Column("hash", sa.String(64), nullable=False, unique=True),
    _to("accounts", nullable=True),
    _to("agents", nullable=True),
    sa.Column("user_id", sa.String(36)),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("expires_at", Instant),
    sa.Column("last_used_at", Instant),
    sa.Column("revoked_at", Instant),
    sa.Index(
        "ix_tokens_shown", "created_at", sqlite_where=SHOWN_TOKEN, postgresql_where=SHOWN_TOKEN
    ),
    sa.Index(
        "ix_tokens_shown_account",
        "account_id",
        "created_at",
        sqlite_where=SHOWN_TOKEN,
        postgresql_where=SHOWN_TOKEN,
    ),
)

users = sa.Table(
    "users",
    metadata,
    _id(),
    sa.Column("email", sa.Text, nullable=False, unique=True),
    sa.Column("password_hash", sa.Text, nullable=False),
    sa.Column("administrator", sa.Boolean, nullable=False),
    sa.Column("disabled", sa.Boolean, nullable=False),
    sa.Column("generation", sa.Integer, nullable=False),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("updated_at", Instant, nullable=False),
)

memberships = sa.Table(
    "memberships",
    metadata,
    sa.Column("user_id", sa.String(36), sa.ForeignKey("users.id"), primary_key=True),
    sa.Column("account_id", sa.String(36), sa.ForeignKey("accounts.id"), primary_key=True),
    sa.Column("role", sa.Text, nullable=False),
    sa.Index("ix_memberships_account_id", "account_id"),
)

signing_keys = sa.Table(
    "signing_keys",
    metadata,
    _id(),
    sa.Column("sealed", sa.LargeBinary, nullable=False),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("retired_at", Instant),
)

projects = sa.Table(
    "projects",
    metadata,
    _id(),
    _to("accounts"),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("slug", sa.Text, nullable=False),
    sa.Column("repo_url", sa.Text),
    sa.Column("build_count", sa.Integer, nullable=False, default=0),
    sa.Column("delivery_count", sa.Integer, nullable=False, server_default="0"),
    # Of artifacts and of the logs of attempts that have ended: storage.quotas keeps it.
    sa.Column("stored_bytes", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("updated_at", Instant, nullable=False),
    sa.UniqueConstraint("account_id", "slug"),
    sa.Index("ix_projects_account_id_created_at", "account_id", "created_at", "id"),
)

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

workflows = sa.Table(
    "workflows",
    metadata,
    _id(),
    _to("projects"),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("path", sa.Text),
    sa.Column("definition", sa.JSON),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("updated_at", Instant, nullable=False),
    sa.UniqueConstraint("project_id", "path"),
    sa.Index("ix_workflows_project_id_created_at", "project_id", "created_at", "id"),
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

images = sa.Table(
    "images",
    metadata,
    _id(),
    _to("accounts"),
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
        postgresql_where=sa.text("public"),
    ),
)

builds = sa.Table(
    "builds",
    metadata,
    _id(),
    _to("projects"),
    _to("accounts"),
    _to("workflows", nullable=True),
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
    sa.Column("clean", sa.Boolean, nullable=False, default=False, server_default=sa.false()),
    sa.Column("outside", sa.Boolean, nullable=False, default=False, server_default=sa.false()),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("updated_at", Instant, nullable=False, server_default="0"),
    sa.Column("started_at", Instant),
    sa.Column("finished_at", Instant),
    sa.UniqueConstraint("project_id", "number"),
    # What a workflow's steps took last, for the estimate of a running build's end.
    sa.Index("ix_builds_workflow_id_finished_at", "workflow_id", "finished_at"),
    _ordinal("builds"),
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
    # A build that is deleted is looked for here: its retries lose their link.
    sa.Index(
        "ix_builds_retry_of",
        "retry_of",
        sqlite_where=sa.text("retry_of IS NOT NULL"),
        postgresql_where=sa.text("retry_of IS NOT NULL"),
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

steps = sa.Table(
    "steps",
    metadata,
    _id(),
    _to("builds"),
    _to("projects"),
    _to("accounts"),
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
    sa.Column("ready_at", Instant),
    # When its time in the queue is over. An offer that comes back does not prolong it.
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
        postgresql_where=sa.text("images IS NOT NULL"),
    ),
    # Partial: the queue is read on every dispatch and must not grow with the history.
    sa.Index(
        "ix_steps_queue",
        "queue_class",
        "project_id",
        "ready_at",
        "position",
        sqlite_where=sa.text("state = 'ready'"),
        postgresql_where=sa.text("state = 'ready'"),
    ),
    sa.Index(
        "ix_steps_queue_until",
        "queue_until",
        sqlite_where=sa.text("state = 'ready'"),
        postgresql_where=sa.text("state = 'ready'"),
    ),
    # Counted with each new build.
    sa.Index(
        "ix_steps_waiting",
        "project_id",
        sqlite_where=sa.text("state IN ('blocked', 'ready')"),
        postgresql_where=sa.text("state IN ('blocked', 'ready')"),
    ),
    sa.Index(
        "ix_steps_handed_out",
        "project_id",
        sqlite_where=sa.text("state IN ('offered', 'running')"),
        postgresql_where=sa.text("state IN ('offered', 'running')"),
    ),
)

secrets = sa.Table(
    "secrets",
    metadata,
    sa.Column("project_id", sa.String(36), sa.ForeignKey("projects.id"), primary_key=True),
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("sealed", sa.LargeBinary, nullable=False),
    sa.Column("updated_at", Instant, nullable=False),
)

registry_logins = sa.Table(
    "registry_logins",
    metadata,
    # A project or an account: whose login it is.
    sa.Column("scope_id", sa.String(36), primary_key=True),
    sa.Column("host", sa.Text, primary_key=True),
    sa.Column("username", sa.Text, nullable=False),
    sa.Column("sealed", sa.LargeBinary, nullable=False),
    sa.Column("updated_at", Instant, nullable=False),
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
    sa.Column("started_at", Instant, nullable=False),
    sa.Column("finished_at", Instant),
    # The attempt whose completion was answered with this one.
    sa.Column("given_with", sa.String(60)),
    sa.Index(
        "ix_attempts_given_with",
        "given_with",
        sqlite_where=sa.text("state = 'running'"),
        postgresql_where=sa.text("state = 'running'"),
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
    sa.Index("ix_artifacts_sha256", "sha256"),
)

doomed_objects = sa.Table(
    "doomed_objects",
    metadata,
    sa.Column("kind", sa.Text, primary_key=True),
    sa.Column("account_id", sa.String(36), sa.ForeignKey("accounts.id"), primary_key=True),
    sa.Column("name", sa.Text, primary_key=True),
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

deliveries = sa.Table(
    "deliveries",
    metadata,
    _id(),
    _to("projects"),
    _to("accounts"),
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
    _ordinal("deliveries"),
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

credentials = sa.Table(
    "credentials",
    metadata,
    sa.Column("project_id", sa.String(36), sa.ForeignKey("projects.id"), primary_key=True),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("host", sa.Text, nullable=False),
    sa.Column("sealed", sa.LargeBinary, nullable=False),
    sa.Column("created_at", Instant, nullable=False),
)

audit_log = sa.Table(
    "audit_log",
    metadata,
    _id(),
    _to("accounts", nullable=True),
    _to("projects", nullable=True),
    sa.Column("action", sa.Text, nullable=False),
    sa.Column("details", sa.JSON, nullable=False),
    sa.Column("created_at", Instant, nullable=False),
    _ordinal("audit_log"),
    sa.Index("ix_audit_log_ordinal", "ordinal", unique=True),
    sa.Index("ix_audit_log_action", "action", "ordinal"),
    sa.Index("ix_audit_log_account", "account_id", "ordinal"),
    sa.Index("ix_audit_log_account_action", "account_id", "action", "ordinal"),
    sa.Index("ix_audit_log_project", "project_id", "ordinal"),
    sa.Index("ix_audit_log_project_action", "project_id", "action", "ordinal"),
)

audit_counts = sa.Table(
    "audit_counts",
    metadata,
    sa.Column("project_id", sa.String(36), primary_key=True),
    sa.Column("account_id", sa.String(36), primary_key=True),
    sa.Column("action", sa.Text, primary_key=True),
    sa.Column("entries", sa.Integer, nullable=False),
    sqlite_with_rowid=False,
)

image_projects = sa.Table(
    "image_projects",
    metadata,
    sa.Column("account_id", sa.String(36), sa.ForeignKey("accounts.id"), primary_key=True),
    sa.Column("image_name", sa.Text, primary_key=True),
    _to("projects"),
)

image_builds = sa.Table(
    "image_builds",
    metadata,
    sa.Column("id", sa.String(50), primary_key=True),
    _to("builds"),
    _to("accounts"),
    sa.Column("agent_name", sa.Text, nullable=False),
    sa.Column("image", sa.Text, nullable=False),
    sa.Column("language", sa.Text, nullable=False),
    sa.Column("entry_point", sa.Text),
    sa.Column("framework", sa.Text),
    sa.Column("created_at", Instant, nullable=False),
    sa.UniqueConstraint("build_id"),
)

build_images = sa.Table(
    "build_images",
    metadata,
    sa.Column("build_id", sa.String(36), sa.ForeignKey("builds.id"), primary_key=True),
    sa.Column("reference", sa.String(600), primary_key=True),
    sa.Column("digest", sa.String(71), nullable=False),
)
"""What a tag meant to the first of a build's steps that asked its registry."""

deployments = sa.Table(
    "deployments",
    metadata,
    sa.Column("id", sa.String(50), primary_key=True),
    _to("builds"),
    sa.Column("image_build_id", sa.String(50), sa.ForeignKey("image_builds.id")),
    _to("accounts"),
    sa.Column("agent_name", sa.Text, nullable=False),
    sa.Column("image", sa.Text, nullable=False),
    sa.Column("llm_configs", sa.JSON, nullable=False),
    sa.Column("replaced_by", sa.String(50)),
    sa.Column("created_at", Instant, nullable=False),
    sa.UniqueConstraint("build_id"),
    sa.Index("ix_deployments_account_id_agent_name", "account_id", "agent_name"),
    sa.Index("ix_deployments_account_id_created_at", "account_id", "created_at"),
    sa.Index("ix_deployments_created_at", "created_at"),
)
