"""What steps hand on to those that depend on them, as the coordinator keeps and gives it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.coordinator_fixture import AgentCaller, Caller, open_coordinator, step_of
from tests.integration.statements import collected


@pytest.fixture
async def admin(tmp_path: Path) -> AsyncIterator[Caller]:
    async with open_coordinator(tmp_path) as coordinator:
        yield coordinator.admin


def variables(spec: dict[str, Any]) -> dict[str, str]:
    return {
        name: value for name, value in spec["env"].items() if name.startswith("PUSHROD_OUTPUT_")
    }


async def chain(admin: Caller, *names: str) -> tuple[AgentCaller, dict[str, Any], dict[str, Any]]:
    """An agent that has the first of a chain of steps, its spec, and the build."""
    agent, project = await admin.new_agent(), await admin.new_project()
    steps = [step_of(name, *names[number - 1 : number]) for number, name in enumerate(names)]
    build = await admin.new_build(project, *steps)
    return agent, await agent.take(), build


async def test_dependants_also_indirect_ones_have_the_outputs(admin: Caller) -> None:
    agent, spec, build = await chain(admin, "plan it", "b", "c")
    assert variables(spec) == {}
    (await agent.complete(spec, outputs={"image-tag": "v1"})).expect(200)
    spec = await agent.take()
    assert variables(spec) == {"PUSHROD_OUTPUT_PLAN_IT_IMAGE_TAG": "v1"}
    (await agent.complete(spec, outputs={"k": "two\nlines"})).expect(200)
    spec = await agent.take()
    assert variables(spec) == {
        "PUSHROD_OUTPUT_PLAN_IT_IMAGE_TAG": "v1",
        "PUSHROD_OUTPUT_B_K": "two\nlines",
    }
    shown = await admin.build(build["id"])
    assert [step.get("outputs") for step in shown["steps"]] == [
        {"image-tag": "v1"},
        {"k": "two\nlines"},
        None,
    ]


async def test_the_next_step_that_comes_with_the_answer_has_them(admin: Caller) -> None:
    agent, spec, _ = await chain(admin, "a", "b")
    answer = await agent.complete(spec, outputs={"k": "v"}, next={"instance": "one"})
    assert variables(answer.expect(200).json["next"]) == {"PUSHROD_OUTPUT_A_K": "v"}


async def test_a_step_beside_has_none(admin: Caller) -> None:
    agent, project = await admin.new_agent(), await admin.new_project()
    await admin.new_build(project, step_of("a"), step_of("beside"), step_of("after", "beside"))
    first, second = await agent.take(), await agent.take()
    assert (first["name"], second["name"]) == ("a", "beside")
    await agent.complete(first, outputs={"k": "v"})
    await agent.complete(second)
    assert variables(await agent.take()) == {}


@pytest.mark.parametrize(
    ("outputs", "said"),
    [
        ({"a-b": "1", "a_b": "2"}, "become one variable"),
        ({"a b": "1"}, "a key is no key"),
        ({"a": "x" * 70_000}, "64 KiB"),
    ],
)
async def test_outputs_that_cannot_be_kept_fail_the_step(
    admin: Caller, outputs: dict[str, str], said: str
) -> None:
    agent, spec, build = await chain(admin, "a")
    (await agent.complete(spec, outputs=outputs)).expect(200)
    step = (await admin.build(build["id"]))["steps"][0]
    assert (step["status"], step["reason"]) == ("FAILED", "outputs")
    assert said in step["message"]
    assert "outputs" not in step


async def test_outputs_of_two_steps_that_become_one_are_refused(admin: Caller) -> None:
    agent, spec, _ = await chain(admin, "a", "a-b", "c")
    await agent.complete(spec, outputs={"b_c": "1"})
    await agent.complete(await agent.take(), outputs={"c": "2"})
    spec = await agent.take()
    assert (spec["refusedFor"], variables(spec)) == ("outputs", {})
    assert "`b_c` of step `a` and `c` of step `a-b` become one variable" in spec["refused"]


async def test_a_build_that_takes_a_step_over_has_its_outputs(admin: Caller) -> None:
    agent, spec, build = await chain(admin, "a", "b")
    await agent.complete(spec, outputs={"k": "v"})
    await agent.complete(await agent.take(), status="failed", exitCode=1)
    path = f"/api/projects/{build['projectId']}/builds/{build['id']}/retry"
    again = (await admin.post(path, {"failed": True})).expect(201).json
    assert variables(await agent.take()) == {"PUSHROD_OUTPUT_A_K": "v"}
    shown = await admin.build(again["id"])
    assert shown["steps"][0]["outputs"] == {"k": "v"}


async def test_steps_without_outputs_ask_for_none(admin: Caller) -> None:
    agent, spec, _ = await chain(admin, "a", "b")
    with collected() as statements:
        await agent.complete(spec)
        await agent.take()
    assert not [
        text
        for text, _ in statements
        if text.startswith("SELECT")
        and "outputs" in text.replace("gone_outputs", "")
        and "has_outputs" not in text
    ]
