"""what steps have reported: tests with their history, coverage, summaries"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0045"
down_revision = "0044"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "step_results",
        sa.Column("step_id", sa.String(36), nullable=False),
        sa.Column("epoch", sa.Integer, nullable=False),
        sa.Column("build_id", sa.String(36), nullable=False),
        sa.Column("project_id", sa.String(36), nullable=False),
        sa.Column("build_number", sa.Integer, nullable=False),
        sa.Column("series", sa.String(32), nullable=False),
        sa.Column("inputs", sa.String(32), nullable=False),
        sa.Column("branch", sa.Text),
        sa.Column("tests_id", sa.BigInteger, nullable=False),
        sa.Column("taken_over", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("whole", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("tests", sa.Integer),
        sa.Column("failed", sa.Integer),
        sa.Column("skipped", sa.Integer),
        sa.Column("milliseconds", sa.BigInteger),
        sa.Column("sentence", sa.Text),
        sa.Column("lines", sa.Integer),
        sa.Column("lines_covered", sa.Integer),
        sa.Column("branches", sa.Integer),
        sa.Column("branches_covered", sa.Integer),
        sa.Column("summary", sa.JSON),
        sa.Column("warnings", sa.JSON, nullable=False, server_default="[]"),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("step_id", "epoch", name="pk_step_results"),
        *(
            sa.ForeignKeyConstraint(
                [f"{table[:-1]}_id"],
                [f"{table}.id"],
                name=f"fk_step_results_{table[:-1]}_id_{table}",
            )
            for table in ("steps", "builds", "projects")
        ),
    )
    op.create_index("ix_step_results_build_id", "step_results", ["build_id"])
    series = ["project_id", "series", "branch", "build_number"]
    op.create_index("ix_step_results_series", "step_results", series)
    op.create_index("ix_step_results_inputs", "step_results", ["project_id", "inputs"])
    op.create_index("ix_step_results_tests_id", "step_results", ["tests_id"])
    op.create_table(
        "test_names",
        sa.Column("test_key", sa.String(32), nullable=False),
        sa.Column("project_id", sa.String(36), nullable=False),
        sa.Column("workflow_name", sa.Text, nullable=False),
        sa.Column("step_name", sa.Text, nullable=False),
        sa.Column("suite", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("test_key", name="pk_test_names"),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name="fk_test_names_project_id_projects"
        ),
    )
    op.create_index("ix_test_names_name", "test_names", ["project_id", "name"])
    op.create_table(
        "test_results",
        sa.Column("tests_id", sa.BigInteger, nullable=False),
        sa.Column("position", sa.Integer, nullable=False),
        sa.Column("test_key", sa.String(32), nullable=False),
        sa.Column("result", sa.Text, nullable=False),
        sa.Column("flaky", sa.Boolean, nullable=False),
        sa.Column("milliseconds", sa.BigInteger, nullable=False),
        sa.Column("message", sa.Text),
        sa.Column("details", sa.Text),
        sa.Column("file", sa.Text),
        sa.Column("line", sa.Integer),
        sa.PrimaryKeyConstraint("tests_id", "position", name="pk_test_results"),
    )
    op.create_index("ix_test_results_test_key", "test_results", ["test_key", "tests_id"])
    for name, which in (("failed", "result = 'failed'"), ("flaky", "flaky")):
        op.create_index(
            f"ix_test_results_{name}",
            "test_results",
            ["tests_id", "position"],
            sqlite_where=sa.text(which),
            postgresql_where=sa.text(which),
        )
