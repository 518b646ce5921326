"""Every recorded payload, damaged and signed, over HTTP: understood, ignored or refused, by each
forge's own address."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from itertools import cycle
from pathlib import Path

import pytest

from coordinator.forges import FORGES
from tests.integration.coordinator_fixture import Answer, eventually, open_coordinator
from tests.integration.forge_fixture import Hook, remote_project
from tests.unit.coordinator.forges.recorded import (
    WRONG,
    Recorded,
    all_fields,
    all_recorded,
    damaged,
)

SERVER = "http://127.0.0.1:9"
AT_ONCE = 8
NO_EVENTS = (b"null", b"7", b'"push"', b"[]", b"{}", b"", b"{", b"\xff\xfe", b"[" * 100_000)


@pytest.fixture
async def hook(tmp_path: Path) -> AsyncIterator[Hook]:
    """Of a project whose repository may not be reached: nothing leaves this machine, and what would
    be built fails at once."""
    async with open_coordinator(
        tmp_path, allow_http_repositories=True, allow_private_addresses=True
    ) as coordinator:
        _, hook = await remote_project(coordinator, f"{SERVER}/anna/shop.git")
        coordinator.settings = {}
        await coordinator.restart()
        yield hook


def _here(recorded: Recorded, body: bytes) -> bytes:
    """As if it were of the project's repository."""
    return body.replace(recorded.repository.removesuffix(".git").encode(), _url().encode())


def _url() -> str:
    return f"{SERVER}/anna/shop"


async def _send_all(hook: Hook, calls: Sequence[tuple[Recorded, bytes]]) -> list[Answer]:
    slots = asyncio.Semaphore(AT_ONCE)

    async def send(recorded: Recorded, body: bytes) -> Answer:
        [event] = recorded.headers.values()
        async with slots:
            return await hook.send(recorded.forge, event, _here(recorded, body), wait=0)

    return list(await asyncio.gather(*(send(*call) for call in calls)))


@pytest.mark.parametrize("forge", sorted(FORGES))
async def test_no_damaged_payload_is_a_fault_of_ours(hook: Hook, forge: str) -> None:
    wrongs = cycle(WRONG)
    own = [(one, path) for one, path in all_fields() if one.forge == forge]
    calls = [(one, damaged(one, path, next(wrongs))) for one, path in own]
    answers = await _send_all(hook, calls)
    assert {answer.status for answer in answers} <= {200, 202, 400}
    for answer in answers:
        if answer.status == 400:  # its delivery's id
            assert "visible" in answer.text
        elif answer.json["status"] == "ignored":
            assert answer.json["reason"]
    await _until_settled(hook)


@pytest.mark.parametrize("forge", sorted(FORGES))
async def test_what_is_no_event_or_too_large_or_of_another_repository_is_refused_or_ignored(
    hook: Hook, forge: str
) -> None:
    own = [one for one in all_recorded() if one.forge == forge]
    answers = await _send_all(hook, [(own[0], body) for body in NO_EVENTS])
    assert {answer.status for answer in answers} <= {200, 202, 400}
    # Larger than what is read at once, and deeper than what is read at all.
    padded = json.dumps({**json.loads(own[0].body), "padding": ["x" * 1000] * 300}).encode()
    deep = b'{"a":' * 60_000 + b"1" + b"}" * 60_000
    for body, statuses in ((padded, {202}), (deep, {202, 400}), (b" " * 27_000_000, {413})):
        [answer] = await _send_all(hook, [(own[0], body)])
        assert answer.status in statuses

    elsewhere = [one for one in own if one.event().refs or one.event().pull_request]
    elsewhere = [one for one in elsewhere if one.event().repositories]
    for one in elsewhere:
        [event] = one.headers.values()
        answer = await hook.send(forge, event, one.body, wait=0)
        assert answer.expect(202).json["status"] == "ignored"
        assert "another repository" in answer.json["reason"] or "[skip ci]" in answer.json["reason"]
    await _until_settled(hook)


async def _until_settled(hook: Hook) -> None:
    """Nothing is stuck, and nothing that came was a mistake of the coordinator's."""

    async def none_waits() -> bool:
        return all(one["status"] != "received" for one in await hook.deliveries())

    await eventually(none_waits)
    for delivery in await hook.deliveries():
        assert "coordinator" not in (delivery.get("reason") or "")
