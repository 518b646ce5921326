"""Folding the logs of attempts that have ended: cut short anywhere, taken up by a successor."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from coordinator.domain.model import Attempt, AttemptState, Project, Step
from coordinator.object_ports import LogDigest
from coordinator.objects.log_tails import DatabaseLogTails
from coordinator.objects.logs import ObjectLogStore
from coordinator.objects.stores import open_store
from coordinator.services.logs.folding import LOST_FOR, Folding
from coordinator.storage.connection import AsyncConnection
from coordinator.storage.steps import attempts as stored_attempts
from coordinator.storage.steps.folded_logs import OpenLog
from coordinator.storage.tables import attempts, projects
from pipelines_schema.log_frames import Frame, Stream
from tests.integration.core_fixture import TestedCore, open_core, step_of
from tests.interruption import cancelled_at

SHORT = b"a line\n" * 30
LONG = b"".join(b"line %d of a long log\n" % number for number in range(9000))


@pytest.fixture
async def tested(tmp_path: Path) -> AsyncIterator[TestedCore]:
    async with open_core(tmp_path) as tested:
        yield tested


async def ended_attempt(
    tested: TestedCore, project: Project, text: bytes, state: AttemptState
) -> Attempt:
    """Its log is stored and its end committed; nobody has begun to fold it."""
    build = await tested.new_build(project, step_of("only"))
    [step] = await tested.steps(build)
    attempt = new_attempt(tested, step)
    offset = 0
    while offset < len(text):
        data = text[offset : offset + 50_000]
        frame = Frame(stream=Stream.STDOUT, time_ms=offset, data=data)
        offset = await tested.core.logs.append(attempt.id, offset, [frame])
    told = state is not AttemptState.LOST
    digest = LogDigest(size=len(text), sha256=hashlib.sha256(text).hexdigest())

    async def save(connection: AsyncConnection) -> None:
        await stored_attempts.insert_attempt(connection, attempt)
        await stored_attempts.end_attempt(
            connection,
            attempt,
            state=state,
            exit_code=0,
            reason=None,
            log_bytes=digest.size if told else None,
            log_sha256=digest.sha256 if told else None,
            outputs=None,
            now=tested.core.now(),
        )

    await tested.core.database.write(save)
    return attempt


def new_attempt(tested: TestedCore, step: Step) -> Attempt:
    return Attempt(
        step_id=step.id,
        epoch=1,
        number=1,
        state=AttemptState.RUNNING,
        holder="agent:one",
        exit_code=None,
        reason=None,
        log_bytes=None,
        log_sha256=None,
        started_at=tested.core.now(),
        finished_at=None,
    )


def successor(tested: TestedCore) -> ObjectLogStore:
    """The logs as a new process finds them."""
    store = open_store(tested.core.settings.data / "objects")
    return ObjectLogStore(store, DatabaseLogTails(tested.core.database))


def objects_of(tested: TestedCore, attempt: Attempt) -> list[str]:
    folder = tested.core.settings.data / "objects" / "logs" / attempt.id
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


async def rows_of(tested: TestedCore, attempt: Attempt) -> int:
    return len(await DatabaseLogTails(tested.core.database).pieces(attempt.id))


async def counted(tested: TestedCore, project: Project) -> tuple[int, int]:
    """What the project counts of logs, and what its attempts say."""

    async def read(connection: AsyncConnection) -> tuple[int, int]:
        of_project = sa.select(projects.c.log_bytes).where(projects.c.id == project.id)
        of_attempts = sa.select(sa.func.coalesce(sa.func.sum(attempts.c.log_stored), 0))
        return (
            int((await connection.execute(of_project)).scalar_one()),
            int((await connection.execute(of_attempts)).scalar_one()),
        )

    return await tested.core.database.read(read)


@pytest.mark.parametrize("text", [SHORT, LONG], ids=["in the database", "in chunks"])
async def test_a_killed_folding_is_taken_up_wherever_it_was(
    tested: TestedCore, text: bytes
) -> None:
    project = await tested.new_project("a", "shop")
    stored = 0
    for moment in range(200):
        attempt = await ended_attempt(tested, project, text, AttemptState.SUCCEEDED)
        cut = await cancelled_at(moment, Folding(tested.core).fold_what_is_left())
        after = successor(tested)
        assert await after.read(attempt.id, 0, 1 << 20) == text, moment
        await Folding(tested.core).fold_what_is_left()
        assert await successor(tested).read(attempt.id, 0, 1 << 20) == text, moment
        assert objects_of(tested, attempt) == ["log.zst"]
        assert await rows_of(tested, attempt) == 0
        folder = tested.core.settings.data / "objects" / "logs" / attempt.id
        stored += (folder / "log.zst").stat().st_size
        assert await counted(tested, project) == (stored, stored), moment
        if not cut:
            return
    raise AssertionError("folding waits more often than it should")


async def test_a_lost_attempts_lines_go_into_the_store_after_an_hour(tested: TestedCore) -> None:
    """Its agent may still come back with more of them, before and after."""
    project = await tested.new_project("a", "shop")
    attempt = await ended_attempt(tested, project, SHORT, AttemptState.LOST)
    await Folding(tested.core).fold_what_is_left()
    assert objects_of(tested, attempt) == []
    tested.clock.seconds += LOST_FOR.total_seconds() + 1
    await Folding(tested.core).fold_what_is_left()
    assert objects_of(tested, attempt) == ["0000000000000000"]
    assert await rows_of(tested, attempt) == 0
    frame = Frame(stream=Stream.STDERR, time_ms=1, data=b"late\n")
    await successor(tested).append(attempt.id, len(SHORT), [frame])
    assert await successor(tested).read(attempt.id, 0, 1000) == SHORT + b"late\n"


async def test_a_line_that_came_while_its_build_was_deleted_goes_too(tested: TestedCore) -> None:
    frame = Frame(stream=Stream.STDOUT, time_ms=1, data=LONG)
    await tested.core.logs.append("no-such-step-1", 0, [frame])
    await Folding(tested.core).fold_what_is_left()
    logs = tested.core.settings.data / "objects" / "logs" / "no-such-step-1"
    assert list(logs.iterdir()) == []
    assert await successor(tested).size("no-such-step-1") == 0


async def test_a_log_that_comes_before_its_attempt_is_spared_meanwhile(tested: TestedCore) -> None:
    folding, coming = Folding(tested.core), {"sent-1"}
    frame = Frame(stream=Stream.STDOUT, time_ms=1, data=SHORT)
    with folding.sparing(coming):
        await tested.core.logs.append("sent-1", 0, [frame])
        await folding.fold_what_is_left()
        assert await tested.core.logs.read("sent-1", 0, 1000) == SHORT

    await folding.fold_what_is_left()

    assert await tested.core.logs.read("sent-1", 0, 1000) == b""


async def test_a_log_whose_attempt_came_since_it_was_looked_for_stays(
    tested: TestedCore, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = await tested.new_project()
    attempt = await ended_attempt(tested, project, SHORT, AttemptState.SUCCEEDED)
    unseen = OpenLog(attempt_id=attempt.id, state=None, log_bytes=None, finished_at=None)

    async def looked_before(*_: object) -> list[OpenLog]:
        return [unseen] if _[1] == "" else []

    monkeypatch.setattr("coordinator.services.logs.folding.stored.open_logs", looked_before)
    await Folding(tested.core).fold_what_is_left()

    assert await tested.core.logs.read(attempt.id, 0, 1000) == SHORT
