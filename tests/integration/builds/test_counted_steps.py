"""A step's end is followed by its neighbours alone: what comes of it is what a look at the whole
build says, and costs the same in a large one."""

from __future__ import annotations

import json
import random
import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from coordinator.domain.builds.roll_up import links_of, settle, spared_by_cancel, step_view
from coordinator.domain.lifecycle import (
    FINISHED_BUILD,
    FINISHED_STEP,
    BuildState,
    StepEvent,
    StepState,
)
from coordinator.domain.model import Attempt, AttemptState, Build, Step
from coordinator.domain.steps.verdict import AttemptEnd
from coordinator.services.builds.cancels import cancel_build
from coordinator.services.steps import advance, attempt_ends
from coordinator.services.steps.dispatch import Dispatch
from coordinator.storage import migrate
from coordinator.storage.connection import AsyncConnection
from coordinator.storage.steps import attempts as stored_attempts
from coordinator.storage.steps import steps as stored_steps
from pipelines_schema import DEFAULT_RUN_ON, Ending, Retries
from pipelines_schema import Step as WorkflowStep
from pipelines_schema.contract import Completion, CompletionReason
from tests.integration.core_fixture import TestedCore, open_core, step_of
from tests.integration.statements import collected

RUN_ON = (
    DEFAULT_RUN_ON,
    DEFAULT_RUN_ON,
    (Ending.FAILURE,),
    (Ending.SUCCESS, Ending.FAILURE),
    (Ending.CANCELLED,),
    tuple(Ending),
)


@pytest.fixture
async def tested(tmp_path: Path) -> AsyncIterator[TestedCore]:
    async with open_core(tmp_path) as tested:
        yield tested


def some_workflow(chance: random.Random) -> list[WorkflowStep]:
    names = [f"s{number}" for number in range(chance.randint(1, 9))]
    return [
        step_of(
            name,
            *chance.sample(names[:number], chance.randint(0, min(number, 3))),
            allow_failure=chance.random() < 0.2,
            run_on=chance.choice(RUN_ON),
            retries=Retries(max=chance.choice((0, 0, 1))),
        )
        for number, name in enumerate(names)
    ]


async def end(tested: TestedCore, step: Step, how: AttemptEnd) -> advance.Followed:
    """Hand a ready step out, and end its attempt."""
    attempt = Attempt(
        step_id=step.id,
        epoch=step.epoch + 1,
        number=step.attempt + 1,
        state=AttemptState.RUNNING,
        holder="agent:a",
        exit_code=None,
        reason=None,
        log_bytes=None,
        log_sha256=None,
        started_at=tested.clock.now(),
        finished_at=None,
    )

    async def run(connection: AsyncConnection) -> advance.Followed:
        await stored_attempts.insert_attempt(connection, attempt)
        await advance.move_step(
            tested.core,
            connection,
            step,
            StepEvent.CLAIM,
            epoch=attempt.epoch,
            attempt=attempt.number,
        )
        await advance.begin_build(tested.core, connection, step.build_id)
        running = await stored_steps.find_step(connection, step.id)
        assert running is not None
        _, followed = await attempt_ends.end_attempt(
            tested.core, connection, running, attempt, how, None, None
        )
        return followed

    return await tested.core.database.write(run)


def some_end(chance: random.Random) -> AttemptEnd:
    if chance.random() < 0.6:
        return AttemptEnd(status=Completion.SUCCESS, exit_code=0, reason=None)
    reason = chance.choice((None, CompletionReason.LOST))
    return AttemptEnd(status=Completion.FAILED, exit_code=1, reason=reason)


async def assert_is_settled(tested: TestedCore, build: Build) -> Build:
    """Nothing is left to follow, and every count is that of the steps as they are."""
    steps, build = await tested.steps(build), await tested.build(build)
    left = settle([step_view(step) for step in steps])
    assert (left.unblocked, left.skipped) == ([], {})
    still_open = [step for step in steps if step.state not in FINISHED_STEP]
    assert build.open_steps == len(still_open)
    links = links_of(steps)
    assert {one.name: one.waits for one in still_open} == {
        one.name: links[one.id].waits for one in still_open
    }
    assert (left.finished is not None) == (build.state in FINISHED_BUILD)
    return build


@pytest.mark.parametrize("seed", range(3))
async def test_the_neighbours_say_what_the_whole_build_says(tested: TestedCore, seed: int) -> None:
    chance = random.Random(seed)
    project = await tested.new_project()
    for _ in range(25):
        build = await tested.new_build(project, *some_workflow(chance))
        await carry_out(tested, build, chance)
        assert (await tested.build(build)).state in FINISHED_BUILD


async def carry_out(tested: TestedCore, build: Build, chance: random.Random) -> None:
    """Step by step in any order, with a look at all of it after each."""
    while ready := [one for one in await tested.steps(build) if one.state is StepState.READY]:
        tested.clock.seconds += 1
        if chance.random() < 0.1:
            await assert_is_cancelled(tested, build)
            continue
        followed = await end(tested, chance.choice(ready), some_end(chance))
        after = await assert_is_settled(tested, build)
        assert followed.build.state is after.state


