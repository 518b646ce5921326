"""What steps have reported: written in portions, read by build."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from coordinator.domain.results.stored import StepResults, StoredTest, key_of_test
from coordinator.domain.results.values import Result, TestResult
from coordinator.storage.connection import AsyncConnection
from coordinator.storage.rows import columns, reader, values_of
from coordinator.storage.tables import step_results, steps, test_names, test_results

KEYS_AT_ONCE = 500
"""In one statement: databases limit the values of one."""

_results = reader(StepResults)
_test = reader(TestResult, result=Result)
_COLUMNS = columns(StepResults, step_results)
_ATTEMPT = sa.and_(
    step_results.c.step_id == sa.bindparam("its_step"),
    step_results.c.epoch == sa.bindparam("its_epoch"),
)
TEST_COLUMNS = (
    test_names.c.suite,
    test_names.c.name,
    *(
        test_results.c[name]
        for name in ("result", "milliseconds", "flaky", "message", "details", "file", "line")
    ),
)


async def find_results(connection: AsyncConnection, step_id: str, epoch: int) -> StepResults | None:
    row = await connection.execute(
        sa.select(*_COLUMNS).where(_ATTEMPT), {"its_step": step_id, "its_epoch": epoch}
    )
    found = row.first()
    return None if found is None else _results(found)


async def begin_results(connection: AsyncConnection, results: StepResults) -> int:
    """Its `tests_id`. What was written of the attempt before, and not to its end, is gone."""
    left = await connection.execute(
        step_results.delete().where(_ATTEMPT).returning(step_results.c.tests_id),
        {"its_step": results.step_id, "its_epoch": results.epoch},
    )
    await delete_tests(connection, list(left.scalars()))
    tests_id = await _next_tests_id(connection)
    values = values_of(StepResults, step_results, results)
    await connection.execute(step_results.insert().values(**{**values, "tests_id": tests_id}))
    return tests_id


async def _next_tests_id(connection: AsyncConnection) -> int:
    """Of deleted builds tests may still be there, on their way out."""
    newest = 0
    for table in (step_results, test_results):
        found = await connection.execute(sa.select(sa.func.max(table.c.tests_id)))
        newest = max(newest, found.scalar_one() or 0)
    return newest + 1


async def finish_results(connection: AsyncConnection, results: StepResults) -> None:
    values = values_of(StepResults, step_results, results)
    ids = {"its_step": results.step_id, "its_epoch": results.epoch}
    await connection.execute(
        step_results.update().where(_ATTEMPT).values({**values, "whole": True}), ids
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Portion:
    """Tests of one step, and their place among all of it."""

    tests_id: int
    project_id: str
    workflow_name: str
    step_name: str
    first: int
    tests: Sequence[TestResult]


async def add_tests(connection: AsyncConnection, portion: Portion) -> None:
    where = portion.project_id, portion.workflow_name, portion.step_name
    keyed = {key_of_test(*where, test): test for test in portion.tests}
    await _add_names(connection, portion, keyed)
    rows = [
        {
            "tests_id": portion.tests_id,
            "position": portion.first + number,
            "test_key": key,
            "result": test.result.value,
            "flaky": test.flaky,
            "milliseconds": test.milliseconds,
            "message": test.message,
            "details": test.details,
            "file": test.file,
            "line": test.line,
        }
        for number, (key, test) in enumerate(keyed.items())
    ]
    if rows:
        await connection.execute(test_results.insert(), rows)


async def _add_names(
    connection: AsyncConnection, portion: Portion, keyed: Mapping[str, TestResult]
) -> None:
    keys, known = list(keyed), set[str]()
    for begin in range(0, len(keys), KEYS_AT_ONCE):
        some = test_names.c.test_key.in_(keys[begin : begin + KEYS_AT_ONCE])
        known.update(
            (await connection.execute(sa.select(test_names.c.test_key).where(some))).scalars()
        )
    rows = [
        {
            "test_key": key,
            "project_id": portion.project_id,
            "workflow_name": portion.workflow_name,
            "step_name": portion.step_name,
            "suite": test.suite,
            "name": test.name,
        }
        for key, test in keyed.items()
        if key not in known
    ]
    if rows:
        await connection.execute(test_names.insert(), rows)


async def results_of_build(connection: AsyncConnection, build_id: str) -> Mapping[str, StepResults]:
    """By the steps' names, in their order: of the last attempt of each that reported."""
    query = (
        sa.select(steps.c.name.label("step_name"), *_COLUMNS)
        .join(steps, steps.c.id == step_results.c.step_id)
        .where(step_results.c.build_id == build_id, step_results.c.whole)
        .order_by(steps.c.position, step_results.c.epoch)
    )
    return {row.step_name: _results(row) for row in await connection.execute(query)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which tests, and in which order."""

    results: Sequence[Result] = ()
    """Any where that is empty."""
    keys: Collection[str] | None = None
    """None: any."""
    slowest_first: bool = False


async def tests_of(
    connection: AsyncConnection,
    of: Mapping[int, str],
    wanted: Wanted,
    *,
    limit: int,
    offset: int,
) -> tuple[Sequence[StoredTest], int]:
    """Of steps, whose names are given by their `tests_id`: some of the tests, and how many."""
    where = [test_results.c.tests_id.in_(of), *_conditions(wanted)]
    total = await connection.execute(
        sa.select(sa.func.count()).select_from(test_results).where(*where)
    )
    order: list[sa.ColumnElement[Any]] = [test_results.c.tests_id, test_results.c.position]
    if wanted.slowest_first:
        order.insert(0, test_results.c.milliseconds.desc())
    query = (
        sa.select(test_results.c.tests_id, test_results.c.test_key, *TEST_COLUMNS)
        .join(test_names, test_names.c.test_key == test_results.c.test_key)
        .where(*where)
        .order_by(*order)
        .limit(limit)
        .offset(offset)
    )
    found = [
        StoredTest(step_name=of[row.tests_id], key=row.test_key, test=_test(row))
        for row in await connection.execute(query)
    ]
    return found, int(total.scalar_one())


def _conditions(wanted: Wanted) -> list[sa.ColumnElement[bool]]:
    found: list[sa.ColumnElement[bool]] = []
    if wanted.results == (Result.FAILED,):
        # As written, so that the partial index is taken.
        found.append(sa.text("test_results.result = 'failed'"))  # type: ignore[arg-type]
    elif wanted.results:
        found.append(test_results.c.result.in_([one.value for one in wanted.results]))
    if wanted.keys is not None:
        found.append(test_results.c.test_key.in_(list(wanted.keys)))
    return found


async def delete_tests(connection: AsyncConnection, tests_ids: Sequence[int]) -> None:
    """Those that no step's results refer to any more."""
    if tests_ids:
        still = sa.exists().where(step_results.c.tests_id == test_results.c.tests_id)
        await connection.execute(
            test_results.delete().where(test_results.c.tests_id.in_(tests_ids), ~still)
        )
