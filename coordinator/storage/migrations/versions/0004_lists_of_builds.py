"""builds: when they changed, indexes for every list of them, counters for the totals"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

LISTED = {
    "ix_builds_listed": ["created_at", "id", "state"],
    "ix_builds_listed_account": ["account_id", "created_at", "id"],
    "ix_builds_listed_account_updated": ["account_id", "updated_at", "id"],
    "ix_builds_listed_account_number": ["account_id", "number", "id"],
    "ix_builds_listed_account_state": ["account_id", "state", "created_at", "id"],
    "ix_builds_listed_account_state_updated": ["account_id", "state", "updated_at", "id"],
    "ix_builds_listed_account_state_number": ["account_id", "state", "number", "id"],
    "ix_builds_listed_project_branch": ["project_id", "branch", "number", "state"],
    "ix_builds_listed_project_state": ["project_id", "state", "number"],
    "ix_builds_listed_project_state_updated": ["project_id", "state", "updated_at", "id"],
    "ix_builds_listed_project_updated": ["project_id", "updated_at", "id", "branch", "state"],
}


def upgrade() -> None:
    op.add_column(
        "builds", sa.Column("updated_at", sa.BigInteger(), nullable=False, server_default="0")
    )
    op.execute("UPDATE builds SET updated_at = coalesce(finished_at, started_at, created_at)")
    op.drop_index("ix_builds_account_id_created_at", "builds")
    op.drop_index("ix_builds_created_at", "builds")
    for name, columns in LISTED.items():
        op.create_index(name, "builds", columns)
    op.create_index(
        "ix_builds_retry_of",
        "builds",
        ["retry_of"],
        sqlite_where=sa.text("retry_of IS NOT NULL"),
        postgresql_where=sa.text("retry_of IS NOT NULL"),
    )
    op.drop_index("ix_steps_build_id", "steps")
    op.create_index("ix_steps_build_id_position", "steps", ["build_id", "position"])
    _count_builds()


def _count_builds() -> None:
    op.create_table(
        "build_counts",
        sa.Column("branch", sa.Text(), nullable=False),
        sa.Column("account_id", sa.String(length=36), nullable=False),
        sa.Column("project_id", sa.String(length=36), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("builds", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["account_id"], ["accounts.id"], name=op.f("fk_build_counts_account_id")
        ),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name=op.f("fk_build_counts_project_id")
        ),
        sa.PrimaryKeyConstraint(
            "branch", "account_id", "project_id", "state", name=op.f("pk_build_counts")
        ),
        sqlite_with_rowid=False,
    )
    op.execute(
        "INSERT INTO build_counts (branch, account_id, project_id, state, builds)"
        " SELECT '', account_id, project_id, state, count(*) FROM builds"
        " GROUP BY account_id, project_id, state"
    )
    op.execute(
        "INSERT INTO build_counts (branch, account_id, project_id, state, builds)"
        " SELECT branch, account_id, project_id, state, count(*) FROM builds"
        " WHERE branch <> '' GROUP BY branch, account_id, project_id, state"
    )
