"""What the results of a step are compared with: earlier builds, equal inputs, a test's history."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import sqlalchemy as sa

from coordinator.domain.results.stored import PastResult, StepResults, TestHistory
from coordinator.domain.results.values import Result, TestResult
from coordinator.storage.connection import AsyncConnection
from coordinator.storage.outputs.results import TEST_COLUMNS, results_of_build
from coordinator.storage.rows import columns, reader
from coordinator.storage.tables import step_results, test_names, test_results

MAX_ATTEMPTS = 50
"""Of equal inputs that are looked at: the newest."""
MAX_SERIES = 20
"""Of one test's name."""

_results = reader(StepResults)
_test = reader(TestResult, result=Result)
_FAILED = sa.text("test_results.result = 'failed'")
"""As written, so that the partial index is taken."""


async def earlier_results(
    connection: AsyncConnection, results: StepResults, branch: str
) -> StepResults | None:
    """Of the step in the newest build of the branch before its own."""
    query = (
        sa.select(*columns(StepResults, step_results))
        .where(
            step_results.c.project_id == results.project_id,
            step_results.c.series == results.series,
            step_results.c.branch == branch,
            step_results.c.build_number < results.build_number,
            step_results.c.whole,
            ~step_results.c.taken_over,
        )
        .order_by(step_results.c.build_number.desc(), step_results.c.epoch.desc())
        .limit(1)
    )
    row = (await connection.execute(query)).first()
    return None if row is None else _results(row)


async def equal_attempts(connection: AsyncConnection, results: StepResults) -> Sequence[int]:
    """The `tests_id` of all attempts with equal inputs, its own among them."""
    query = (
        sa.select(step_results.c.tests_id)
        .where(
            step_results.c.project_id == results.project_id,
            step_results.c.inputs == results.inputs,
            step_results.c.whole,
            step_results.c.tests.is_not(None),
        )
        .order_by(step_results.c.tests_id.desc())
        .limit(MAX_ATTEMPTS)
    )
    others = (await connection.execute(query)).scalars()
    return list(dict.fromkeys([results.tests_id, *others]))


async def flaky_keys(
    connection: AsyncConnection, own: int, equal: Sequence[int], among: Collection[str] | None
) -> set[str]:
    """Tests that both failed and passed in attempts of equal inputs, or of which the own report
    says so; `among` these, or any."""
    within = () if among is None else (test_results.c.test_key.in_(list(among)),)
    said = sa.select(test_results.c.test_key).where(
        test_results.c.tests_id == own, sa.text("test_results.flaky"), *within
    )
    found = set((await connection.execute(said)).scalars())
    if len(equal) > 1:
        of_equal = test_results.c.tests_id.in_(equal)
        failed = sa.select(test_results.c.test_key).where(of_equal, _FAILED, *within)
        passed = sa.select(test_results.c.test_key).where(
            of_equal,
            test_results.c.result == Result.PASSED.value,
            test_results.c.test_key.in_(failed),
        )
        found.update((await connection.execute(passed)).scalars())
    return found


async def failed_keys(
    connection: AsyncConnection, tests_id: int, among: Collection[str] | None = None
) -> set[str]:
    query = sa.select(test_results.c.test_key).where(test_results.c.tests_id == tests_id, _FAILED)
    if among is not None:
        query = query.where(test_results.c.test_key.in_(list(among)))
    return set((await connection.execute(query)).scalars())


async def histories(
    connection: AsyncConnection, project_id: str, name: str, *, limit: int
) -> Sequence[TestHistory]:
    """Of all tests of that name, by workflow, step and suite; `limit` lines of each."""
    query = (
        sa.select(test_names)
        .where(test_names.c.project_id == project_id, test_names.c.name == name)
        .order_by(test_names.c.workflow_name, test_names.c.step_name, test_names.c.suite)
        .limit(MAX_SERIES)
    )
    return [
        TestHistory(
            workflow_name=row.workflow_name,
            step_name=row.step_name,
            suite=row.suite,
            name=row.name,
            past=await _past(connection, row.test_key, limit),
        )
        for row in (await connection.execute(query)).all()
    ]


async def _past(connection: AsyncConnection, key: str, limit: int) -> Sequence[PastResult]:
    shown = ("build_id", "build_number", "branch", "created_at")
    query = (
        sa.select(*(step_results.c[column] for column in shown), *TEST_COLUMNS)
        .select_from(test_results)
        .join(test_names, test_names.c.test_key == test_results.c.test_key)
        .join(step_results, step_results.c.tests_id == test_results.c.tests_id)
        .where(test_results.c.test_key == key, step_results.c.whole, ~step_results.c.taken_over)
        .order_by(test_results.c.tests_id.desc())
        .limit(limit)
    )
    return [
        PastResult(
            build_id=row.build_id,
            build_number=row.build_number,
            branch=row.branch,
            at=row.created_at,
            test=_test(row),
        )
        for row in await connection.execute(query)
    ]


async def failed_places(
    connection: AsyncConnection, build_id: str, *, limit: int
) -> Sequence[tuple[str, TestResult]]:
    """The build's failed tests whose file is known, each with its step's name: what a forge can
    show beside the code. In the order of steps and reports."""
    of = {
        one.tests_id: step for step, one in (await results_of_build(connection, build_id)).items()
    }
    query = (
        sa.select(test_results.c.tests_id, *TEST_COLUMNS)
        .join(test_names, test_names.c.test_key == test_results.c.test_key)
        .where(test_results.c.tests_id.in_(of), _FAILED, test_results.c.file.is_not(None))
        .order_by(test_results.c.tests_id, test_results.c.position)
        .limit(limit)
    )
    return [(of[row.tests_id], _test(row)) for row in await connection.execute(query)]
