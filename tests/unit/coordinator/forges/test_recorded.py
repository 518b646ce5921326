"""What each recorded payload of each forge means, and what is made of it once it is damaged."""

from __future__ import annotations

import json

import pytest

from coordinator.domain.pushes.deliveries import ForgeEvent, reason_to_ignore
from coordinator.forges.payload import title
from tests.unit.coordinator.forges.recorded import (
    FOLDER,
    WRONG,
    Recorded,
    all_fields,
    all_recorded,
    damaged,
    told,
)

ELSEWHERE = "https://git.example.net/eve/shop.git"


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
    seen = 0
    for recorded, path in all_fields():
        seen += 1
        for wrong in WRONG:
            _check(recorded, damaged(recorded, path, wrong))
    assert seen > 500


def test_each_forge_tells_what_a_pull_request_is_called() -> None:
    titles = {one.path.split("/")[0]: set[str | None]() for one in all_recorded()}
    for recorded in all_recorded():
        pull = recorded.event().pull_request
        if pull is not None:
            titles[recorded.path.split("/")[0]].add(pull.title)
    assert titles.pop("generic") == set()
    for forge, found in titles.items():
        assert found, forge
        assert all("Sell pears" in (called or "") for called in found), forge


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("  two\nlines\t\x1b[31m of\x00 it ", "two lines [31m of\ufffd it"),
        ("abc \u202egnp.exe\u2066", "abc gnp.exe"),
        ("\u200b\n", None),
        ("", None),
        (7, None),
        ("x" * 301, "x" * 299 + "…"),
        ("größe ✓ 🍐", "größe ✓ 🍐"),
    ],
)
def test_a_title_is_one_line_of_what_can_be_seen(written: object, shown: str | None) -> None:
    assert title({"title": written}, "title") == shown


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
