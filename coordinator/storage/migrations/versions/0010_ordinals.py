"""ordinals: a short number that no two rows share, by which lists are sorted"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

OBSOLETE = {
    "builds": [
        "ix_builds_listed",
        "ix_builds_listed_account",
        "ix_builds_listed_account_updated",
        "ix_builds_listed_account_number",
        "ix_builds_listed_account_state",
        "ix_builds_listed_account_state_updated",
        "ix_builds_listed_account_state_number",
        "ix_builds_listed_project_branch",
        "ix_builds_listed_project_state",
        "ix_builds_listed_project_state_updated",
        "ix_builds_listed_project_updated",
    ],
    "audit_log": [
        "ix_audit_log_listed",
        "ix_audit_log_listed_action",
        "ix_audit_log_listed_account",
        "ix_audit_log_listed_account_action",
        "ix_audit_log_listed_project",
        "ix_audit_log_listed_project_action",
    ],
    "deliveries": [],  # what is old is found by its time
}
LISTED = {
    "builds": {
        "ix_builds_state": ["state", "ordinal"],
        "ix_builds_account": ["account_id", "ordinal"],
        "ix_builds_account_updated": ["account_id", "updated_at", "ordinal"],
        "ix_builds_account_number": ["account_id", "number", "ordinal"],
        "ix_builds_account_state": ["account_id", "state", "ordinal"],
        "ix_builds_account_state_updated": ["account_id", "state", "updated_at", "ordinal"],
        "ix_builds_account_state_number": ["account_id", "state", "number", "ordinal"],
        "ix_builds_project": ["project_id", "ordinal"],
        "ix_builds_project_branch": ["project_id", "branch", "ordinal", "state"],
        "ix_builds_project_state": ["project_id", "state", "ordinal"],
        "ix_builds_project_state_updated": ["project_id", "state", "updated_at", "ordinal"],
        "ix_builds_project_updated": ["project_id", "updated_at", "ordinal", "branch", "state"],
    },
    "audit_log": {
        "ix_audit_log_action": ["action", "ordinal"],
        "ix_audit_log_account": ["account_id", "ordinal"],
        "ix_audit_log_account_action": ["account_id", "action", "ordinal"],
        "ix_audit_log_project": ["project_id", "ordinal"],
        "ix_audit_log_project_action": ["project_id", "action", "ordinal"],
    },
    "deliveries": {"ix_deliveries_project": ["project_id", "ordinal"]},
}


def upgrade() -> None:
    for table, indexes in LISTED.items():
        for name in OBSOLETE[table]:
            op.drop_index(name, table)
        op.add_column(
            table, sa.Column("ordinal", sa.BigInteger(), nullable=False, server_default="0")
        )
        # In the order of the inserts. Rows of before this are in SQLite alone, which has it.
        if op.get_bind().dialect.name == "sqlite":
            op.execute(f"UPDATE {table} SET ordinal = rowid")  # noqa: S608
        op.create_index(f"ix_{table}_ordinal", table, ["ordinal"], unique=True)
        for name, columns in indexes.items():
            op.create_index(name, table, columns)
