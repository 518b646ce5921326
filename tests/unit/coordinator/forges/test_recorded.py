"""What each recorded payload of each forge means, and what is made of it once it is damaged."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from coordinator.domain.pushes.deliveries import ForgeEvent, reason_to_ignore
from tests.unit.coordinator.forges.recorded import FOLDER, Recorded, all_recorded, told

ELSEWHERE = "https://git.example.net/eve/shop.git"
HUGE = 10**30
WRONG = ("missing", None, HUGE, True, "x" * 2000, "\x00\ud800", [None, 7], {"x": [1]})
UNREAD = {"actor", "author", "committer", "owner", "pusher", "sender", "user", "workspace"}
"""People, of whom no event is read."""


def test_every_recorded_payload_means_what_it_should() -> None:
    """As `meanings.txt` in each forge's folder has them."""
    found, wanted = [], []
    for file in sorted(FOLDER.glob("*/meanings.txt")):
        wanted += file.read_text().splitlines()
    for recorded in all_recorded():
        event = recorded.event()
        reason = reason_to_ignore(event, recorded.repository)
        found.append(f"{recorded.path} = {f'ignored: {reason}' if reason else told(event)}")
    assert sorted(found) == sorted(wanted)


@pytest.mark.parametrize("recorded", all_recorded(), ids=lambda one: one.path)
def test_an_event_is_of_its_own_repository_alone(recorded: Recorded) -> None:
    event = recorded.event()
    if reason_to_ignore(event, recorded.repository) is None and event.repositories:
        assert "another repository" in (reason_to_ignore(event, ELSEWHERE) or "")


def test_a_damaged_payload_is_understood_or_ignored_with_a_reason() -> None:
    """Each field of each kind of event once, with everything that it should not be."""
    seen: set[tuple[Any, ...]] = set()
    for recorded in all_recorded():
        payload = json.loads(recorded.body)
        for path in _paths(payload):
            key = (recorded.forge, *recorded.headers.values(), *path)
            if key in seen:
                continue
            seen.add(key)
            for wrong in WRONG:
                _check(recorded, json.dumps(_damaged(payload, path, wrong)).encode())
    assert len(seen) > 500


@pytest.mark.parametrize("body", [b"null", b"7", b'"push"', b"[]", b"{}", b"[[[[]]]]"])
def test_a_body_that_is_no_event_is_ignored_with_a_reason(body: bytes) -> None:
    for recorded in all_recorded():
        assert recorded.event(body).ignored


def _check(recorded: Recorded, body: bytes) -> None:
    event = recorded.event(body)
    assert event.ignored or event.refs or event.pull_request or event.closed
    kept = json.dumps(event.to_json(), ensure_ascii=False).encode()
    assert ForgeEvent.from_json(json.loads(kept)) == event
    assert b"\\u0000" not in kept  # which PostgreSQL stores in no text
    reason_to_ignore(event, recorded.repository)


def _paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    inner: Any = {}
    if isinstance(value, dict):
        inner = value
    elif isinstance(value, list):
        inner = dict(enumerate(value[:1]))
    for name, one in inner.items():
        if name in UNREAD:
            continue
        yield (*path, name)
        yield from _paths(one, (*path, name))


def _damaged(value: Any, path: tuple[Any, ...], wrong: Any) -> Any:
    changed = dict(value) if isinstance(value, dict) else list(value)
    if len(path) > 1:
        changed[path[0]] = _damaged(value[path[0]], path[1:], wrong)
    elif wrong == "missing":
        del changed[path[0]]
    else:
        changed[path[0]] = wrong
    return changed
