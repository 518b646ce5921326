"""Deployments that are asked for their health."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.contract.build_api.calls import deployed, run_image, take
from tests.integration.coordinator_fixture import AgentCaller, Caller

HEALTH = {"port": 8000, "path": "/healthz", "start_seconds": 90}


async def checked_image(
    caller: Caller, host: AgentCaller, name: str = "bot"
) -> tuple[dict[str, Any], dict[str, Any]]:
    """A deployment that is asked for its health, and the running spec of its program."""
    body = {"agent_name": name, "image": "registry.example/bot:1", "health_check": HEALTH}
    deployment = (await caller.post("/api/deploy", body)).expect(202).json
    return deployment, await take(host)


async def tell_healthy(host: AgentCaller, program: Mapping[str, Any]) -> Any:
    path = f"/api/runner/{program['stepId']}/healthy"
    return await host.post(path, {"epoch": program["epoch"]})


async def test_a_deployment_is_starting_until_its_health_check_has_answered(
    admin: Caller, host: AgentCaller
) -> None:
    deployment, program = await checked_image(admin, host)
    assert program["health"] == {"port": 8000, "path": "/healthz", "startSeconds": 90.0}
    starting = await deployed(admin, deployment)
    assert starting["health_check"] == HEALTH
    assert (starting["status"], starting["reason"]) == (
        "STARTING",
        "its health check has not answered yet",
    )
    for _ in range(2):
        (await tell_healthy(host, program)).expect(200)
    running = await deployed(admin, deployment)
    assert (running["status"], running["restarts"]) == ("RUNNING", 0)
    assert "reason" not in running
    words = "health check: port 8000 took no connection 3 times in a row"
    failure = {"status": "failed", "exitCode": 1, "message": words}
    (await host.complete(program, **failure)).expect(200)
    ended = await deployed(admin, deployment)
    assert (ended["status"], ended["error"]) == ("FAILED", words)
    (await tell_healthy(host, program)).expect(409)


async def test_a_restarted_program_is_asked_for_its_health_again(
    admin: Caller, host: AgentCaller
) -> None:
    deployment, program = await checked_image(admin, host)
    (await tell_healthy(host, program)).expect(200)
    lost = {"status": "failed", "reason": "lost", "message": "the agent was stopped"}
    (await host.complete(program, **lost)).expect(200)
    again = await take(host)
    assert again["epoch"] > program["epoch"]
    starting = await deployed(admin, deployment)
    assert (starting["status"], starting["restarts"]) == ("STARTING", 1)
    assert "stale" in (await tell_healthy(host, program)).expect(409).text
    assert (await deployed(admin, deployment))["status"] == "STARTING"
    (await tell_healthy(host, again)).expect(200)
    assert (await deployed(admin, deployment))["status"] == "RUNNING"


async def test_a_newer_deployment_takes_the_olds_place_only_once_it_is_well(
    admin: Caller, host: AgentCaller
) -> None:
    old, _ = await run_image(admin, host)
    new, program = await checked_image(admin, host)
    assert (await deployed(admin, old))["status"] == "RUNNING"
    (await tell_healthy(host, program)).expect(200)
    assert (await deployed(admin, old))["replaced_by"] == new["id"]


async def test_only_a_program_that_is_asked_can_be_told_well_and_only_by_its_holder(
    admin: Caller, host: AgentCaller, agent: AgentCaller
) -> None:
    _, plain = await run_image(admin, host)
    assert "no health check" in (await tell_healthy(host, plain)).expect(409).text
    deployment, program = await checked_image(admin, host, "other")
    assert (await tell_healthy(agent, program)).status in (403, 404, 409)
    assert (await deployed(admin, deployment))["status"] == "STARTING"
