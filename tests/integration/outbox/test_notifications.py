"""Notifications over real HTTP and SMTP: who hears of what, and how it is signed."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from tests.integration.coordinator_fixture import (
    AgentCaller,
    Coordinator,
    eventually,
    new_work_tree,
    open_coordinator,
)
from tests.integration.forge_fixture import open_forge, remote_project
from tests.integration.pushes.pull_requests import pull

WORKFLOW = """
name: ci
on: {push: {}, pullRequest: {}}
notify:
  - {on: [failed, fixed], webhook: CHAT_URL}
  - {on: [failed], email: [anna@example.org, anna@example.org]}
steps: [{name: "test <!here>", image: base, run: 'true'}]
"""


@dataclass(slots=True)
class Chat:
    url: str = ""
    heard: list[dict[str, Any]] = field(default_factory=list)
    requests: list[tuple[Mapping[str, str], bytes]] = field(default_factory=list)
    status: int = 200

    async def handle(self, request: web.Request) -> web.Response:
        body = await request.read()
        self.requests.append((request.headers, body))
        if self.status == 200:
            self.heard.append(json.loads(body))
        return web.Response(status=self.status, text="no room at /hook/secret-path")

    def events(self) -> list[str]:
        return [one["event"] for one in self.heard]

    async def until(self, *events: str) -> None:
        async def look() -> bool:
            return self.events() == list(events)

        await eventually(look)

    async def until_heard(self, count: int) -> None:
        async def look() -> bool:
            return len(self.heard) >= count

        await eventually(look)


@dataclass(slots=True)
class MailServer:
    port: int = 0
    mails: list[str] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """As much of SMTP as it takes to be given a mail."""
        writer.write(b"220 here\r\n")
        while line := await reader.readline():
            word = line[:4].upper()
            if word == b"DATA":
                writer.write(b"354 go on\r\n")
                text = await reader.readuntil(b"\r\n.\r\n")
                self.mails.append(text.decode())
            writer.write(b"221 bye\r\n" if word == b"QUIT" else b"250 ok\r\n")
            if word == b"QUIT":
                break
        writer.close()


@asynccontextmanager
async def open_chat() -> AsyncIterator[Chat]:
    chat = Chat()
    app = web.Application()
    app.router.add_post("/{rest:.*}", chat.handle)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    chat.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook/secret-path"
    try:
        yield chat
    finally:
        await runner.cleanup()


@pytest.fixture
async def chat() -> AsyncIterator[Chat]:
    async with open_chat() as chat:
        yield chat


@asynccontextmanager
async def open_mail_server() -> AsyncIterator[MailServer]:
    mail = MailServer()
    server = await asyncio.start_server(mail.serve, "127.0.0.1", 0)
    mail.port = server.sockets[0].getsockname()[1]
    try:
        yield mail
    finally:
        server.close()
        await server.wait_closed()


@pytest.fixture
async def mail() -> AsyncIterator[MailServer]:
    async with open_mail_server() as mail:
        yield mail


@pytest.fixture
async def coordinator(tmp_path: Path, mail: MailServer) -> AsyncIterator[Coordinator]:
    async with open_coordinator(
        tmp_path,
        allow_http_repositories=True,
        allow_private_addresses=True,
        smtp_server=f"127.0.0.1:{mail.port}",
        smtp_encryption="none",
        mail_from="pushrod@ci.example",
    ) as coordinator:
        yield coordinator


async def end_one(agent: AgentCaller, status: str) -> None:
    code = 0 if status == "success" else 2
    answer = await agent.complete(await agent.take(), status=status, exitCode=code)
    answer.expect(200)


async def test_a_webhook_hears_of_failed_and_fixed_builds_alone_and_can_check_who_says_so(
    coordinator: Coordinator, chat: Chat
) -> None:
    admin = coordinator.admin
    project, agent = await admin.new_project(), await admin.new_agent()
    path = f"/api/projects/{project['id']}/notifications"
    added = await admin.post(path, {"on": ["failed", "fixed"], "webhook": chat.url})
    assert added.expect(201).json["address"] == chat.url.removesuffix("/hook/secret-path")
    workflow = await admin.new_workflow(project)
    for status in ("success", "failed", "failed", "success", "success"):
        body = {"workflowId": workflow, "branch": "main"}
        (await admin.post(f"/api/projects/{project['id']}/builds", body)).expect(201)
        await end_one(agent, status)

        async def all_sent() -> bool:
            page = await admin.get(f"/api/projects/{project['id']}/outbox?limit=100")
            return all(one["state"] != "waiting" for one in page.json["messages"])

        await eventually(all_sent)

    await chat.until("failed", "failed", "fixed")
    told = chat.heard[0]
    assert told["text"].startswith("default/shop: ci #2 failed on main: test failed: exit code 2\n")
    assert told["build"]["url"] in told["text"]
    secret = (await admin.get(path)).expect(200).json["signingSecret"]
    headers, raw = chat.requests[0]
    digest = hmac.new(secret.encode(), raw, hashlib.sha256).hexdigest()
    assert headers["X-Pushrod-Signature-256"] == f"sha256={digest}"

    [one] = (await admin.get(path)).json["notifications"]
    (await admin.call("DELETE", f"{path}/{one['id']}")).expect(204)
    (await admin.call("DELETE", f"{path}/{project['id']}")).expect(404)


async def test_a_workflow_names_whom_to_notify_and_a_secret_holds_the_address(
    coordinator: Coordinator, chat: Chat, mail: MailServer, tmp_path: Path
) -> None:
    admin = coordinator.admin
    project, agent = await admin.new_project(), await admin.new_agent()
    secrets = f"/api/projects/{project['id']}/secrets/CHAT_URL"
    (await admin.call("PUT", secrets, json={"value": chat.url + "\n"})).expect(200)
    tree = await new_work_tree(tmp_path, admin, project)
    await tree.commit({".pushrod.yml": WORKFLOW})
    await tree.push()
    await end_one(agent, "failed")

    await chat.until("failed")
    assert "test &lt;!here&gt; failed: exit code 2" in chat.heard[0]["text"]
    await eventually(lambda: _is(bool(mail.mails)))
    [text] = mail.mails
    assert "To: anna@example.org" in text
    assert "Subject: default/shop: ci #1 failed on main" in text
    assert "test <!here> failed: exit code 2" in text
    page = (await admin.get(f"/api/projects/{project['id']}/outbox")).expect(200)
    assert len(page.json["messages"]) == 2


async def test_a_webhook_that_refuses_is_told_without_its_address(
    coordinator: Coordinator, chat: Chat
) -> None:
    admin = coordinator.admin
    project, agent = await admin.new_project(), await admin.new_agent()
    base = f"/api/projects/{project['id']}"
    (await admin.post(f"{base}/notifications", {"on": ["failed"], "webhook": chat.url})).expect(201)
    chat.status = 410
    await admin.new_build(project)
    await end_one(agent, "failed")

    async def refused() -> Any:
        [message] = (await admin.get(f"{base}/outbox")).expect(200).json["messages"]
        return message.get("reason")

    assert await eventually(refused) == "410"
    audit = (await admin.get(f"{base}/outbox")).text
    assert "secret-path" not in audit


async def test_a_forks_build_notifies_nobody(
    coordinator: Coordinator, chat: Chat, mail: MailServer, tmp_path: Path
) -> None:
    admin, agent = coordinator.admin, await coordinator.admin.new_agent()
    async with open_forge(tmp_path) as forge:
        repository = await forge.new_repository(tmp_path / "tree")
        project, hook = await remote_project(coordinator, repository.url)
        base = f"/api/projects/{project['id']}"
        every = {"on": ["failed", "waiting", "succeeded"], "webhook": chat.url}
        (await admin.post(f"{base}/notifications", every)).expect(201)
        secret = f"{base}/secrets/CHAT_URL"
        (await admin.call("PUT", secret, json={"value": chat.url})).expect(200)
        await pull(hook, repository, fork=True, workflow=WORKFLOW)
        [build] = await admin.builds(project)
        (await admin.post(f"/api/projects/-/builds/{build['id']}/approve")).expect(200)
        await end_one(agent, "failed")
        assert (await admin.build(build["id"]))["status"] == "FAILED"
        messages = (await admin.get(f"{base}/outbox")).expect(200).json["messages"]
        assert (messages, chat.requests, mail.mails) == ([], [], [])


async def test_bad_recipients_are_refused_with_what_to_write(tmp_path: Path) -> None:
    async with open_coordinator(tmp_path) as coordinator:
        admin = coordinator.admin
        project = await admin.new_project()
        path = f"/api/projects/{project['id']}/notifications"
        for wanted, said in (
            ({"on": ["failed"], "email": "a@b.example"}, "sets smtp_server and mail_from"),
            ({"on": ["failed"], "email": "anna"}, "is no e-mail address"),
            ({"on": ["failed"], "webhook": "https://10.0.0.1/x"}, "private network"),
            ({"on": ["failed"], "webhook": "ftp://x"}, "no http or https address"),
            ({"on": ["failed"]}, "give either"),
            ({"on": ["broken"], "email": "a@b.example"}, "on"),
            ({"on": [], "email": "a@b.example"}, "on"),
        ):
            answer = await admin.post(path, wanted)
            assert said in answer.expect(400).text


async def _is(value: bool) -> bool:
    return value
