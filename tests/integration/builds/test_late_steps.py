"""Conditions that ask what other steps handed on, worked out when these have ended."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import pytest

from coordinator.domain.lifecycle import BuildState, StepEvent, StepState
from coordinator.domain.model import Build
from coordinator.services.builds.cancels import cancel_build
from coordinator.services.builds.late_steps import LateSteps
from coordinator.services.steps import advance
from coordinator.storage.connection import AsyncConnection
from coordinator.storage.steps import steps as stored_steps
from pipelines_schema import Condition, unwatched
from pipelines_schema.cel_outputs import OutputName
from tests.integration.coordinator_fixture import (
    AgentCaller,
    Caller,
    WorkTree,
    eventually,
    new_work_tree,
    open_coordinator,
)
from tests.integration.core_fixture import TestedCore, open_core, step_of
from tests.integration.statements import collected

pytestmark = pytest.mark.usefixtures("each_database")

PATTERN = "(((a{10}){10}){10}){10}b"
A_SECOND = "outputs.plan.text.matches(outputs.plan.pattern)"
DEPLOY = 'outputs.plan.deploy == "yes"'


@dataclass(frozen=True, slots=True)
class Pushed:
    """A project whose workflow is pushed."""

    admin: Caller
    folder: Path

    async def begun(self, *after: str) -> tuple[AgentCaller, dict[str, Any], str]:
        """An agent that has `plan`, before the other steps; its spec, and the build's id."""
        agent, project = await self.admin.new_agent(), await self.admin.new_project()
        tree = await new_work_tree(self.folder, self.admin, project)
        await tree.commit({".pushrod.yml": workflow(*after)})
        await tree.push()
        spec = await agent.take()
        return agent, spec, spec["buildId"]

    def tree(self) -> WorkTree:
        """That of the project."""
        return WorkTree(self.folder / "work", self.admin.coordinator.push_environment(self.admin))


def workflow(*after: str) -> str:
    steps = [f"  - {{name: {step}, image: base, run: 'true'}}\n" for step in ("plan", *after)]
    return "".join(["on: {push: {}}\nsteps:\n", *steps])


def after(name: str, *depends_on: str, when: str = "", run_on: str = "success") -> str:
    """A step as far as `workflow` doesn't write it."""
    condition = f", when: {json.dumps(when)}" if when else ""
    return f"{name}, dependsOn: [{', '.join(depends_on)}], runOn: [{run_on}]{condition}"


@pytest.fixture
async def pushed(tmp_path: Path) -> AsyncIterator[Pushed]:
    async with open_coordinator(tmp_path) as coordinator:
        yield Pushed(coordinator.admin, tmp_path)


async def ended(admin: Caller, build_id: str) -> dict[str, Any]:
    async def look() -> dict[str, Any] | None:
        found = await admin.build(build_id)
        return found if found["status"] in ("SUCCESS", "FAILED", "CANCELLED") else None

    return cast("dict[str, Any]", await eventually(look))


def ends(build: dict[str, Any]) -> list[tuple[str, str, str | None]]:
    return [(step["name"], step["status"], step.get("reason")) for step in build["steps"]]


async def test_a_condition_is_worked_out_with_what_was_handed_on(pushed: Pushed) -> None:
    agent, spec, build_id = await pushed.begun(
        after("deploy", "plan", when=DEPLOY),
        after("hold", "plan", when='outputs.plan.deploy == "no"'),
        after("after-hold", "hold"),
        after("none", "plan", when='outputs.plan["never.written"] == ""'),
    )
    # The next step that comes with the answer can't be one that is not resolved yet.
    answer = await agent.complete(spec, outputs={"deploy": "yes"}, next={"instance": "one"})
    assert answer.expect(200).json.get("next") is None
    ran = [await agent.take(), await agent.take()]
    assert sorted(spec["name"] for spec in ran) == ["deploy", "none"]
    for spec in ran:
        await agent.complete(spec)
    build = await ended(pushed.admin, build_id)
    assert build["status"] == "SUCCESS"
    assert ends(build)[1:] == [
        ("deploy", "SUCCESS", None),
        ("hold", "SKIPPED", "condition false"),
        ("after-hold", "SKIPPED", "dependency did not succeed: hold"),
        ("none", "SUCCESS", None),
    ]


