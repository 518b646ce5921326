"""A build's states reach its forge: over real HTTP, from a real push."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from tests.integration.coordinator_fixture import (
    AgentCaller,
    Coordinator,
    eventually,
    open_coordinator,
)
from tests.integration.forge_fixture import (
    Forge,
    Hook,
    Repository,
    open_forge,
    push_payload,
    remote_project,
)
from tests.integration.pushes.pull_requests import pull
from tests.integration.status_forge import (
    STATES,
    TOKEN,
    StatusForge,
    open_status_forge,
)

WORKFLOW = """
name: ci
on: {push: {}, pullRequest: {}}
steps: [{name: test, image: base, run: 'true'}]
"""


@pytest.fixture
async def coordinator(tmp_path: Path) -> AsyncIterator[Coordinator]:
    async with open_coordinator(
        tmp_path, allow_http_repositories=True, allow_private_addresses=True, fetch_retry_seconds=1
    ) as coordinator:
        yield coordinator


@pytest.fixture
async def forge(tmp_path: Path) -> AsyncIterator[Forge]:
    async with open_forge(tmp_path) as forge:
        yield forge


class Told:
    """A project at a forge that is told of its builds."""

    def __init__(
        self, hook: Hook, repository: Repository, statuses: StatusForge, agent: AgentCaller
    ) -> None:
        self.hook, self.repository, self.statuses, self.agent = hook, repository, statuses, agent

    @property
    def path(self) -> str:
        return f"/api/projects/{self.hook.project['id']}"

    async def set_token(self, token: str = TOKEN) -> None:
        body = {"token": token, "forge": self.statuses.kind, "url": self.statuses.url}
        answer = await self.hook.coordinator.admin.call(
            "PUT", f"{self.path}/forge-token", json=body
        )
        answer.expect(200)
        assert token not in answer.text

    async def push(self, message: str = "change", workflow: str = WORKFLOW) -> str:
        sha = await self.repository.push({".pushrod.yml": workflow}, message)
        (await self.hook.github("push", push_payload(self.repository.url, sha))).expect(202)
        return sha

    async def messages(self) -> list[dict[str, Any]]:
        answer = await self.hook.coordinator.admin.get(f"{self.path}/outbox?limit=100")
        return list(answer.expect(200).json["messages"])

    async def until_message(self, state: str) -> dict[str, Any]:
        """The newest message, once it is in that state."""

        async def look() -> dict[str, Any] | None:
            newest = (await self.messages())[0]
            return newest if newest["state"] == state else None

        return dict(await eventually(look))

    async def until_all_sent(self) -> None:
        """Nothing waits any more."""

        async def look() -> bool:
            return all(one["state"] in ("sent", "superseded") for one in await self.messages())

        await eventually(look)


async def told_project(
    coordinator: Coordinator, forge: Forge, statuses: StatusForge, folder: Path
) -> Told:
    repository = await forge.new_repository(folder / "tree")
    _, hook = await remote_project(coordinator, repository.url)
    told = Told(hook, repository, statuses, await coordinator.admin.new_agent())
    await told.set_token()
    return told


@pytest.mark.parametrize("kind", sorted(STATES))
async def test_a_builds_states_reach_each_forge_in_order_with_the_cause(
    coordinator: Coordinator, forge: Forge, tmp_path: Path, kind: str
) -> None:
    async with open_status_forge(kind) as statuses:
        told = await told_project(coordinator, forge, statuses, tmp_path)
        waiting = "INPROGRESS" if kind.startswith("bitbucket") else "pending"
        running = {"gitlab": "running"}.get(kind, waiting)
        failed = {"github": "failure", "gitea": "failure", "gitlab": "failed"}.get(kind, "FAILED")

        sha = await told.push()
        await statuses.until(waiting)
        spec = await told.agent.take()
        await statuses.until(waiting, running)
        (await told.agent.complete(spec, status="failed", exitCode=1)).expect(200)
        await statuses.until(waiting, running, failed)

        last = statuses.taken[-1]
        assert (last.commit, last.context) == (sha, "pushrod/ci/push")
        assert last.words == "test failed: exit code 1"
        [build] = await coordinator.admin.builds(told.hook.project)
        assert last.link == f"{coordinator.url}/builds/{build['id']}"
        assert told.repository.path.stem in last.repository


async def test_a_forks_build_waits_and_a_cancelled_one_says_by_whom(
    coordinator: Coordinator, forge: Forge, tmp_path: Path
) -> None:
    async with open_status_forge() as statuses:
        told = await told_project(coordinator, forge, statuses, tmp_path)
        await pull(told.hook, told.repository, fork=True, workflow=WORKFLOW)
        await statuses.until("pending", context="pushrod/ci/pr")
        assert statuses.taken[-1].words == "waits for a maintainer's approval"

        [build] = await coordinator.admin.builds(told.hook.project)
        path = f"/api/projects/-/builds/{build['id']}"
        (await coordinator.admin.post(f"{path}/approve")).expect(200)
        await statuses.until("pending", "pending", context="pushrod/ci/pr")
        assert statuses.taken[-1].words == "queued"

        (await coordinator.admin.post(f"{path}/cancel")).expect(200)
        await statuses.until("error", context="pushrod/ci/pr")
        assert statuses.taken[-1].words == "cancelled by admin"


async def test_while_a_forge_is_down_states_are_superseded_and_the_last_arrives(
    coordinator: Coordinator, forge: Forge, tmp_path: Path
) -> None:
    async with open_status_forge() as statuses:
        told = await told_project(coordinator, forge, statuses, tmp_path)
        statuses.trouble = lambda: web.Response(status=500)
        await told.push()
        (await told.agent.complete(await told.agent.take())).expect(200)
        assert statuses.taken == []
        statuses.trouble = None
        await statuses.until("success")

        await told.until_message("sent")

        assert statuses.states() == ["success"]
        states = [one["state"] for one in await told.messages()]
        assert states == ["sent", "superseded", "superseded"]
        assert statuses.requests < 8


async def test_a_token_that_is_refused_is_named_and_a_new_one_sends_what_waits(
    coordinator: Coordinator, forge: Forge, tmp_path: Path
) -> None:
    async with open_status_forge() as statuses:
        told = await told_project(coordinator, forge, statuses, tmp_path)
        await told.set_token("not-the-right-one-99")
        await told.push()

        async def refused() -> str | None:
            reason: str | None = (await told.messages())[0].get("reason")
            return reason

        reason = await eventually(refused)
        assert reason == "401: Bad credentials; the token is not valid (any more): set another"

        await told.set_token()
        message = await told.until_message("waiting")
        again = await coordinator.admin.post(f"{told.path}/outbox/{message['id']}/retry")
        assert again.expect(202).json["attempts"] == 0
        await statuses.until("pending")
        tells = {"forge": "github", "url": statuses.url}
        assert (await coordinator.admin.get(told.path)).json["tellsForge"] == tells
        [listed] = (await coordinator.admin.get("/api/projects?accountId=default")).json
        assert listed["tellsForge"] == tells
        (await coordinator.admin.call("DELETE", f"{told.path}/forge-token")).expect(204)
        assert "tellsForge" not in (await coordinator.admin.get(told.path)).json
        await told.push("another")
        assert len(await told.messages()) == 1


async def test_a_restart_sends_what_was_not_sent(
    coordinator: Coordinator, forge: Forge, tmp_path: Path
) -> None:
    async with open_status_forge() as statuses:
        told = await told_project(coordinator, forge, statuses, tmp_path)
        statuses.hangs = True
        await told.push()
        await statuses.until("pending")
        await coordinator.stop()  # the forge has it, but its answer never came
        statuses.hangs = False
        await coordinator.start()
        await statuses.until("pending", "pending")
        assert (await told.until_message("sent"))["attempts"] == 1


async def test_a_private_address_is_refused_where_the_operator_did_not_allow_it(
    tmp_path: Path,
) -> None:
    async with open_coordinator(tmp_path) as coordinator:
        project, _ = await remote_project(coordinator, "https://git.example/shop/site.git")
        path = f"/api/projects/{project['id']}/forge-token"
        for url in ("http://git.example", "https://127.0.0.1", "https://10.1.2.3:8443/x"):
            body = {"token": "t", "forge": "gitea", "url": url}
            answer = await coordinator.admin.call("PUT", path, json=body)
            assert "operator" in answer.expect(400).text
        unknown = await coordinator.admin.call("PUT", path, json={"token": "t"})
        assert "Name it (--forge): gitea, github, gitlab, bitbucket" in unknown.expect(400).text
