"""What steps have reported: tests, coverage, summaries."""

from __future__ import annotations

import sqlalchemy as sa

from coordinator.storage.tables.columns import Instant, id_of, metadata

step_results = sa.Table(
    "step_results",
    metadata,
    sa.Column("step_id", sa.String(36), sa.ForeignKey("steps.id"), primary_key=True),
    sa.Column("epoch", sa.Integer, primary_key=True),
    id_of("builds"),
    id_of("projects"),
    sa.Column("build_number", sa.Integer, nullable=False),
    # The steps of one name and workflow, of all builds: a digest.
    sa.Column("series", sa.String(32), nullable=False),
    # What was tested: a digest, the same for the attempts whose results should be the same.
    sa.Column("inputs", sa.String(32), nullable=False),
    # NULL where its code was not the branch's: a fork's, a pull request's.
    sa.Column("branch", sa.Text),
    # Whose rows in test_results are its tests. A retry that takes the step over has the same.
    sa.Column("tests_id", sa.BigInteger, nullable=False),
    sa.Column("taken_over", sa.Boolean, nullable=False, default=False, server_default=sa.false()),
    # Whether all was written: the tests come in portions.
    sa.Column("whole", sa.Boolean, nullable=False, default=False, server_default=sa.false()),
    # NULL where it reports no tests.
    sa.Column("tests", sa.Integer),
    sa.Column("failed", sa.Integer),
    sa.Column("skipped", sa.Integer),
    sa.Column("milliseconds", sa.BigInteger),
    # `3 of 1,204 tests failed: …`
    sa.Column("sentence", sa.Text),
    sa.Column("lines", sa.Integer),
    sa.Column("lines_covered", sa.Integer),
    sa.Column("branches", sa.Integer),
    sa.Column("branches_covered", sa.Integer),
    sa.Column("summary", sa.JSON(none_as_null=True)),
    sa.Column("warnings", sa.JSON, nullable=False, default=list, server_default="[]"),
    sa.Column("created_at", Instant, nullable=False),
    sa.Index("ix_step_results_build_id", "build_id"),
    sa.Index("ix_step_results_series", "project_id", "series", "branch", "build_number"),
    sa.Index("ix_step_results_inputs", "project_id", "inputs"),
    sa.Index("ix_step_results_tests_id", "tests_id"),
)

test_names = sa.Table(
    "test_names",
    metadata,
    # A digest of project, workflow, step, suite and name.
    sa.Column("test_key", sa.String(32), primary_key=True),
    id_of("projects"),
    sa.Column("workflow_name", sa.Text, nullable=False),
    sa.Column("step_name", sa.Text, nullable=False),
    sa.Column("suite", sa.Text, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Index("ix_test_names_name", "project_id", "name"),
)

test_results = sa.Table(
    "test_results",
    metadata,
    sa.Column("tests_id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("position", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("test_key", sa.String(32), nullable=False),
    sa.Column("result", sa.Text, nullable=False),
    sa.Column("flaky", sa.Boolean, nullable=False),
    sa.Column("milliseconds", sa.BigInteger, nullable=False),
    sa.Column("message", sa.Text),
    sa.Column("details", sa.Text),
    sa.Column("file", sa.Text),
    sa.Column("line", sa.Integer),
    # The history of a test.
    sa.Index("ix_test_results_test_key", "test_key", "tests_id"),
    # Of a hundred thousand tests few failed.
    sa.Index(
        "ix_test_results_failed",
        "tests_id",
        "position",
        sqlite_where=sa.text("result = 'failed'"),
    ),
    # Or were told as flaky by their own tool.
    sa.Index(
        "ix_test_results_flaky",
        "tests_id",
        "position",
        sqlite_where=sa.text("flaky"),
    ),
)