async def test_an_indirect_dependency_is_asked_when_the_last_has_ended(pushed: Pushed) -> None:
    agent, spec, build_id = await pushed.begun(
        after("test", "plan"), after("deploy", "test", when=DEPLOY)
    )
    await agent.complete(spec, outputs={"deploy": "no"})
    await agent.complete(await agent.take(), outputs={"deploy": "yes"})
    assert ends(await ended(pushed.admin, build_id))[2] == ("deploy", "SKIPPED", "condition false")


async def test_a_fault_found_late_fails_the_step_alone_and_says_where(pushed: Pushed) -> None:
    agent, spec, build_id = await pushed.begun(
        after("many", "plan", when="int(outputs.plan.count) > 3"),
        after("slow", "plan", when=A_SECOND),
        after("fine", "plan", when='outputs.plan.count == "many"'),
        after("mend", "many", run_on="failure"),
    )
    await agent.complete(spec, outputs={"count": "many", "text": "a" * 20_000, "pattern": PATTERN})
    ran = {spec["name"]: spec for spec in (await agent.take(), await agent.take())}
    assert sorted(ran) == ["fine", "mend"]
    for spec in ran.values():
        await agent.complete(spec)
    build = await ended(pushed.admin, build_id)
    many, slow = build["steps"][1:3]
    assert (many["status"], many["reason"]) == ("FAILED", "condition")
    assert many["message"].startswith("`when` (line 4, column 61) can't be worked out: ")
    assert "takes more than 250 ms of processor time" in slow["message"]
    assert build["reason"].startswith("step many failed: condition: `when` (line 4, column 61) ")


async def test_which_files_differ_is_asked_when_the_build_is_made(pushed: Pushed) -> None:
    agent, spec, build_id = await pushed.begun(
        after("new", "plan", when=f'changed("*.yml") && {DEPLOY}'),
        after("old", "plan", when=f'changed("!*.yml") && {DEPLOY}'),
    )
    await agent.complete(spec, outputs={"deploy": "yes"})
    for _ in range(2):  # nothing to compare with
        await agent.complete(await agent.take())
    project = {"id": (await ended(pushed.admin, build_id))["projectId"]}
    tree = pushed.tree()
    await tree.commit({".pushrod.yml": (tree.folder / ".pushrod.yml").read_text() + "#"})
    await tree.push()
    await agent.complete(await agent.take(), outputs={"deploy": "yes"})
    spec = await agent.take()
    assert spec["name"] == "new"
    await agent.complete(spec)
    assert len(await pushed.admin.builds(project)) == 2


async def test_run_on_is_decided_first(pushed: Pushed) -> None:
    agent, spec, build_id = await pushed.begun(
        after("deploy", "plan", when="int(outputs.plan.deploy) == 1"),
        after("mend", "plan", run_on="failure", when='outputs.plan.deploy == "half"'),
    )
    await agent.complete(spec, status="failed", exitCode=1, outputs={"deploy": "half"})
    spec = await agent.take()
    assert spec["name"] == "mend"
    await agent.complete(spec)
    assert ends(await ended(pushed.admin, build_id))[1] == (
        "deploy",
        "SKIPPED",
        "dependency did not succeed: plan",
    )


async def test_a_retry_asks_again_what_was_taken_over(pushed: Pushed) -> None:
    agent, spec, build_id = await pushed.begun(
        after("deploy", "plan", when=DEPLOY), after("hold", "plan", when=f"!({DEPLOY})")
    )
    await agent.complete(spec, outputs={"deploy": "yes"})
    await agent.complete(await agent.take(), status="failed", exitCode=1)
    build = await ended(pushed.admin, build_id)
    path = f"/api/projects/{build['projectId']}/builds/{build_id}/retry"
    again = (await pushed.admin.post(path, {"failed": True})).expect(201).json
    await agent.complete(await agent.take())
    assert [end[1] for end in ends(await ended(pushed.admin, again["id"]))] == [
        "SUCCESS",
        "SUCCESS",
        "SKIPPED",
    ]


async def test_a_build_without_such_conditions_pays_nothing(pushed: Pushed) -> None:
    agent, spec, build_id = await pushed.begun(after("test", "plan", when='event == "push"'))
    with collected() as statements:
        await agent.complete(spec, outputs={"deploy": "yes"})
        await agent.complete(await agent.take())
        await ended(pushed.admin, build_id)
    assert not [text for text, _ in statements if "'resolving'" in text]


