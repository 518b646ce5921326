"""Projects, their workflows, and what they keep sealed."""

from __future__ import annotations

import sqlalchemy as sa

from coordinator.storage.tables.columns import Instant, id_of, metadata, own_id

projects = sa.Table(
    "projects",
    metadata,
    own_id(),
    id_of("accounts"),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("slug", sa.Text, nullable=False),
    sa.Column("repo_url", sa.Text),
    sa.Column("forge", sa.Text),
    sa.Column("build_count", sa.Integer, nullable=False, default=0),
    sa.Column("delivery_count", sa.Integer, nullable=False, server_default="0"),
    # Of artifacts and of the logs of attempts that have ended: storage.quotas keeps it.
    sa.Column("stored_bytes", sa.BigInteger, nullable=False, server_default="0"),
    # Those of them that are logs.
    sa.Column("log_bytes", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("archived_at", Instant),
    # How often it got a new one: services.keys derives it.
    sa.Column("webhook_secret_number", sa.Integer, nullable=False, server_default="0"),
    # Whether it has recipients: its builds are told to others.
    sa.Column("tells", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("public_badges", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("status_per_step", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("trusted", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("updated_at", Instant, nullable=False),
    sa.UniqueConstraint("account_id", "slug"),
    sa.Index("ix_projects_account_id_created_at", "account_id", "created_at", "id"),
)

former_slugs = sa.Table(
    "former_slugs",
    metadata,
    sa.Column("account_id", sa.String(36), sa.ForeignKey("accounts.id"), primary_key=True),
    sa.Column("slug", sa.Text, primary_key=True),
    id_of("projects"),
    sa.Index("ix_former_slugs_project_id", "project_id"),
)
"""Of renamed projects: their old addresses go on working, and are nobody else's."""

workflows = sa.Table(
    "workflows",
    metadata,
    own_id(),
    id_of("projects"),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("path", sa.Text),
    sa.Column("definition", sa.JSON),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("updated_at", Instant, nullable=False),
    sa.UniqueConstraint("project_id", "path"),
    sa.Index("ix_workflows_project_id_created_at", "project_id", "created_at", "id"),
)

secret_values = sa.Table(
    "secret_values",
    metadata,
    # A project or an account: whose secret it is.
    sa.Column("scope_id", sa.String(36), primary_key=True),
    sa.Column("name", sa.Text, primary_key=True),
    # Of full names of branches or tags; empty: for every build.
    sa.Column("pattern", sa.Text, primary_key=True),
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

credentials = sa.Table(
    "credentials",
    metadata,
    sa.Column("project_id", sa.String(36), sa.ForeignKey("projects.id"), primary_key=True),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("host", sa.Text, nullable=False),
    sa.Column("sealed", sa.LargeBinary, nullable=False),
    sa.Column("created_at", Instant, nullable=False),
)

retention = sa.Table(
    "retention",
    metadata,
    # A project, or nothing for the installation.
    sa.Column("scope_id", sa.String(36), primary_key=True),
    # Kind → limits: domain.upkeep.retention.
    sa.Column("rules", sa.JSON, nullable=False),
    # Of the installation: whether anything is deleted, or only told.
    sa.Column("enforced", sa.Boolean, nullable=False),
    sa.Column("updated_at", Instant, nullable=False),
)
