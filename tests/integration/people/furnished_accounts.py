"""Accounts with one of everything in them, and callers who ask for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from tests.integration.coordinator_fixture import AgentCaller, Answer, Caller, Coordinator, step_of


@dataclass(frozen=True, kw_only=True)
class House:
    """An account with one of everything."""

    project: dict[str, Any]
    workflow_id: str
    running: dict[str, Any]
    """The spec of a step that runs; its build's other step is ready."""
    ready_id: str
    done: dict[str, Any]
    """The spec of a step that has ended, with an artifact and a log."""
    agent: AgentCaller
    spare: AgentCaller
    """Another agent, which may be paused."""
    maintainer: Caller
    deployment: dict[str, Any]
    image_id: str

    def fill(self, path: str) -> str:
        return path.format(
            project=self.project["id"],
            slug=self.project["slug"],
            account=self.project["account"],
            build=self.running["buildId"],
            done_build=self.done["buildId"],
            running=self.running["stepId"],
            ready=self.ready_id,
            done=self.done["stepId"],
            deployment=self.deployment["id"],
            image_build=self.deployment["build_id"],
            image=self.image_id,
            agent=self.spare.agent_id,
        )


async def furnish(admin: Caller, account: str) -> House:
    project = await admin.new_project(account, f"{account} project")
    maintainer = await admin.new_token(role="maintainer", account=account)
    registrar = await admin.new_token(kind="registration", account=account)
    agent = await registrar.new_agent(f"agent of {account}")
    workflow_id = await maintainer.new_workflow(project)
    await maintainer.new_build(project)
    done = await agent.take()
    (await agent.append(done, 0, f"log of {account}\n".encode())).expect(204)
    (await agent.upload(done, "out", f"artifact of {account}".encode())).expect(201)
    (await agent.complete(done)).expect(200)
    build = await maintainer.new_build(project, step_of("a"), step_of("b"))
    running = await agent.take()
    ready_id = next(s["id"] for s in build["steps"] if s["id"] != running["stepId"])
    image = {"slug": f"{account}-image", "imageUrl": "docker://debian"}
    made = (await maintainer.post("/api/docker-images", image)).expect(201)
    deployment = await maintainer.post("/api/deploy", DEPLOYMENT)
    return House(
        deployment=deployment.expect(202).json,
        image_id=made.json["id"],
        project=project,
        workflow_id=workflow_id,
        running=running,
        ready_id=ready_id,
        done=done,
        agent=agent,
        spare=await registrar.new_agent(f"spare of {account}"),
        maintainer=maintainer,
    )


DEPLOYMENT = {"agent_name": "bot", "source_files": {"agent.py": "..."}}


# Sessions


async def log_in(caller: Caller, **form: str) -> str:
    """The session's secret."""
    answer = await post_form(caller.coordinator, "/login", token=caller.token or "", **form)
    assert answer.status == 303
    return answer.headers["Set-Cookie"].partition("=")[2].partition(";")[0]


async def post_form(
    coordinator: Coordinator, path: str, headers: Mapping[str, str] | None = None, **form: str
) -> Answer:
    content_type = {"Content-Type": "application/x-www-form-urlencoded"}
    return await coordinator.nobody.call(
        "POST", path, data=urlencode(form), headers={**content_type, **(headers or {})}
    )