async def assert_is_cancelled(tested: TestedCore, build: Build) -> None:
    """Only steps for after a cancel are left by the first one, and none by another."""
    again = (await tested.build(build)).reason is not None
    spared = frozenset[str]() if again else spared_by_cancel(await tested.steps(build))
    await tested.core.database.write(
        lambda connection: cancel_build(tested.core, connection, build.id, by="anna", again=again)
    )
    after = await assert_is_settled(tested, build)
    left = [one for one in await tested.steps(build) if one.state not in FINISHED_STEP]
    assert {one.id for one in left} <= spared
    assert all(Ending.CANCELLED in one.written.run_on for one in left)
    if again:
        assert after.state is BuildState.CANCELLED
    else:
        assert after.state is BuildState.CANCELLED or left


async def test_an_end_costs_the_same_in_a_large_build(tested: TestedCore) -> None:
    project = await tested.new_project()
    costs: list[Sequence[str]] = []
    for size in (3, 300):
        chain = [step_of("s0"), step_of("s1", "s0"), step_of("s2", "s1")]
        others = [step_of(f"o{number}") for number in range(size)]
        build = await tested.new_build(project, *chain, *others)
        first = (await tested.steps(build))[0]
        with collected() as statements:
            await end(
                tested, first, AttemptEnd(status=Completion.SUCCESS, exit_code=0, reason=None)
            )
        costs.append([statement for statement, _ in statements])
    assert costs[0] == costs[1]
    assert not any("ORDER BY steps.position" in statement for statement in costs[1])


async def test_a_fan_in_is_read_whole_once_at_most(tested: TestedCore) -> None:
    """Of a matrix whose every part fails, too."""
    project = await tested.new_project()
    parts = [step_of(f"p{number}") for number in range(20)]
    names = [part.name for part in parts]
    report = step_of("report", *names, run_on=tuple(Ending))
    build = await tested.new_build(project, *parts, step_of("next", *names), report)
    failed = AttemptEnd(status=Completion.FAILED, exit_code=1, reason=None)
    matrix = (await tested.steps(build))[:20]
    with collected() as statements:
        for step in matrix:
            await end(tested, step, failed)
    whole = [one for one, _ in statements if "ORDER BY steps.position" in one]
    assert len(whole) == 2  # when `next` is skipped, and when `report` gets its turn
    states = {step.name: step.state for step in await tested.steps(build)}
    assert states["next"] is StepState.SKIPPED
    assert states["report"] is StepState.READY


async def test_counts_that_are_wrong_are_put_right_at_the_start(tested: TestedCore) -> None:
    """Whatever made them so: a build must not wait for nothing."""
    project = await tested.new_project()
    stuck = await tested.new_build(project, step_of("a"), step_of("b", "a"))
    endless = await tested.new_build(project, step_of("c"))
    right = await tested.new_build(project, step_of("d"))
    [first, second] = await tested.steps(stuck)
    [only] = await tested.steps(endless)

    async def spoil(connection: AsyncConnection) -> None:
        for step in (first, only):
            await stored_steps.update_step(connection, step.id, state=StepState.SUCCEEDED.value)
        await stored_steps.update_step(connection, second.id, waits=0)

    await tested.core.database.write(spoil)
    await Dispatch(tested.core).load()
    for build in (stuck, endless):
        await assert_is_settled(tested, build)
    assert [step.state for step in await tested.steps(stuck)][1] is StepState.READY
    assert (await tested.build(endless)).state is BuildState.SUCCEEDED
    assert (await tested.build(right)).version == right.version


def test_open_builds_of_before_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "pushrod.db"
    migrate.upgrade(path, "0020")
    with closing(sqlite3.connect(path)) as connection:
        for number, state in enumerate(("held", "queued", "running", "succeeded")):
            connection.execute(
                "INSERT INTO builds (id, project_id, account_id, workflow_name, number, state,"
                " event, version, problems, created_at, ordinal)"
                " VALUES (?, 'p', 'acme', 'ci', ?, ?, 'push', 1, '[]', '0', ?)",
                (state, number, state, number),
            )
            for position, (name, step, depends_on) in enumerate(
                [
                    ("a", "succeeded", []),
                    ("b", "running", ["a"]),
                    ("c", "blocked", ["a", "b"]),
                    ("d", "blocked", ["b", "c"]),
                ]
            ):
                connection.execute(
                    "INSERT INTO steps (id, build_id, project_id, account_id, position, name,"
                    " state, definition, depends_on, labels, needs, epoch, attempt, lost_count)"
                    " VALUES (?, ?, 'p', 'acme', ?, ?, ?, '{}', ?, '{}', '[]', 0, 0, 0)",
                    (f"{state}-{name}", state, position, name, step, json.dumps(depends_on)),
                )
        connection.commit()
    migrate.upgrade(path, "head")
    with closing(sqlite3.connect(path)) as connection:
        found = dict(connection.execute("SELECT id, open_steps FROM builds").fetchall())
        rows = connection.execute("SELECT id, waits, dependants FROM steps").fetchall()
    assert found == {"held": 3, "queued": 3, "running": 3, "succeeded": 0}
    counted = {id_: (waits, json.loads(dependants)) for id_, waits, dependants in rows}
    for state in ("held", "queued", "running"):
        assert [counted[f"{state}-{name}"] for name in "abcd"] == [
            (0, [1, 2]),
            (0, [2, 3]),
            (1, [3]),
            (2, []),
        ]
