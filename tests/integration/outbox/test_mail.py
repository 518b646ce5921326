"""The mail server as it may be: silent, dripping, refusing; and what a stop waits for."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from coordinator.mail import MailServer, SmtpMailer
from coordinator.ports import RemoteFailed
from tests.integration.coordinator_fixture import open_coordinator

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, None]]


@asynccontextmanager
async def served(serve: Serve) -> AsyncIterator[int]:
    under_way: set[asyncio.Event] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        over = asyncio.Event()
        under_way.add(over)
        try:
            await serve(reader, writer)
        finally:
            writer.close()
            over.set()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    try:
        yield int(server.sockets[0].getsockname()[1])
    finally:
        server.close()
        for over in under_way:  # each client has gone
            await asyncio.wait_for(over.wait(), 60)


def _mailer(port: int, seconds: float = 20.0, encryption: str = "none") -> SmtpMailer:
    server = MailServer(
        server=f"127.0.0.1:{port}", encryption=encryption, sender="pushrod@ci.example"
    )
    return SmtpMailer(server, seconds)


async def _drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Never silent for long, and never done."""
    with suppress(ConnectionError):
        while not reader.at_eof():
            writer.write(b"2")
            await writer.drain()
            await asyncio.sleep(0.05)


async def test_a_server_that_drips_is_left_after_the_time_of_a_whole_mail() -> None:
    async with served(_drip) as port:
        before = time.monotonic()
        with pytest.raises(RemoteFailed, match=r"took longer than 0.5 s") as failed:
            await _mailer(port, 0.5).send("anna@example.org", "s", "t")
        assert time.monotonic() - before < 10
        assert not failed.value.permanent


@pytest.mark.parametrize(
    ("at", "answer", "said", "permanent"),
    [
        (b"RCPT", b"550 5.1.1 no such user\r\n", "does not take anna@example.org: 550", True),
        (b"RCPT", b"450 later\r\n", "does not take anna@example.org: 450", False),
        (b"MAIL", b"553 not you\r\n", "answers 553: not you", True),
        (b"DATA", b"421 going down\r\n", "answers 421: going down", False),
        (b"EHLO", b"", "can't be reached", False),
    ],
)
async def test_what_a_server_refuses_is_said_and_tried_again_only_where_that_may_help(
    at: bytes, answer: bytes, said: str, permanent: bool
) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 here\r\n")
        while line := await reader.readline():
            if line[:4].upper() == at and not answer:
                break
            writer.write(answer if line[:4].upper() == at else b"250 ok\r\n")

    async with served(serve) as port:
        with pytest.raises(RemoteFailed, match=re.escape(said)) as failed:
            await _mailer(port).send("anna@example.org", "s", "t")
        assert failed.value.permanent is permanent


async def test_a_mail_is_not_sent_in_the_clear_where_encryption_was_asked_for() -> None:
    heard: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 here\r\n")
        while line := await reader.readline():
            heard.append(line[:4].upper())
            writer.write(b"250 ok\r\n")

    async with served(serve) as port:
        with pytest.raises(RemoteFailed):
            await _mailer(port, encryption="starttls").send("anna@example.org", "s", "t")
    assert not {b"MAIL", b"RCPT", b"DATA"} & set(heard)


async def test_a_stop_does_not_wait_for_a_mail_server_that_never_answers(tmp_path: Path) -> None:
    called = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        called.set()
        await reader.read()

    async with served(serve) as port:
        settings = {"smtp_encryption": "none", "mail_from": "pushrod@ci.example"}
        async with open_coordinator(
            tmp_path, smtp_server=f"127.0.0.1:{port}", **settings
        ) as coordinator:
            admin = coordinator.admin
            project, agent = await admin.new_project(), await admin.new_agent()
            path = f"/api/projects/{project['id']}/notifications"
            wanted = {"on": ["failed"], "email": "anna@example.org"}
            (await admin.post(path, wanted)).expect(201)
            await admin.new_build(project)
            (await agent.complete(await agent.take(), status="failed", exitCode=1)).expect(200)
            await asyncio.wait_for(called.wait(), 60)
            before = time.monotonic()
            await coordinator.stop()
            assert time.monotonic() - before < 10
            await coordinator.start()
            answer = await admin.get(f"/api/projects/{project['id']}/outbox")
            [message] = answer.expect(200).json["messages"]
            assert message["state"] == "waiting"
