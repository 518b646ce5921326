"""The audit log."""

from __future__ import annotations

import sqlalchemy as sa

from coordinator.storage.tables.columns import Instant, id_of, metadata, ordinal, own_id

audit_log = sa.Table(
    "audit_log",
    metadata,
    own_id(),
    id_of("accounts", nullable=True),
    # No foreign key: what was done to a project is told when it is gone.
    sa.Column("project_id", sa.String(36)),
    sa.Column("action", sa.Text, nullable=False),
    sa.Column("details", sa.JSON, nullable=False),
    sa.Column("created_at", Instant, nullable=False),
    ordinal("audit_log"),
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
