"""Accounts, and who acts in them."""

from __future__ import annotations

import sqlalchemy as sa

from coordinator.storage.tables.columns import Instant, id_of, metadata, own_id

accounts = sa.Table(
    "accounts",
    metadata,
    own_id(),
    sa.Column("slug", sa.Text, nullable=False, unique=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("created_at", Instant, nullable=False),
    sa.Index("ix_accounts_name_created_at", "name", "created_at"),
)

agents = sa.Table(
    "agents",
    metadata,
    own_id(),
    id_of("accounts", nullable=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("labels", sa.JSON, nullable=False),
    sa.Column("slots", sa.Integer, nullable=False),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("last_seen_at", Instant, nullable=False),
    sa.Column("paused", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("drained", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("removed_at", Instant),
    sa.Column("home", sa.Text),
    sa.Index("ix_agents_created_at", "created_at"),
    sa.Index("ix_agents_account_id_created_at", "account_id", "created_at"),
)

SHOWN_TOKEN = sa.text("revoked_at IS NULL AND kind <> 'session'")
"""What a list of tokens shows: partial, since sessions come with every login and stay."""

tokens = sa.Table(
    "tokens",
    metadata,
    own_id(),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("role", sa.Text, nullable=False),
    sa.Column("hash", sa.String(64), nullable=False, unique=True),
    id_of("accounts", nullable=True),
    id_of("agents", nullable=True),
    sa.Column("user_id", sa.String(36)),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("expires_at", Instant),
    sa.Column("last_used_at", Instant),
    sa.Column("revoked_at", Instant),
    sa.Index("ix_tokens_shown", "created_at", sqlite_where=SHOWN_TOKEN),
    sa.Index(
        "ix_tokens_shown_account",
        "account_id",
        "created_at",
        sqlite_where=SHOWN_TOKEN,
    ),
)

users = sa.Table(
    "users",
    metadata,
    own_id(),
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
    own_id(),
    sa.Column("sealed", sa.LargeBinary, nullable=False),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("retired_at", Instant),
)
