"""Deployments: of sources or an image, on which agents, until they have ended."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.contract.build_api.calls import (
    CAPABLE,
    DEPLOY,
    MOMENT,
    deployed,
    run_image,
    status,
    take,
)
from tests.integration.coordinator_fixture import AgentCaller, Caller, lease_of


async def test_sources_without_an_image_are_built_and_then_run(
    admin: Caller, agent: AgentCaller, host: AgentCaller
) -> None:
    deployment = (await admin.post("/api/deploy", DEPLOY)).expect(202).json
    assert deployment["status"] == "PENDING"
    assert deployment["image"].startswith("127.0.0.1:5000/default/my-agent:")
    build = {"id": deployment["build_id"]}
    assert (await status(admin, build))["status"] == "PENDING"

    spec = await take(agent)
    assert (await deployed(admin, deployment))["status"] == "BUILDING"
    done = {"images": [{"reference": deployment["image"], "digest": f"sha256:{'b' * 64}"}]}
    (await agent.complete(spec, **done)).expect(200)
    assert (await status(admin, build))["status"] == "SUCCEEDED"
    starting = await deployed(admin, deployment)
    assert starting["status"] == "STARTING"
    assert starting["reason"]

    program = await take(host)
    assert (program["image"], program["ownCommand"]) == (deployment["image"], True)
    assert json.loads(program["env"]["LLM_CONFIGS"]) == DEPLOY["llm_configs"]
    assert "source" not in program
    running = await deployed(admin, deployment)
    assert running["status"] == "RUNNING"
    assert MOMENT.fullmatch(running["started_at"])
    assert "reason" not in running
    assert (await status(admin, build))["status"] == "SUCCEEDED"


async def test_a_given_image_is_run_without_a_build(admin: Caller, host: AgentCaller) -> None:
    deployment, program = await run_image(admin, host)
    assert "build_id" not in deployment
    assert program["image"] == "registry.example/bot:1"
    (await host.complete(program)).expect(200)
    ended = await deployed(admin, deployment)
    assert ended["status"] == "COMPLETED"
    assert MOMENT.fullmatch(ended["completed_at"])


async def test_only_an_agent_labelled_for_it_runs_deployments(
    admin: Caller, agent: AgentCaller, host: AgentCaller
) -> None:
    body = {"agent_name": "bot", "image": "registry.example/bot:1"}
    (await admin.post("/api/deploy", body)).expect(202)
    assert (await agent.poll(**CAPABLE))["offers"] == []
    assert len((await host.poll(**CAPABLE))["offers"]) == 1


async def test_a_stopped_deployment_ends_once_its_program_is_dead(
    admin: Caller, host: AgentCaller
) -> None:
    deployment, program = await run_image(admin, host)
    (await admin.post(f"/api/deploy/{deployment['id']}/stop")).expect(200)
    cancels = (await host.poll(free=0, leases=[lease_of(program)]))["cancels"]
    assert cancels == [lease_of(program)]
    (await host.complete(program, status="failed", reason="cancelled")).expect(200)
    assert (await deployed(admin, deployment))["status"] == "STOPPED"
    again = await admin.post(f"/api/deploy/{deployment['id']}/stop")
    assert "it is STOPPED" in again.expect(409).json["error"]


async def test_a_newer_deployment_of_the_name_takes_the_olds_place_once_it_runs(
    admin: Caller, host: AgentCaller
) -> None:
    old, old_program = await run_image(admin, host)
    other, _ = await run_image(admin, host, "other")
    body = {"agent_name": "bot", "image": "registry.example/bot:2"}
    new = (await admin.post("/api/deploy", body)).expect(202).json
    assert "replaced_by" not in await deployed(admin, old)
    await take(host)
    assert (await deployed(admin, new))["status"] == "RUNNING"
    replaced = await deployed(admin, old)
    assert (replaced["status"], replaced["replaced_by"]) == ("RUNNING", new["id"])
    renewed = await host.renew(old_program)
    assert renewed["cancels"] == [lease_of(old_program)]
    (await host.complete(old_program, status="failed", reason="cancelled")).expect(200)
    assert (await deployed(admin, old))["status"] == "STOPPED"
    assert (await deployed(admin, other))["status"] == "RUNNING"


async def test_a_lost_agents_program_starts_again_however_often(
    admin: Caller, host: AgentCaller
) -> None:
    deployment, program = await run_image(admin, host)
    for _ in range(7):
        (await host.complete(program, status="failed", reason="lost")).expect(200)
        program = await take(host)
    assert (await deployed(admin, deployment))["status"] == "RUNNING"


async def test_a_program_that_fails_says_how(admin: Caller, host: AgentCaller) -> None:
    deployment, program = await run_image(admin, host)
    end = {"status": "failed", "exitCode": 3, "message": "the program ended with exit code 3"}
    (await host.complete(program, **end)).expect(200)
    ended = await deployed(admin, deployment)
    assert (ended["status"], ended["error"]) == ("FAILED", "the program ended with exit code 3")
    core_id = deployment["build_url"].rpartition("/")[2]
    projects = (await admin.get("/api/projects?accountId=default")).expect(200).json
    again = await admin.post(f"/api/projects/{projects[0]['id']}/builds/{core_id}/retry")
    assert "POST /api/deploy" in again.expect(409).json["error"]


async def test_a_deployment_whose_image_fails_has_failed_for_that_reason(
    admin: Caller, agent: AgentCaller
) -> None:
    deployment = (await admin.post("/api/deploy", DEPLOY)).expect(202).json
    spec = await take(agent)
    failure = {"status": "failed", "reason": "image", "message": "denied: no right to push"}
    (await agent.complete(spec, **failure)).expect(200)
    ended = await deployed(admin, deployment)
    assert (ended["status"], ended["error"]) == ("FAILED", "denied: no right to push")
    built = await status(admin, {"id": deployment["build_id"]})
    assert (built["status"], built["error"]) == ("FAILED", "denied: no right to push")


async def test_a_program_gets_its_projects_secrets(admin: Caller, host: AgentCaller) -> None:
    deployment, _ = await run_image(admin, host)
    projects = (await admin.get("/api/projects?accountId=default")).expect(200).json
    [project] = [one for one in projects if one["name"] == "bot"]
    secret = {"value": "sk-sesame"}
    path = f"/api/projects/{project['id']}/secrets/OPENAI_API_KEY"
    (await admin.call("PUT", path, json=secret)).expect(200)
    _, program = await run_image(admin, host)
    assert program["secrets"] == {"OPENAI_API_KEY": "sk-sesame"}
    assert "sesame" not in json.dumps(await deployed(admin, deployment))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"image": "registry.example/x:1"}, "either source_files or an image"),
        ({"source_files": None}, "either source_files or an image"),
        ({"source_files": {}}, "at least the program"),
        ({"source_files": {"../a.py": ""}}, "`..`"),
        ({"source_files": None, "image": "$(id)"}, "write an image's reference, such as"),
        ({"entrypoint": "a.py"}, "did you mean 'entry_point'?"),
        ({"source_files": None, "image": "x", "framework": "flask"}, "framework belong to"),
        ({"source_files": None, "image": "x"}, "belong to source_files"),
        ({"agent_name": "!"}, "letters a to z"),
        ({"health_check": {"port": 0}}, "at least 1"),
        ({"health_check": {"path": "healthz"}}, "health_check"),
        ({"health_check": {"path": "/a b"}}, "health_check"),
        ({"health_check": {"start_seconds": 10_000}}, "3600"),
        ({"llm_configs": [{"provider": "openai"}]}, "missing"),
        ({"llm_configs": [{"provider": "x", "model": "y", "api_key": "z"}]}, "pushrod secret set"),
        ({"llm_configs": [{"provider": "x", "model": "y", "z": "z" * 40_000}]}, "bytes of JSON"),
    ],
)
async def test_a_bad_deployment_is_a_400_that_says_what_to_write(
    admin: Caller, changes: dict[str, Any], says: str
) -> None:
    answer = (await admin.post("/api/deploy", {**DEPLOY, **changes})).expect(400)
    assert says in json.dumps(answer.json["details"], ensure_ascii=False)
    assert all(detail["path"] for detail in answer.json["details"])
    assert "sk-" not in answer.text


async def test_deployments_are_listed_newest_first(admin: Caller, host: AgentCaller) -> None:
    first, _ = await run_image(admin, host, "first")
    second, _ = await run_image(admin, host, "second")
    listed = (await admin.get("/api/deploy")).expect(200).json
    assert [one["id"] for one in listed["deployments"]] == [second["id"], first["id"]]
    assert listed["pagination"] == {"total": 2, "limit": 20, "offset": 0, "has_more": False}
    page = (await admin.get("/api/deploy?limit=1&offset=1")).expect(200).json
    assert [one["id"] for one in page["deployments"]] == [first["id"]]
    assert (await admin.get("/api/deploy?limit=1")).json["pagination"]["has_more"] is True
    (await admin.get("/api/deploy?limit=x")).expect(400)
    (await admin.get("/api/deploy/deploy-x")).expect(404)
