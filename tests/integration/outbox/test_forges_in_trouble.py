"""A forge that is in trouble for an hour: nothing lost, nothing stuck, no storm, no secret told."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from aiohttp import web

from coordinator.domain.model import BuildState
from coordinator.domain.outbox.calls import Reply
from coordinator.domain.outbox.messages import MessageState
from coordinator.ports import RemoteFailed
from coordinator.services.outbox.outbox import Outbox
from tests.integration.coordinator_fixture import eventually, open_coordinator
from tests.integration.forge_fixture import open_forge
from tests.integration.outbox.test_sender import MAINTAINER, Office, office, running
from tests.integration.outbox.test_statuses import told_project
from tests.integration.status_forge import TOKEN, open_status_forge

__all__ = ["office"]
COMMITS = [f"{number:040x}" for number in range(1, 11)]
MOST_TRIES = 8
TROUBLES = ["401", "403", "404", "422", "429", "500", "503", "302", "never"]


def in_trouble(office: Office, trouble: str) -> None:
    def answer() -> Reply:
        if trouble == "never":
            raise RemoteFailed("gitea.example did not answer in time", permanent=False)
        body = b'{"message": "secret-token is not wanted here"}'
        return Reply(status=int(trouble), headers={}, body=body)

    office.server.answers["gitea.example"] = answer


@pytest.mark.parametrize("trouble", TROUBLES)
async def test_an_hour_of_trouble_loses_nothing_and_makes_no_storm(
    office: Office, trouble: str, capfd: pytest.CaptureFixture[str]
) -> None:
    project, beacon = await office.project(), await office.project("beacon", "gitea.other")
    in_trouble(office, trouble)
    async with running(office.sender):
        for state in (BuildState.QUEUED, BuildState.FAILED):
            for number, commit in enumerate(COMMITS, 1):
                await office.move(project, state, number, commit_hash=commit)
        for _ in range(12):
            office.pass_time(300)
            await office.round(beacon)
        # Each at most as often as it takes to give it up, and what stays waits for longer pauses.
        assert len(office.server.states()) <= MOST_TRIES * len(COMMITS)

        office.server.answers.clear()
        outbox = Outbox(office.tested.core, office.sender.released)
        for message in await office.messages(project):
            if message.state is MessageState.DEAD:
                assert message.reason is not None
                await outbox.retry(MAINTAINER, project, message.id)
        office.pass_time(1000)

        async def all_told() -> bool:
            found = await office.messages(project)
            return all(one.state in (MessageState.SENT, MessageState.SUPERSEDED) for one in found)

        await eventually(all_told)
    last = {commit: state for host, commit, state in office.server.asked if host == "gitea.example"}
    assert last == dict.fromkeys(COMMITS, "failure")
    told = capfd.readouterr()
    assert "secret-token" not in told.out + told.err
    assert not any("secret-token" in (one.reason or "") for one in await office.messages(project))


async def test_a_forge_that_sends_us_elsewhere_is_not_followed(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    settings = {"allow_http_repositories": True, "allow_private_addresses": True}
    async with (
        open_coordinator(tmp_path, **settings) as coordinator,
        open_forge(tmp_path) as forge,
        open_status_forge() as statuses,
        open_status_forge() as elsewhere,
    ):
        told = await told_project(coordinator, forge, statuses, tmp_path)
        headers = {"Location": f"{elsewhere.url}/api/v3/repos/a/b/statuses/{'0' * 40}"}
        statuses.trouble = lambda: web.Response(status=307, headers=headers)
        await told.push()

        async def refused() -> str | None:
            messages = await told.messages()
            return messages[0].get("reason") if messages else None

        assert "redirect" in str(await eventually(refused))
        assert elsewhere.requests == 0
        statuses.trouble = None
        message = (await told.messages())[0]
        await coordinator.admin.post(f"{told.path}/outbox/{message['id']}/retry")
        await statuses.until("pending")
    output = capfd.readouterr()
    assert TOKEN not in output.out + output.err


async def test_a_status_whose_coordinator_is_killed_under_it_is_told_again(tmp_path: Path) -> None:
    from tests.e2e.processes import running as running_pushrod
    from tests.integration.outbox.test_killed import SETTINGS, WORKFLOW

    async with open_status_forge("gitea") as statuses:
        statuses.hangs = True
        with running_pushrod(tmp_path / "pushrod", agents=0, settings=SETTINGS) as pushrod:
            api = pushrod.api

            def begin() -> str:
                body = {
                    "accountId": "default",
                    "name": "shop",
                    "repoUrl": f"{statuses.url}/shop/site.git",
                }
                project = str(api.post("/api/projects", body)["id"])
                access = {"token": TOKEN, "forge": "gitea", "url": statuses.url}
                status, answer, _ = api.request(
                    "PUT", f"/api/projects/{project}/forge-token", access
                )
                assert status == 200, answer
                workflow = api.post(f"/api/projects/{project}/workflows", WORKFLOW)["id"]
                wanted = {"workflowId": workflow, "branch": "main", "commitHash": "a" * 40}
                api.post(f"/api/projects/{project}/builds", wanted)
                return project

            async def heard() -> bool:
                return bool(statuses.taken)

            project = await asyncio.to_thread(begin)
            await eventually(heard)
            [first] = statuses.taken
            pushrod.coordinator.kill()
            statuses.hangs = False
            await asyncio.to_thread(pushrod.restart_coordinator)

            async def all_told() -> bool:
                answer = await asyncio.to_thread(pushrod.api.get, f"/api/projects/{project}/outbox")
                return [one["state"] for one in answer["messages"]] == ["sent"]

            await eventually(all_told)
            # The forge had it, but nobody knew: so it is told once more, as it was.
            assert statuses.taken == [first, first]
            assert TOKEN not in pushrod.notes()
