"""Who reports on a step: the holder of its hand-out, and nobody else."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.integration.coordinator_fixture import (
    Answer,
    Caller,
    Coordinator,
    open_coordinator,
)
from tests.integration.execution_fixture import log_in, new_user


@pytest.fixture
async def coordinator(tmp_path: Path) -> AsyncIterator[Coordinator]:
    async with open_coordinator(tmp_path) as coordinator:
        yield coordinator


@pytest.fixture
def admin(coordinator: Coordinator) -> Caller:
    return coordinator.admin


@pytest.fixture
async def project(admin: Caller) -> dict[str, Any]:
    return await admin.new_project("acme", "shop")


async def tries(caller: Caller, step_id: str, epoch: int) -> list[Answer]:
    """Every way to report on a step, but a completion that succeeds last."""
    base = f"/api/runner/{step_id}"
    return [
        await caller.call(
            "PATCH",
            f"{base}/log?epoch={epoch}",
            data=io.BytesIO(b"forged\n"),
            headers={"Upload-Offset": "0", "Content-Type": "text/plain"},
        ),
        await caller.call("PUT", f"{base}/artifacts/app?epoch={epoch}", data=b"TROJAN"),
        await caller.get(f"{base}?format=json"),
        await caller.post(f"{base}/complete", {"status": "success", "epoch": epoch}),
        await caller.post(f"{base}/complete", {"status": "success"}),
    ]


def statuses(answers: list[Answer]) -> set[int]:
    return {answer.status for answer in answers}


async def test_only_the_agent_that_holds_a_step_reports_on_it(
    admin: Caller, project: Mapping[str, Any]
) -> None:
    developer = await admin.new_token(role="developer", account="acme")
    stranger = await admin.new_token(role="maintainer", account="other")
    agent, other_agent = await admin.new_agent("one"), await admin.new_agent("two")
    build = await admin.new_build(project)
    spec = await agent.take()

    for caller in (developer, admin):
        assert statuses(await tries(caller, spec["stepId"], spec["epoch"])) == {409}
    # An agent must name its epoch, else it is a 400.
    assert statuses((await tries(other_agent, spec["stepId"], spec["epoch"]))[:-1]) == {409}
    assert statuses(await tries(stranger, spec["stepId"], spec["epoch"])) == {404}

    (await agent.append(spec, 0, b"true\n")).expect(204)
    (await agent.complete(spec, logBytes=5)).expect(200)
    [step] = (await admin.build(build["id"]))["steps"]
    assert step["status"] == "SUCCESS"
    assert (await admin.get(f"/api/steps/{step['id']}/log")).text == "true\n"
    assert (await admin.get(f"/api/steps/{step['id']}/artifacts")).json == []


async def test_a_persons_refused_tries_are_in_the_audit_log_once(
    admin: Caller, project: Mapping[str, Any]
) -> None:
    developer = await admin.new_token(role="developer", account="acme", name="mallory")
    agent = await admin.new_agent()
    await admin.new_build(project)
    spec = await agent.take()
    for _ in range(3):
        await tries(developer, spec["stepId"], spec["epoch"])
    entries = (await admin.get("/api/audit-logs?limit=100")).json["auditLogs"]
    [refused] = [one for one in entries if one["action"] == "step.report_refused"]
    assert refused["details"]["by"] == "mallory"
    assert refused["details"]["step"] == spec["stepId"]
    assert refused["projectId"] == project["id"]


async def test_what_a_worker_claims_and_completes_is_in_the_audit_log_and_an_agents_is_not(
    admin: Caller, project: Mapping[str, Any]
) -> None:
    worker = await admin.new_token(role="developer", account="acme", name="worker")
    [step] = (await admin.new_build(project))["steps"]
    for _ in range(2):  # a claim repeated is the same claim
        (await worker.get(f"/api/runner/{step['id']}")).expect(200)
    for _ in range(2):
        failed = await worker.post(f"/api/runner/{step['id']}/complete", {"status": "failed"})
        failed.expect(200)
    agent = await admin.new_agent()
    await admin.new_build(project)
    (await agent.complete(await agent.take())).expect(200)
    entries = (await admin.get("/api/audit-logs?limit=100")).json["auditLogs"]
    noted = [one for one in entries if one["action"] in ("step.claimed", "step.completed")]
    assert [one["action"] for one in noted] == ["step.completed", "step.claimed"]
    completed = noted[0]["details"]
    assert (completed["by"], completed["step"]) == ("worker", step["id"])
    assert completed["status"] == "failed"
    assert {one["projectId"] for one in noted} == {project["id"]}


async def test_outputs_that_a_worker_names_and_never_uploads_are_told(
    admin: Caller, project: Mapping[str, Any]
) -> None:
    build = await admin.new_build(project)
    runner = f"/api/runner/{build['steps'][0]['id']}"
    (await admin.get(runner)).expect(200)
    (await admin.call("PUT", f"{runner}/artifacts/dist/app", data=b"app")).expect(201)
    body = {"status": "success", "outputPaths": ["dist/app", "never-uploaded.txt"]}
    (await admin.post(f"{runner}/complete", body)).expect(200)
    [step] = (await admin.build(build["id"]))["steps"]
    assert "never uploaded, so that no step finds it: never-uploaded.txt (PUT" in step["message"]


async def test_who_claimed_a_step_reports_on_it_by_any_of_his_tokens(
    coordinator: Coordinator, admin: Caller, project: Mapping[str, Any]
) -> None:
    await new_user(admin, "ada@example.org", acme="maintainer")
    login = Caller(coordinator, (await log_in(coordinator, "ada@example.org")).json["token"])
    second = Caller(coordinator, (await log_in(coordinator, "ada@example.org")).json["token"])
    made = await login.new_token(role="developer")
    build = await admin.new_build(project)
    [step] = build["steps"]
    (await login.get(f"/api/runner/{step['id']}")).expect(200)

    colleague = await admin.new_token(role="developer", account="acme")
    assert statuses(await tries(colleague, step["id"], 1)) == {409}

    log = f"/api/runner/{step['id']}/log"
    for offset, caller in enumerate([login, second, made]):
        answer = await caller.call(
            "PATCH",
            log,
            data=io.BytesIO(b"x"),
            headers={"Upload-Offset": str(offset), "Content-Type": "text/plain"},
        )
        answer.expect(204)
    (await made.post(f"/api/runner/{step['id']}/complete", {"status": "success"})).expect(200)


async def test_a_session_of_the_page_is_its_tokens_person(
    coordinator: Coordinator, admin: Caller, project: Mapping[str, Any]
) -> None:
    developer = await admin.new_token(role="developer", account="acme")
    build = await admin.new_build(project)
    [step] = build["steps"]
    (await developer.get(f"/api/runner/{step['id']}")).expect(200)
    answer = await coordinator.nobody.call(
        "POST",
        "/login",
        data={"token": developer.token},
        headers={"Origin": coordinator.url},
    )
    cookie = answer.headers["Set-Cookie"].partition(";")[0]
    answer = await coordinator.nobody.call(
        "POST",
        f"/api/runner/{step['id']}/complete",
        json={"status": "success"},
        headers={"Cookie": cookie, "Origin": coordinator.url},
    )
    answer.expect(200)
