"""`${{ outputs.… }}` outside scripts, from a push to what the agent is told."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.integration.coordinator_fixture import (
    AgentCaller,
    Caller,
    eventually,
    new_work_tree,
    open_coordinator,
)


@dataclass(frozen=True, slots=True)
class Pushed:
    admin: Caller
    folder: Path

    async def begun(self, *steps: str) -> tuple[AgentCaller, dict[str, Any]]:
        """An agent that has `plan`, before the other steps, and its spec."""
        agent, project = await self.admin.new_agent(), await self.admin.new_project()
        tree = await new_work_tree(self.folder, self.admin, project)
        lines = ["{name: plan, image: base, run: 'true'}", *steps]
        text = "".join(f"  - {line}\n" for line in lines)
        await tree.commit({".pushrod.yml": f"on: {{push: {{}}}}\nsteps:\n{text}"})
        await tree.push()
        [offer] = (await agent.poll(capabilities=["imageBuilds"]))["offers"]
        return agent, (await agent.accept(offer)).expect(200).json


@pytest.fixture
async def pushed(tmp_path: Path) -> AsyncIterator[Pushed]:
    async with open_coordinator(tmp_path, poll_hold_seconds=2) as coordinator:
        yield Pushed(coordinator.admin, tmp_path)


async def taken(agent: AgentCaller) -> dict[str, Any]:
    while not (offers := (await agent.poll(capabilities=["imageBuilds"]))["offers"]):
        pass
    return dict((await agent.accept(offers[0])).expect(200).json)


async def failed(admin: Caller, build_id: str, name: str) -> dict[str, Any]:
    async def look() -> dict[str, Any] | None:
        steps = {step["name"]: step for step in (await admin.build(build_id))["steps"]}
        return steps[name] if steps[name]["status"] == "FAILED" else None

    return dict(await eventually(look))


async def test_images_tags_and_arguments_are_filled_in(pushed: Pushed) -> None:
    tags = "['r.example/b:${{ outputs.plan.version }}', 'r.example/b:${{ outputs.a.k }}']"
    agent, spec = await pushed.begun(
        "{name: a, image: '${{ outputs.plan.image }}', run: 'true', dependsOn: [plan]}",
        "{name: b, dependsOn: [a], build: {args: {V: 'v${{ outputs.plan.version }}'}, push: true,\n"
        f"     tags: {tags}}}}}",
    )
    outputs = {"image": "registry.example/py:3.12", "version": "1/2 x"}
    (await agent.complete(spec, outputs=outputs)).expect(200)
    spec = await taken(agent)
    assert (spec["name"], spec["image"]) == ("a", "registry.example/py:3.12")
    await agent.complete(spec)
    spec = await taken(agent)
    assert spec["build"]["tags"] == ["r.example/b:1-2-x"]
    assert spec["build"]["args"] == {"V": "v1/2 x"}
    assert spec.get("refused") is None


async def test_a_step_goes_to_the_agents_that_an_output_names_and_a_retry_asks_anew(
    pushed: Pushed,
) -> None:
    agent, spec = await pushed.begun(
        "{name: a, image: base, run: 'true', dependsOn: [plan],\n"
        "     agents: {os: '${{ outputs.plan.os }}', of: '${{ branch }}'}}"
    )
    other = await pushed.admin.new_agent(labels={"os": "linux", "of": "main"})
    (await agent.complete(spec, outputs={"os": "linux"})).expect(200)
    taken_by_other = await other.take()
    assert taken_by_other["name"] == "a"
    await other.complete(taken_by_other, status="failed", exitCode=1)
    path = f"/api/projects/{spec['projectId']}/builds/{spec['buildId']}/retry"
    (await pushed.admin.post(path)).expect(201)
    await agent.complete(await agent.take(), outputs={"os": "plan9"})
    nine = await pushed.admin.new_agent(labels={"os": "plan9", "of": "main"})
    assert (await nine.take())["name"] == "a"


@pytest.mark.parametrize(
    ("step", "outputs", "said"),
    [
        ("image: '${{ outputs.plan.k }}'", {}, "is empty"),
        ("image: '${{ outputs.plan.k }}'", {"k": "two words"}, "is no slug, and no reference"),
        ("image: '${{ outputs.plan.k }}'", {"k": "--flag"}, "is no slug, and no reference"),
        ("image: x, agents: {os: '${{ outputs.plan.k }}'}", {"k": "a\nb"}, "control character"),
        ("image: x, agents: {os: '${{ outputs.plan.k }}'}", {}, "is empty"),
    ],
)
async def test_a_value_that_does_not_fit_fails_the_step(
    pushed: Pushed, step: str, outputs: dict[str, str], said: str
) -> None:
    agent, spec = await pushed.begun(f"{{name: a, {step}, run: 'true', dependsOn: [plan]}}")
    (await agent.complete(spec, outputs=outputs)).expect(200)
    step_shown = await failed(pushed.admin, spec["buildId"], "a")
    assert step_shown["reason"] == "outputs"
    assert said in step_shown["message"]
