"""`generates`: steps that a step adds to its build, once it has succeeded."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.integration.coordinator_fixture import (
    AgentCaller,
    Caller,
    Coordinator,
    new_work_tree,
    open_coordinator,
)

pytestmark = pytest.mark.usefixtures("each_database")

MORE = "more.yml"


@dataclass(frozen=True, slots=True, kw_only=True)
class Begun:
    """A build of which an agent runs the generator."""

    coordinator: Coordinator
    project: Mapping[str, Any]
    agent: AgentCaller
    spec: Mapping[str, Any]

    @property
    def admin(self) -> Caller:
        return self.coordinator.admin

    async def generate(self, *steps: str, templates: str = "", **body: Any) -> Any:
        return await generate(self.agent, self.spec, *steps, templates=templates, **body)

    async def build(self) -> dict[str, Any]:
        return await self.admin.build(self.spec["buildId"])

    async def retried(self, again: Mapping[str, Any] | None = None) -> dict[str, Any]:
        return await retried(self.admin, self.spec["buildId"], again)


async def retried(
    caller: Caller, build_id: str, again: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    answer = await caller.post(f"/api/projects/-/builds/{build_id}/retry", again or {})
    return dict(answer.expect(201).json)


async def generate(
    agent: AgentCaller, spec: Mapping[str, Any], *steps: str, templates: str = "", **body: Any
) -> Any:
    """Store the file of these steps as an agent does, and complete the step."""
    listed = "".join(f"- {{{step}}}\n" for step in steps) or "[]\n"
    text = f"{templates}steps:\n{listed}" if steps else f"{templates}steps: {listed}"
    (await agent.upload(spec, MORE, text.encode())).expect(201)
    return (await agent.complete(spec, **body)).expect(200).json


def script(name: str, *depends_on: str, **more: Any) -> str:
    keys = {"name": name, "image": "base", "run": "true", "dependsOn": list(depends_on), **more}
    return ", ".join(f"{key}: {json.dumps(value)}" for key, value in keys.items())


@pytest.fixture
async def coordinator(tmp_path: Path) -> AsyncIterator[Coordinator]:
    async with open_coordinator(tmp_path) as found:
        yield found


async def begun(coordinator: Coordinator, *steps: str) -> Begun:
    """A build of `shards`, which generates, and of these."""
    admin = coordinator.admin
    project, agent = await admin.new_project(), await admin.new_agent()
    tree = await new_work_tree(coordinator.data.parent, admin, project)
    listed = "".join(f"- {{{step}}}\n" for step in (script("shards", generates=MORE), *steps))
    await tree.commit({".pushrod.yml": f"on: {{push: {{}}}}\nsteps:\n{listed}"})
    await tree.push()
    spec = await agent.take()
    return Begun(coordinator=coordinator, project=project, agent=agent, spec=spec)


def ends(build: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [(step["name"], step["status"]) for step in build["steps"]]


async def test_what_depends_on_a_generator_waits_for_all_that_it_generates(
    coordinator: Coordinator,
) -> None:
    one = await begun(coordinator, script("last", "shards"), script("beside"))
    assert one.spec["outputPaths"] == [MORE]
    answer = await one.generate(
        "name: a, use: t",
        "name: b, use: t, dependsOn: [a, beside]",
        "name: c, use: t, matrix: {os: [x, y]}",
        templates="templates: {t: {image: base, run: 'true'}}\n",
        next={"instance": "i"},
    )
    assert not answer["buildComplete"]
    order = [answer["next"], *[await one.agent.take() for _ in range(3)]]
    assert sorted(spec["name"] for spec in order) == ["a", "beside", "c (x)", "c (y)"]
    assert dict(ends(await one.build()))["last"] == "BLOCKED"
    for spec in order:
        await one.agent.complete(spec)
    for name in ("b", "last"):
        spec = await one.agent.take()
        assert spec["name"] == name
        await one.agent.complete(spec)
    build = await one.build()
    assert build["status"] == "SUCCESS"
    assert [name for name, _ in ends(build)][3:] == ["a", "b", "c (x)", "c (y)"]
    assert {status for _, status in ends(build)} == {"SUCCESS"}


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        ([script("last")], "more.yml:2:10: the build has a step `last` already"),
        ([script("a", "last")], "step `last` waits for `shards` and all that it generates"),
        ([script("a", "nowhere")], "there is no step `nowhere`"),
        ([script("a", secrets=["KEY"])], "the secret KEY is not one of `shards`"),
        ([script("a", when="branch ==")], "more.yml:2:"),
        ([script("a", when="int(sha) > 1")], "more.yml:2:"),
        ([script(f"s{n}") for n in range(499)], "the build has 501: at most 500 are allowed"),
        ([script(f"s{n}") for n in range(5000)], "generate fewer steps"),
        (["name: a, image: 'x y', run: y"], "more.yml:2:20: "),
    ],
)
async def test_a_mistake_fails_the_generator_and_says_where(
    coordinator: Coordinator, steps: list[str], said: str
) -> None:
    one = await begun(coordinator, script("last", "shards"))
    await one.generate(*steps)
    # An agent that did not hear the answer says so once more.
    again = (await one.agent.complete(one.spec)).expect(200).json
    assert again["stepStatus"] == "FAILED"
    build = await one.build()
    shards = build["steps"][0]
    assert (shards["status"], shards["reason"]) == ("FAILED", "outputs")
    assert said in shards["message"]
    assert ends(build)[1:] == [("last", "SKIPPED")]
    assert build["reason"].startswith("step shards failed: outputs: more.yml:")


async def test_a_file_that_is_too_large_or_not_there_is_told(coordinator: Coordinator) -> None:
    one = await begun(coordinator)
    await one.agent.complete(one.spec)
    [shards] = (await one.build())["steps"]
    assert shards["message"] == "the script left no file `more.yml`, which it `generates`"
    await one.retried()
    spec = await one.agent.take()
    (await one.agent.upload(spec, MORE, io.BytesIO(b"#" * 10_000_000))).expect(201)
    await one.agent.complete(spec)
    [shards] = (await one.admin.build(spec["buildId"]))["steps"]
    assert "10,000,000 bytes, more than 1024 KiB: generate fewer steps" in shards["message"]


async def test_generations_end_with_the_third_and_what_waits_waits_for_all(
    coordinator: Coordinator,
) -> None:
    one = await begun(coordinator, script("last", "shards"))
    await one.generate(script("g1", generates=MORE))
    await generate(one.agent, await one.agent.take(), script("g2", generates=MORE))
    g2 = await one.agent.take()
    await generate(one.agent, g2, script("g3"), script("beside"))
    build = await one.build()
    assert ends(build)[:4] == [
        ("shards", "SUCCESS"),
        ("last", "BLOCKED"),
        ("g1", "SUCCESS"),
        ("g2", "SUCCESS"),
    ]
    assert build["steps"][1]["dependsOn"] == ["shards", "g1", "g2", "g3", "beside"]
    for name in ("g3", "beside", "last"):
        spec = await one.agent.take()
        assert spec["name"] == name
        await one.agent.complete(spec)
    assert (await one.build())["status"] == "SUCCESS"
    await one.retried()  # the generators run anew, so what they had generated is not taken along
    shards = await one.agent.take()
    assert ends(await one.admin.build(shards["buildId"])) == [
        ("shards", "RUNNING"),
        ("last", "BLOCKED"),
    ]


async def test_failed_steps_run_again_beside_what_was_generated_and_succeeded(
    coordinator: Coordinator,
) -> None:
    one = await begun(coordinator, script("last", "shards"))
    await one.generate(script("a"), script("g", generates=MORE))
    await one.agent.complete(await one.agent.take())
    g = await one.agent.take()
    await generate(one.agent, g, script("bad"))
    bad = await one.agent.take()
    await one.agent.complete(bad, status="failed", exitCode=3)
    assert (await one.build())["status"] == "FAILED"
    again = await one.retried({"failed": True})
    spec = await one.agent.take()
    assert spec["name"] == "bad"
    await one.agent.complete(spec)
    await one.agent.complete(await one.agent.take())
    build = await one.admin.build(again["id"])
    assert (build["status"], len(build["steps"])) == ("SUCCESS", 5)
    once_more = await retried(one.admin, again["id"], {"steps": ["g"]})
    g = await one.agent.take()
    assert [step["name"] for step in (await one.admin.build(once_more["id"]))["steps"]] == [
        "shards",
        "last",
        "a",
        "g",
    ]
    await generate(one.agent, g, script("good", "a"))
    for name in ("good", "last"):
        spec = await one.agent.take()
        assert spec["name"] == name
        await one.agent.complete(spec)
    assert (await one.admin.build(once_more["id"]))["status"] == "SUCCESS"


async def test_a_generator_that_is_cancelled_generates_nothing(coordinator: Coordinator) -> None:
    one = await begun(coordinator, script("last", "shards"))
    cancel = f"/api/projects/-/builds/{one.spec['buildId']}/cancel"
    (await one.admin.post(cancel)).expect(200)
    await one.generate(script("a"))
    build = await one.build()
    assert ends(build) == [("shards", "CANCELLED"), ("last", "CANCELLED")]
    (await one.agent.complete(one.spec)).expect(200)


async def test_a_restart_keeps_what_was_generated_and_a_second_report_adds_nothing(
    coordinator: Coordinator,
) -> None:
    one = await begun(coordinator, script("last", "shards"))
    await one.generate(script("a"))
    await coordinator.restart()
    (await one.agent.complete(one.spec)).expect(200)
    assert [name for name, _ in ends(await one.build())] == ["shards", "last", "a"]
    for name in ("a", "last"):
        spec = await one.agent.take()
        assert spec["name"] == name
        await one.agent.complete(spec)
    assert (await one.build())["status"] == "SUCCESS"


async def test_two_generators_of_a_build_add_to_it_at_once(coordinator: Coordinator) -> None:
    one = await begun(coordinator, script("other", generates=MORE), script("last", "shards"))
    other = await one.agent.take()
    await asyncio.gather(
        one.generate(script("a"), script("b", "a")), generate(one.agent, other, script("c"))
    )
    build = await one.build()
    assert sorted(name for name, _ in ends(build)) == ["a", "b", "c", "last", "other", "shards"]
    for _ in range(4):
        await one.agent.complete(await one.agent.take())
    assert (await one.build())["status"] == "SUCCESS"
    assert len({step["id"] for step in build["steps"]}) == 6


async def test_gates_groups_and_late_conditions_may_be_generated(coordinator: Coordinator) -> None:
    one = await begun(coordinator, script("failing"), script("last", "shards"))
    failing = await one.agent.take()
    await one.agent.complete(failing, status="failed", exitCode=1)
    await one.generate(
        "name: gate, approve: {}",
        script("deploy", "gate", concurrency="one", when='outputs.shards.x == "1"'),
        script("never", "failing"),
        script("none", when="event == 'tag'"),
        script("mend", "failing", runOn=["failure"]),
        outputs={"x": "1"},
    )
    build = await one.build()
    states = dict(ends(build))
    assert [states[name] for name in ("never", "none", "last")] == ["SKIPPED"] * 3
    mend = await one.agent.take()
    assert mend["name"] == "mend"
    await one.agent.complete(mend)
    gate = next(step for step in build["steps"] if step["name"] == "gate")
    (await one.admin.post(f"/api/steps/{gate['id']}/approve", {})).expect(200)
    deploy = await one.agent.take()
    assert deploy["name"] == "deploy"
    await one.agent.complete(deploy)
    assert (await one.build())["status"] == "FAILED"  # `failing` did, and `last` waited for `never`
