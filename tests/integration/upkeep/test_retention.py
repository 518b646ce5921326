"""Builds beyond the limits go in small portions; nothing that is kept misses anything."""

from __future__ import annotations

import asyncio
import sqlite3
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import pytest
import sqlalchemy as sa

from coordinator.domain.model import Project
from coordinator.services.builds.deletions import Deletions
from coordinator.services.upkeep.retention import Retention
from coordinator.services.upkeep.sweeping import ROWS_AT_ONCE, Sweeping
from coordinator.storage.connection import AsyncConnection
from tests.integration.core_fixture import TestedCore, open_core
from tests.integration.list_fixture import wrong_counts
from tests.integration.statements import collected
from tests.integration.upkeep.many_builds import (
    DAY,
    MainAlone,
    ManyBuilds,
    left_in_store,
    named_by_rows,
    operator,
    put_objects,
)

BUILDS = 2_000
KEPT = 200


@pytest.fixture
async def tested(tmp_path: Path) -> AsyncIterator[TestedCore]:
    async with open_core(tmp_path) as tested:
        core = replace(tested.core, repositories=cast("Any", MainAlone()))
        yield replace(tested, core=core)


@pytest.fixture
async def project(tested: TestedCore) -> Project:
    return await tested.new_project()


@pytest.fixture
def deletions(tested: TestedCore) -> Deletions:
    return Deletions(tested.core)


@pytest.fixture
def sweeping(tested: TestedCore, deletions: Deletions) -> Sweeping:
    return Sweeping(tested.core, Retention(tested.core), deletions, pause_seconds=0)


@pytest.fixture
def many(tmp_path: Path, project: Project) -> ManyBuilds:
    return ManyBuilds(tmp_path / "pushrod.db", project.id, project.account_id)


async def doomed_gone(deletions: Deletions, path: Path) -> None:
    """Until nothing is doomed any more."""
    running = asyncio.create_task(deletions.run())
    try:
        while rows(path, "doomed_objects"):
            await asyncio.sleep(0.02)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def rows(path: Path, table: str) -> int:
    with closing(sqlite3.connect(path)) as connection:
        return int(connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0])


async def limit(sweeping: Sweeping, project: Project | None, **limits: Any) -> None:
    await sweeping.retention.set_rules(operator(), project, limits)


