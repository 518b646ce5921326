"""What forges send, as recorded payloads and as anything at all."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.domain.pushes.deliveries import (
    ForgeEvent,
    PullRequest,
    PushedRef,
    is_ref,
    reason_to_ignore,
)
from coordinator.forges import FORGES
from coordinator.forges.payload import Unreadable, read_body
from tests.integration.forge_fixture import signature

github, generic = FORGES["github"], FORGES["generic"]
RECORDED = Path(__file__).parents[3] / "webhooks"
BEFORE = "5f1c0f1d8e7b3a29c4d6e8f0a1b2c3d4e5f60718"
AFTER = "9b8a7c6d5e4f30211203f4e5d6c7b8a990817263"
SHOP = "https://github.com/anna/shop"


def recorded_github(name: str) -> ForgeEvent:
    body = (RECORDED / "github" / f"{name}.json").read_bytes()
    headers = {"X-GitHub-Event": name.partition(".")[0], "X-GitHub-Delivery": "d"}
    return github.parse(headers, body).event


def recorded_generic(name: str) -> ForgeEvent:
    body = (RECORDED / "generic" / f"{name}.json").read_bytes()
    return generic.parse({}, body).event


@pytest.mark.parametrize(
    ("name", "ref", "before", "after"),
    [
        ("push", "refs/heads/main", BEFORE, AFTER),
        ("push.new-branch", "refs/heads/feature/größe", None, AFTER),
        ("push.tag", "refs/tags/v1.0.0", None, AFTER),
        ("push.deleted", "refs/heads/main", BEFORE, None),
        ("push.forced", "refs/heads/main", BEFORE, AFTER),
    ],
)
def test_a_push_of_github_is_one_moved_ref(
    name: str, ref: str, before: str | None, after: str | None
) -> None:
    event = recorded_github(name)
    assert event.refs == (PushedRef(ref=ref, before=before, after=after),)
    assert event.ignored is None


@pytest.mark.parametrize(
    ("name", "fork"),
    [
        ("pull_request.opened", False),
        ("pull_request.synchronize-fork", True),
        ("pull_request.reopened-fork-deleted", True),
    ],
)
def test_a_pull_request_of_github_says_whether_it_is_a_forks(name: str, fork: bool) -> None:
    assert recorded_github(name).pull_request == PullRequest(
        number=7, head_sha=AFTER, head_branch="pears", base_branch="main", fork=fork
    )


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("ping", "ping"),
        ("issues", "issues"),
        ("create", "create"),
        ("check_suite", "check_suite"),
        ("installation", "installation"),
        ("pull_request.closed", "closed"),
        ("push.skip", "skip ci"),
        ("push.deleted", "deleted"),
    ],
)
def test_what_starts_no_build_says_why(name: str, reason: str) -> None:
    assert reason in (reason_to_ignore(recorded_github(name), SHOP) or "")


def test_every_recorded_payload_is_looked_at() -> None:
    names = {file.stem for file in (RECORDED / "github").glob("*.json")}
    assert len(names) == 15
    for name in names:
        event = recorded_github(name)
        assert (event.ignored is None) == bool(event.refs or event.pull_request)
        assert ForgeEvent.from_json(json.loads(json.dumps(event.to_json()))) == event


@pytest.mark.parametrize(
    "url",
    [
        SHOP,
        "https://github.com/anna/shop.git",
        "https://GitHub.com/Anna/Shop/",
        "git@github.com:anna/shop.git",
        "ssh://git@github.com/anna/shop",
    ],
)
def test_a_repository_is_known_by_any_of_its_urls(url: str) -> None:
    assert reason_to_ignore(recorded_github("push"), url) is None


@pytest.mark.parametrize("url", ["https://github.com/anna/shop2", "https://evil.org/anna/shop"])
def test_another_repository_is_not_for_us(url: str) -> None:
    assert "another repository" in (reason_to_ignore(recorded_github("push"), url) or "")


def test_generic_events() -> None:
    moved = PushedRef(ref="refs/heads/main", before=BEFORE, after=AFTER)
    assert list(recorded_generic("push").refs) == [moved]
    assert list(recorded_generic("single").refs) == [
        PushedRef(ref="refs/heads/main", before=None, after=AFTER)
    ]
    several = recorded_generic("several")
    assert [(ref.ref, ref.after) for ref in several.refs] == [
        ("refs/heads/main", AFTER),
        ("refs/heads/old", None),
        ("refs/tags/v1", AFTER),
    ]
    for name in ("ping", "release", "nothing"):
        assert recorded_generic(name).ignored
    assert "deleted" in (reason_to_ignore(recorded_generic("deleted"), SHOP) or "")


def test_more_refs_than_are_built_are_refused_in_words() -> None:
    refs = [{"ref": f"refs/heads/b{n}", "after": AFTER} for n in range(101)]
    event = generic.parse({}, json.dumps({"refs": refs}).encode()).event
    assert "101 refs" in (event.ignored or "")


def test_a_form_is_read_too() -> None:
    body = urlencode({"payload": (RECORDED / "github/push.json").read_text()}).encode()
    headers = {
        "X-GitHub-Event": "push",
        "Content-Type": "application/x-www-form-urlencoded",
    }
    assert github.parse(headers, body).event == recorded_github("push")


def test_a_delivery_without_an_id_goes_by_its_body() -> None:
    one, other = (generic.parse({}, body).delivery_id for body in (b"{}", b"[]"))
    assert one.startswith("sha256:")
    assert one == generic.parse({}, b"{}").delivery_id != other


@pytest.mark.parametrize("given_id", ["a b", "x" * 201, "é"])
def test_an_impossible_delivery_id_is_refused(given_id: str) -> None:
    with pytest.raises(Unreadable):
        generic.parse({"X-Pushrod-Delivery": given_id}, b"{}")


@pytest.mark.parametrize("body", [b"", b"no", b"[" * 200_000, b"1" * 5000, b'"\xff'])
def test_what_is_not_json_is_unreadable(body: bytes) -> None:
    with pytest.raises(Unreadable):
        github.parse({"X-GitHub-Event": "push"}, body)


def test_the_signature_is_over_the_raw_body() -> None:
    right = signature("secret", b"{}")
    for name in ("X-Pushrod-Signature-256", "X-Hub-Signature-256"):
        assert generic.verify("secret", {name: right}, b"{}")
        assert not generic.verify("secret", {name: right}, b"{ }")
        assert not generic.verify("other", {name: right}, b"{}")
    assert github.verify("secret", {"X-Hub-Signature-256": right}, b"{}")
    assert not github.verify("secret", {}, b"{}")
    assert not github.verify("secret", {"X-Hub-Signature-256": right[:-1]}, b"{}")
    assert not github.verify("secret", {"X-Hub-Signature-256": "\udcff"}, b"{}")


@pytest.mark.parametrize(
    "name",
    [
        "refs/heads/",
        "refs/heads/-x",
        "refs/heads/a..b",
        "refs/heads/a b",
        "refs/heads/a\nb",
        "refs/heads/a.lock",
        "refs/heads/a/",
        "refs/heads/a//b",
        "refs/heads/.a",
        "refs/heads/a/.b",
        "refs/heads/a:b",
        "refs/heads/a*",
        "refs/heads/a\\b",
        "refs/heads/a@{1}",
        "refs/heads/\ud800",
        "refs/heads/" + "a" * 400,
        "refs/pull/1/head",
        "HEAD",
        "main",
        7,
        None,
    ],
)
def test_what_git_allows_for_no_branch_is_no_ref(name: object) -> None:
    assert not is_ref(name)


WORDS = st.sampled_from(
    [
        "ref",
        "after",
        "before",
        "deleted",
        "repository",
        "clone_url",
        "refs",
        "event",
        "action",
        "pull_request",
        "number",
        "head",
        "base",
        "sha",
        "repo",
        "id",
        "head_commit",
        "message",
        "opened",
        "push",
        "refs/heads/main",
        AFTER,
        "0" * 40,
        SHOP,
        "�",
        "\x00",
    ]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | WORDS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS | st.text(), inner),
    max_leaves=40,
)


@given(payload=JSON, kind=st.sampled_from(["push", "pull_request", "ping", ""]) | st.text())
def test_any_json_is_understood_or_ignored_with_a_reason(payload: object, kind: str) -> None:
    body = json.dumps(payload).encode()
    for event in (
        github.parse({"X-GitHub-Event": kind}, body).event,
        _generic_event(body),
    ):
        if event is None:
            continue
        assert event.ignored or event.refs or event.pull_request
        text = json.dumps(event.to_json(), ensure_ascii=False)
        again = ForgeEvent.from_json(json.loads(text.encode()))
        assert json.dumps(again.to_json(), ensure_ascii=False) == text
        reason_to_ignore(event, SHOP)


def _generic_event(body: bytes) -> ForgeEvent | None:
    try:
        return generic.parse({}, body).event
    except Unreadable:  # a `deliveryId` that can't be one
        return None


@pytest.mark.parametrize("body", [b'{"event": "ping"}', b"payload=%7B%22event%22%3A+%22ping%22%7D"])
def test_a_body_that_curl_calls_a_form_is_read_too(body: bytes) -> None:
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    assert read_body(headers, body) == {"event": "ping"}