# What comes in between


@dataclass(slots=True)
class HeldReadings:
    """Answers in this process, once it is let go."""

    asked: asyncio.Event = field(default_factory=asyncio.Event)
    let_go: asyncio.Event = field(default_factory=asyncio.Event)
    followed: asyncio.Event = field(default_factory=asyncio.Event)
    """What came of an answer is committed."""
    faults: int = 0
    """How many of the next answers are a fault of ours."""
    pauses: list[float] = field(default_factory=list)

    async def pause(self, seconds: float) -> None:
        self.pauses.append(seconds)

    async def run(self, account: str, read: Callable[..., Any], *args: Any) -> Any:
        self.asked.set()
        await self.let_go.wait()
        if self.faults:
            self.faults -= 1
            raise RuntimeError("a fault of ours")
        return read(unwatched, *args)


@asynccontextmanager
async def resolving(tested: TestedCore) -> AsyncIterator[HeldReadings]:
    readings = HeldReadings()
    core = replace(tested.core, readings=cast("Any", readings))
    late_steps = LateSteps(core, wake=readings.followed.set, pause=readings.pause)
    task = asyncio.create_task(late_steps.run())
    try:
        yield readings
    finally:
        task.cancel()
        await asyncio.wait([task])


async def planned(tested: TestedCore, project: str = "shop") -> Build:
    """A build whose first step has ended, so that the second is to be resolved."""
    when = Condition(
        expression='outputs.plan.deploy == ""', outputs=(OutputName("plan", "deploy"),)
    )
    build = await tested.new_build(
        await tested.new_project(project),
        step_of("plan"),
        step_of("deploy", "plan", when=when),
        step_of("after", "deploy"),
    )

    [plan, *_] = await tested.steps(build)

    async def end(connection: AsyncConnection) -> None:
        given = await stored_steps.hand_out(
            connection, plan.id, to=StepState.RUNNING, holder="agent:a"
        )
        assert given is not None
        await advance.begin_build(tested.core, connection, build.id)
        running = replace(plan, state=StepState.RUNNING)
        done = await advance.move_step(tested.core, connection, running, StepEvent.SUCCEED)
        await advance.follow_end(tested.core, connection, done)

    await tested.core.database.write(end)
    return build


async def states(tested: TestedCore, build: Build) -> list[StepState]:
    return [step.state for step in await tested.steps(build)]


async def test_a_restart_before_the_answer_picks_the_step_up(tmp_path: Path) -> None:
    async with open_core(tmp_path) as tested:
        build = await planned(tested)
        assert (await states(tested, build))[1:] == [StepState.RESOLVING, StepState.BLOCKED]
        async with resolving(tested) as readings:
            await readings.asked.wait()  # and ended there, as by kill -9
        async with resolving(tested) as readings:
            readings.let_go.set()
            await readings.followed.wait()
        assert (await states(tested, build))[1:] == [StepState.READY, StepState.BLOCKED]


async def test_a_cancel_wins_over_the_answer(tmp_path: Path) -> None:
    async with open_core(tmp_path) as tested:
        build = await planned(tested)
        async with resolving(tested) as readings:
            await readings.asked.wait()
            await tested.core.database.write(
                lambda connection: cancel_build(tested.core, connection, build.id, by="anna")
            )
            readings.let_go.set()
            await readings.followed.wait()
        found = await tested.build(build)
        assert found.state is BuildState.CANCELLED
        assert (await states(tested, build))[1:] == [StepState.CANCELLED, StepState.CANCELLED]


async def test_a_fault_of_ours_is_tried_again_after_growing_pauses(tmp_path: Path) -> None:
    async with open_core(tmp_path) as tested:
        build = await planned(tested)
        async with resolving(tested) as readings:
            readings.faults = 11
            readings.let_go.set()
            await readings.followed.wait()
            assert readings.pauses == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]
            assert (await states(tested, build))[1:] == [StepState.READY, StepState.BLOCKED]
            # Its faults are forgotten: the next build's begin anew.
            readings.faults = 1
            readings.followed.clear()
            await planned(tested, "other")
            await readings.followed.wait()
            assert readings.pauses[11:] == [1]