async def test_most_of_many_builds_go_in_portions_that_others_write_between(
    tested: TestedCore, project: Project, sweeping: Sweeping, many: ManyBuilds
) -> None:
    many.insert(BUILDS)
    await limit(sweeping, project, builds={"number": KEPT})
    order: list[str] = []

    def remember(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if statement.startswith("DELETE FROM builds"):
            order.append("portion")

    async def dispatched() -> None:
        """Another's writes, one after the other."""
        while True:
            await tested.core.database.write(_nothing, committed=lambda _: order.append("other"))

    sa.event.listen(sa.Engine, "after_cursor_execute", remember)
    others = asyncio.create_task(dispatched())
    try:
        gone = (await sweeping.sweep())[project.id]
    finally:
        others.cancel()
        sa.event.remove(sa.Engine, "after_cursor_execute", remember)
    assert gone.count == Counter(builds=BUILDS - KEPT)
    assert rows(many.path, "builds") == KEPT
    portions = order.count("portion")
    assert portions >= (BUILDS - KEPT) / 100
    # Whoever writes waits for one portion at the most.
    assert "portion portion" not in " ".join(order)
    assert wrong_counts(many.path) == []


async def test_a_portion_is_few_statements_over_few_rows(
    project: Project, sweeping: Sweeping, many: ManyBuilds, deletions: Deletions
) -> None:
    many.insert(100)
    many.insert(1, artifacts=3 * ROWS_AT_ONCE, steps=40)
    await limit(sweeping, project, builds={"number": 0})
    changed = _Changes()
    with changed.counted(), collected() as sent:
        await sweeping.sweep()
    assert rows(many.path, "builds") == 0
    assert rows(many.path, "artifacts") == 0
    transactions = len(changed.per_transaction)
    assert transactions >= 4
    # A row that is deleted dooms at most what it names, and counters are few.
    assert max(changed.per_transaction) <= 2 * ROWS_AT_ONCE + 100
    written = [one for one, _ in sent if not one.lstrip().startswith(("SELECT", "PRAGMA"))]
    assert len(written) / transactions < 30


class _Changes:
    def __init__(self) -> None:
        self.per_transaction: list[int] = []
        self._rows = 0

    def counted(self) -> Any:
        return _listening(self)

    def begin(self, *_: object) -> None:
        self._rows = 0

    def executed(self, _connection: object, cursor: Any, statement: str, *_: object) -> None:
        if not statement.lstrip().startswith(("SELECT", "PRAGMA", "BEGIN")):
            self._rows += max(cursor.rowcount, 0)

    def commit(self, *_: object) -> None:
        if self._rows:
            self.per_transaction.append(self._rows)
        self._rows = 0


class _listening:  # noqa: N801 - a context manager
    def __init__(self, changes: _Changes) -> None:
        self._heard = [
            ("begin", changes.begin),
            ("after_cursor_execute", changes.executed),
            ("commit", changes.commit),
        ]

    def __enter__(self) -> None:
        for name, heard in self._heard:
            sa.event.listen(sa.Engine, name, heard)

    def __exit__(self, *_: object) -> None:
        for name, heard in self._heard:
            sa.event.remove(sa.Engine, name, heard)


async def test_no_object_is_left_over_and_none_is_missing(
    tested: TestedCore, project: Project, sweeping: Sweeping, many: ManyBuilds, deletions: Deletions
) -> None:
    # Blobs are shared by all builds with one digit at the end.
    many.insert(60, artifacts=2, shared_blobs=10)
    many.share_log(of=3, by=59)
    many.pin(5)
    await put_objects(tested.core, many)
    await limit(sweeping, project, builds={"number": 10})
    await sweeping.sweep()
    await doomed_gone(deletions, many.path)
    numbers = many.numbers()
    assert numbers == [3, 5, *range(51, 61)]
    assert await left_in_store(tested.core, many) == named_by_rows(many.path)
    assert many.counted_bytes() == many.summed_bytes()


async def test_what_is_doomed_anew_after_it_was_looked_at_goes_too(
    tested: TestedCore, project: Project, sweeping: Sweeping, many: ManyBuilds
) -> None:
    """The builds that used it still go before it is forgotten that it was doomed."""
    many.insert(20, artifacts=1, shared_blobs=10)
    await put_objects(tested.core, many)
    await limit(sweeping, project, builds={"number": 10})
    await sweeping.sweep()
    assert many.numbers() == list(range(11, 21))
    write, looked_at = tested.core.database.write, []

    async def write_late(work: Any, **more: Any) -> Any:
        if not looked_at:
            looked_at.append(True)
            await limit(sweeping, project, builds={"number": 1})
            await sweeping.sweep()
        return await write(work, **more)

    database = cast("Any", _Writing(tested.core.database.read, write_late))
    await doomed_gone(Deletions(replace(tested.core, database=database)), many.path)
    assert many.numbers() == [20]
    assert await left_in_store(tested.core, many) == named_by_rows(many.path)


async def test_logs_and_artifacts_go_while_their_build_stays(
    tested: TestedCore, project: Project, sweeping: Sweeping, many: ManyBuilds, deletions: Deletions
) -> None:
    many.insert(20, artifacts=3)
    many.share_log(of=2, by=20)
    await put_objects(tested.core, many)
    await limit(sweeping, project, logs={"number": 5}, artifacts={"number": 10})
    gone = (await sweeping.sweep())[project.id]
    await doomed_gone(deletions, many.path)
    assert gone.count == Counter(logs=14, artifacts=9)
    assert many.numbers() == list(range(1, 21))
    assert await left_in_store(tested.core, many) == named_by_rows(many.path)
    assert many.counted_bytes() == many.summed_bytes()
    assert (await sweeping.sweep())[project.id].count == Counter()


async def test_a_build_that_is_deleted_by_somebody_makes_it_look_again(
    tested: TestedCore, project: Project, sweeping: Sweeping, many: ManyBuilds, deletions: Deletions
) -> None:
    """The newest success goes by hand after the look and before the portion: the one before it is
    the newest then."""
    many.insert(5)
    many.succeed(3, 4)
    await limit(sweeping, project, builds={"number": 0})
    page = sweeping.core.database.read
    deleted: list[str] = []

    async def read(work: Any) -> Any:
        answer = await page(work)
        if not deleted and isinstance(answer, tuple) and answer and answer[0]:
            deleted.append(many.id_of(4))
            await deletions.delete_build(operator(), None, many.id_of(4))
        return answer

    database = cast("Any", _Reading(sweeping.core.database, read))
    await replace(sweeping, core=replace(sweeping.core, database=database)).sweep()
    assert many.numbers() == [3]


async def test_what_is_set_to_be_only_told_ends_what_is_on_its_way(
    project: Project, sweeping: Sweeping, many: ManyBuilds
) -> None:
    """Set after the look and before the first portion."""
    many.insert(5)
    await limit(sweeping, project, builds={"number": 0})
    page, told = sweeping.core.database.read, False

    async def read(work: Any) -> Any:
        nonlocal told
        answer = await page(work)
        if not told and isinstance(answer, tuple) and answer and answer[0]:
            told = True
            await sweeping.retention.set_rules(operator(), None, {}, enforced=False)
        return answer

    database = cast("Any", _Reading(sweeping.core.database, read))
    await replace(sweeping, core=replace(sweeping.core, database=database)).sweep()
    assert told
    assert many.numbers() == [1, 2, 3, 4, 5]


@dataclass(frozen=True, slots=True)
class _Writing:
    """A database whose writes are somebody else's to begin."""

    read: Any
    write: Any


class _Reading:
    def __init__(self, database: Any, read: Any) -> None:
        self._database, self.read = database, read

    def __getattr__(self, name: str) -> Any:
        return getattr(self._database, name)


async def test_where_there_were_builds_it_is_only_told_until_the_operator_sets_it(
    project: Project, sweeping: Sweeping, many: ManyBuilds
) -> None:
    many.insert(10)
    many.as_if_migrated()
    await limit(sweeping, project, builds={"number": 4})
    assert await sweeping.sweep() == {}
    assert (await sweeping.outlook(project)).count == Counter(builds=6)
    await sweeping.retention.set_rules(operator(), None, {}, enforced=True)
    assert (await sweeping.sweep())[project.id].count == Counter(builds=6)


async def test_a_project_s_limits_win_over_those_of_the_installation(
    project: Project, sweeping: Sweeping
) -> None:
    await limit(sweeping, None, logs={"days": 7}, builds={"days": 30})
    await limit(sweeping, project, logs={"number": 3})
    rules = await sweeping.retention.rules(project.id)
    assert (rules.logs.days, rules.logs.number, rules.builds.days) == (None, 3, 30)
    await limit(sweeping, project, logs=None)
    assert (await sweeping.retention.rules(project.id)).logs.days == 7


async def test_what_is_old_goes(
    project: Project, sweeping: Sweeping, many: ManyBuilds, tested: TestedCore
) -> None:
    many.insert(10)
    tested.clock.seconds += 400 * DAY
    many.finish(10, at=tested.clock.now())
    await sweeping.sweep()
    assert many.numbers() == [10]


async def _nothing(connection: AsyncConnection) -> None:
    await connection.exec_driver_sql("UPDATE accounts SET slug = slug")


async def test_a_kill_leaves_nothing_that_the_next_start_does_not_delete(
    tested: TestedCore, project: Project, sweeping: Sweeping, many: ManyBuilds
) -> None:
    """Killed whenever builds have gone since the last time, in the midst of whatever it does."""
    many.insert(600, artifacts=4, steps=2, shared_blobs=70)
    many.share_log(of=7, by=600)
    await put_objects(tested.core, many)
    await limit(sweeping, project, builds={"number": 60})
    kills = 0
    while True:
        before = rows(many.path, "builds")
        command = [sys.executable, "-m", "tests.integration.upkeep.sweeping_process"]
        process = await asyncio.create_subprocess_exec(*command, str(many.path.parent))
        if kills < 3:
            while process.returncode is None and rows(many.path, "builds") == before:
                await asyncio.sleep(0.005)
        if kills < 3 and process.returncode is None:
            process.kill()
            await process.wait()
            kills += 1
            continue
        assert await process.wait() == 0
        break
    assert kills
    assert many.numbers() == [7, *range(541, 601)]
    assert rows(many.path, "doomed_objects") == 0
    assert await left_in_store(tested.core, many) == named_by_rows(many.path)
    assert many.counted_bytes() == many.summed_bytes()
    assert wrong_counts(many.path) == []
