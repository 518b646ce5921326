"""Steps that an agent has taken."""

from __future__ import annotations

from typing import Any

from tests.integration.coordinator_fixture import AgentCaller, Answer, Caller


async def running(admin: Caller, *steps: dict[str, Any]) -> tuple[AgentCaller, dict[str, Any]]:
    """An agent and the step that it runs."""
    agent = await admin.new_agent()
    await admin.new_build(await admin.new_project(), *steps)
    return agent, await agent.take()


async def step(admin: Caller, build: dict[str, Any], name: str) -> dict[str, Any]:
    shown = await admin.build(build["id"])
    return next(each for each in shown["steps"] if each["name"] == name)


def script_path(step: dict[str, Any]) -> str:
    return f"/api/runner/{step['id']}"


def is_stale(answer: Answer) -> bool:
    return answer.status == 409 and answer.json.get("stale") is True


async def finish(caller: Caller, step: dict[str, Any], **body: Any) -> Answer:
    (await caller.get(script_path(step))).expect(200)
    return await caller.post(script_path(step) + "/complete", {"status": "success", **body})
