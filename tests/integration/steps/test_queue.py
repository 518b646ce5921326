"""What dispatch asks of the database, and what that costs."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, cast

import pytest
import sqlalchemy as sa

from coordinator.domain.lifecycle import StepState
from coordinator.domain.steps.scheduling import Queue, WaitingAgent, queue_class_of, suits
from coordinator.storage import migrate
from coordinator.storage.connection import AsyncConnection
from coordinator.storage.steps import queue as stored_queue
from coordinator.storage.steps import steps as stored_steps
from tests.integration.core_fixture import TestedCore, open_core, step_of

AGENT = WaitingAgent(agent_id="a", account_id=None, labels={"os": "linux"}, free=1)


@pytest.fixture
async def tested(tmp_path: Path) -> AsyncIterator[TestedCore]:
    async with open_core(tmp_path) as tested:
        yield tested


async def queues(connection: AsyncConnection) -> Sequence[Queue]:
    return await stored_queue.waiting_queues(connection, lambda one: suits(one, AGENT))


async def offered(tested: TestedCore) -> list[str]:
    """Names of the steps that are handed out, until the queues are empty."""
    names = []
    for queue in await tested.core.database.read(queues):
        while given := await tested.core.database.write(
            lambda connection, queue=queue: stored_queue.offer_next(connection, queue, "agent:a")
        ):
            step = await tested.core.database.read(
                lambda connection, id_=given[0]: stored_steps.find_step(connection, id_)
            )
            assert step is not None
            assert (step.state, step.holder, step.epoch) == (StepState.OFFERED, "agent:a", 1)
            assert (step.build_id, step.epoch) == given[1:]
            names.append(step.name)
    return names


async def test_a_queue_goes_oldest_first_and_in_the_order_of_the_workflow(
    tested: TestedCore,
) -> None:
    project = await tested.new_project()
    await tested.new_build(project, step_of("a"), step_of("b"), step_of("c", "a"))
    tested.clock.seconds += 1
    await tested.new_build(project, step_of("late"))
    assert await offered(tested) == ["a", "b", "late"]
    assert await offered(tested) == []


async def test_there_is_a_queue_for_each_project_and_each_thing_wanted(tested: TestedCore) -> None:
    shop, blog = await tested.new_project("shop"), await tested.new_project("blog", "other")
    for project in (shop, shop, blog):
        steps = [step_of(name, agents={"os": name}) for name in ("linux", "plan9")]
        await tested.new_build(project, step_of("any"), *steps)
    found = await tested.core.database.read(queues)
    wanted = [(one.project_id, one.wants.account_id, dict(one.wants.labels)) for one in found]
    assert sorted(wanted, key=str) == [
        ("acme-shop", "acme", {"os": "linux"}),
        ("acme-shop", "acme", {}),
        ("other-blog", "other", {"os": "linux"}),
        ("other-blog", "other", {}),
    ]
    assert {one.oldest for one in found} == {tested.clock.now()}


@pytest.mark.parametrize("state", [each for each in StepState if each is not StepState.READY])
async def test_only_a_ready_step_is_handed_out(tested: TestedCore, state: StepState) -> None:
    """Whoever comes second, with what it read before, must find it gone."""
    project = await tested.new_project()
    build = await tested.new_build(project, step_of("test"))
    [step] = await tested.steps(build)
    [queue] = await tested.core.database.read(queues)
    write = tested.core.database.write
    await write(lambda connection: stored_steps.update_step(connection, step.id, state=state.value))
    for to in (StepState.OFFERED, StepState.READY):
        assert (
            await write(
                lambda connection, to=to: stored_steps.hand_out(
                    connection, step.id, to=to, holder="agent:b"
                )
            )
            is None
        )
    assert (
        await write(lambda connection: stored_queue.offer_next(connection, queue, "agent:b"))
        is None
    )
    [after] = await tested.steps(build)
    assert (after.state, after.epoch, after.holder) == (state, 0, None)


class Counted:
    """A connection as services have it, over a driver that counts its virtual machine's steps."""

    def __init__(self, path: Path) -> None:
        self._engine = sa.create_engine(f"sqlite:///{path}")
        self._connection = self._engine.connect()
        self.steps = 0
        driver = cast("sqlite3.Connection", self._connection.connection.driver_connection)
        driver.set_progress_handler(self._count, 1)

    def _count(self) -> int:
        self.steps += 1
        return 0

    async def execute(self, *arguments: Any) -> Any:
        return self._connection.execute(*arguments)

    def close(self) -> None:
        self._connection.close()
        self._engine.dispose()


async def cost_of_a_round(tested: TestedCore) -> int:
    """Of reading what waits and of handing one step out, which is taken back."""
    with closing(Counted(tested.core.settings.data / "pushrod.db")) as counted:
        connection = cast("AsyncConnection", counted)
        found = await queues(connection)
        await stored_queue.handed_out_per_project(connection)
        assert await stored_queue.offer_next(connection, found[0], "agent:a")
        return counted.steps


async def flood(tested: TestedCore, project: str, **wanted: Any) -> None:
    target = await tested.new_project(project)
    for _ in range(4):
        await tested.new_build(target, *[step_of(f"s{n}", **wanted) for n in range(500)])


@pytest.mark.parametrize(
    "wanted", [{"agents": {"gpu": "big"}}, {}], ids=["that nobody suits", "for slots"]
)
async def test_a_thousand_steps_more_that_wait_add_no_row_to_a_round(
    tested: TestedCore, wanted: dict[str, Any]
) -> None:
    await tested.new_build(await tested.new_project(), step_of("test"))
    await tested.new_build(await tested.new_project("few"), step_of("one", **wanted))
    few = await cost_of_a_round(tested)
    await flood(tested, "many", **wanted)
    one_project_more = await cost_of_a_round(tested)
    await flood(tested, "many more", **wanted)
    two_more = await cost_of_a_round(tested)
    # Each project is a row or two of some dozens of machine steps; 2,000 steps would be 20,000.
    assert max(one_project_more, two_more) < few + 300


def test_open_steps_of_before_queues_are_put_into_theirs(tmp_path: Path) -> None:
    path = tmp_path / "pushrod.db"
    migrate.upgrade(path, "0013")
    labels, needs = {"os": "linux", "cpu": "arm"}, ["imageBuilds"]
    with closing(sqlite3.connect(path)) as connection:
        for state in ("blocked", "ready", "offered", "running", "succeeded"):
            connection.execute(
                "INSERT INTO steps (id, build_id, project_id, account_id, position, name, state,"
                " definition, depends_on, labels, needs, epoch, attempt, lost_count)"
                " VALUES (?, 'b', 'p', 'acme', 0, ?, ?, '{}', '[]', ?, ?, 0, 0, 0)",
                (state, state, state, json.dumps(labels), json.dumps(needs)),
            )
        connection.commit()
    migrate.upgrade(path, "head")
    with closing(sqlite3.connect(path)) as connection:
        found = dict(connection.execute("SELECT id, queue_class FROM steps").fetchall())
    assert found.pop("succeeded") == ""
    assert set(found.values()) == {queue_class_of("acme", labels, needs)}
