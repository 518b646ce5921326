"""indexes for the other lists, counters of audit entries and deliveries"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

SHOWN_TOKEN = sa.text("revoked_at IS NULL AND kind <> 'session'")
AUDIT_LOG = {
    "ix_audit_log_listed": ["created_at", "id"],
    "ix_audit_log_listed_action": ["action", "created_at", "id"],
    "ix_audit_log_listed_account": ["account_id", "created_at", "id"],
    "ix_audit_log_listed_account_action": ["account_id", "action", "created_at", "id"],
    "ix_audit_log_listed_project": ["project_id", "created_at", "id"],
    "ix_audit_log_listed_project_action": ["project_id", "action", "created_at", "id"],
}


def upgrade() -> None:
    _index_audit_log()
    _count_audit_log()
    _count_deliveries()
    op.create_index("ix_accounts_name_created_at", "accounts", ["name", "created_at"])
    op.create_index("ix_agents_created_at", "agents", ["created_at"])
    op.create_index("ix_agents_account_id_created_at", "agents", ["account_id", "created_at"])
    for name, columns in (
        ("ix_tokens_shown", ["created_at"]),
        ("ix_tokens_shown_account", ["account_id", "created_at"]),
    ):
        op.create_index(
            name, "tokens", columns, sqlite_where=SHOWN_TOKEN, postgresql_where=SHOWN_TOKEN
        )
    op.create_index(
        "ix_projects_account_id_created_at", "projects", ["account_id", "created_at", "id"]
    )
    op.create_index(
        "ix_workflows_project_id_created_at", "workflows", ["project_id", "created_at", "id"]
    )
    op.create_index("ix_images_account_id_slug", "images", ["account_id", "slug"])
    op.create_index(
        "ix_images_public",
        "images",
        ["slug"],
        sqlite_where=sa.text("public = 1"),
        postgresql_where=sa.text("public"),
    )


def _index_audit_log() -> None:
    op.drop_index("ix_audit_log_account_id_created_at", "audit_log")
    op.drop_index("ix_audit_log_project_id_created_at", "audit_log")
    for name, columns in AUDIT_LOG.items():
        op.create_index(name, "audit_log", columns)


def _count_audit_log() -> None:
    op.create_table(
        "audit_counts",
        sa.Column("project_id", sa.String(length=36), nullable=False),
        sa.Column("account_id", sa.String(length=36), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("entries", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("project_id", "account_id", "action", name=op.f("pk_audit_counts")),
        sqlite_with_rowid=False,
    )
    for project in ("''", "project_id"):
        op.execute(
            "INSERT INTO audit_counts (project_id, account_id, action, entries)"  # noqa: S608
            f" SELECT {project}, coalesce(account_id, ''), action, count(*) FROM audit_log"
            f" WHERE {project} IS NOT NULL GROUP BY 1, 2, 3"
        )


def _count_deliveries() -> None:
    op.add_column(
        "projects", sa.Column("delivery_count", sa.Integer(), nullable=False, server_default="0")
    )
    op.execute(
        "UPDATE projects SET delivery_count ="
        " (SELECT count(*) FROM deliveries WHERE deliveries.project_id = projects.id)"
    )
    op.drop_index("ix_deliveries_project_id_received_at", "deliveries")
    op.create_index("ix_deliveries_listed", "deliveries", ["project_id", "received_at", "id"])
