"""What forges send, as recorded payloads and as anything at all."""

from __future__ import annotations

import json
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.domain.pushes.deliveries import ForgeEvent, is_ref, reason_to_ignore
from coordinator.forges import FORGES, forge_of, sender_of
from coordinator.forges.payload import Unreadable, read_body
from tests.integration.forge_fixture import signature
from tests.unit.coordinator.forges.recorded import AFTER, EVENT_HEADERS, FOLDER

github, generic = FORGES["github"], FORGES["generic"]
SHOP = "https://github.com/anna/shop"


def recorded_push() -> ForgeEvent:
    body = (FOLDER / "github/push.json").read_bytes()
    return github.parse({"X-GitHub-Event": "push"}, body).event


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
    assert reason_to_ignore(recorded_push(), url) is None


@pytest.mark.parametrize("url", ["https://github.com/anna/shop2", "https://evil.org/anna/shop"])
def test_another_repository_is_not_for_us(url: str) -> None:
    assert "another repository" in (reason_to_ignore(recorded_push(), url) or "")


def test_more_refs_than_are_built_are_refused_in_words() -> None:
    refs = [{"ref": f"refs/heads/b{n}", "after": AFTER} for n in range(101)]
    event = generic.parse({}, json.dumps({"refs": refs}).encode()).event
    assert "101 refs" in (event.ignored or "")


def test_a_form_is_read_too() -> None:
    body = urlencode({"payload": (FOLDER / "github/push.json").read_text()}).encode()
    headers = {
        "X-GitHub-Event": "push",
        "Content-Type": "application/x-www-form-urlencoded",
    }
    assert github.parse(headers, body).event == recorded_push()


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
        "pullRequest",
        "pullrequest",
        "object_attributes",
        "object_kind",
        "merge_request",
        "changes",
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


KINDS = (
    *("push", "pull_request", "ping", "", "delete", "repo:push", "pullrequest:updated"),
    *("repo:refs_changed", "pr:opened", "pr:"),
)


@given(payload=JSON, kind=st.sampled_from(KINDS) | st.text())
def test_any_json_is_understood_or_ignored_with_a_reason(payload: object, kind: str) -> None:
    body = json.dumps(payload).encode()
    events = [
        forge.parse({EVENT_HEADERS[name]: kind}, body).event
        for name, forge in FORGES.items()
        if forge is not generic
    ]
    for event in (*events, _generic_event(body)):
        if event is None:
            continue
        assert event.ignored or event.refs or event.pull_request or event.closed
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


SIGNED = signature("secret", b"{}")
HEADERS_OF = {
    "bitbucket": [{"X-Hub-Signature": SIGNED}],
    "gitea": [
        {"X-Hub-Signature-256": SIGNED},
        {"X-Gitea-Signature": SIGNED.removeprefix("sha256=")},
        {"X-Forgejo-Signature": SIGNED.removeprefix("sha256=")},
    ],
    "gitlab": [{"X-Gitlab-Token": "secret"}],
}


@pytest.mark.parametrize("name", HEADERS_OF)
def test_each_forge_proves_that_it_knows_the_secret(name: str) -> None:
    forge = FORGES[name]
    for headers in HEADERS_OF[name]:
        damaged = {key: f"{value}\udcff" for key, value in headers.items()}
        assert forge.verify("secret", headers, b"{}")
        assert not forge.verify("other", headers, b"{}")
        assert not forge.verify("secret", damaged, b"{}")
        assert name == "gitlab" or not forge.verify("secret", headers, b"{ }")
    assert not forge.verify("secret", {}, b"{}")


@pytest.mark.parametrize(
    ("headers", "name"),
    [
        ({"X-GitHub-Event": "push"}, "github"),
        ({"X-GitHub-Event": "push", "X-Gogs-Event": "push", "X-Gitea-Event": "push"}, "gitea"),
        ({"X-GitHub-Event": "push", "X-Forgejo-Event": "push"}, "gitea"),
        ({"X-Gitlab-Event": "Push Hook"}, "gitlab"),
        ({"X-Event-Key": "repo:push"}, "bitbucket"),
        ({"X-Pushrod-Delivery": "1"}, "generic"),
        ({"X-Hub-Signature-256": "x"}, "github"),
    ],
)
def test_who_sends_is_known_by_the_headers(headers: dict[str, str], name: str) -> None:
    assert sender_of(headers, github).name == name


@pytest.mark.parametrize(
    ("named", "url", "name"),
    [
        (None, "https://github.com/anna/shop", "github"),
        (None, "git@gitlab.com:anna/shop.git", "gitlab"),
        (None, "https://bitbucket.org/anna/shop.git", "bitbucket"),
        (None, "https://codeberg.org/anna/shop", "gitea"),
        (None, "https://git.example.org/anna/shop", "generic"),
        (None, "https://gitlab.example.org/anna/shop", "gitlab"),
        (None, "https://bitbucket.example.org/scm/a/b.git", "bitbucket"),
        (None, None, "generic"),
        ("gitea", "https://git.example.org/anna/shop", "gitea"),
        ("generic", "https://github.com/anna/shop", "generic"),
    ],
)
def test_a_projects_forge_is_as_it_says_or_known_by_its_host(
    named: str | None, url: str | None, name: str
) -> None:
    assert forge_of(named, url).name == name


def test_events_of_gitlab_that_share_an_id_are_told_apart() -> None:
    """Before 17.4 several webhooks of one push had one id."""
    gitlab, headers = FORGES["gitlab"], {"X-Gitlab-Event-UUID": "13792a34"}
    one, other, again = (gitlab.parse(headers, body).delivery_id for body in (b"{}", b"[]", b"{}"))
    assert one == again != other
    assert gitlab.parse({**headers, "Idempotency-Key": "k"}, b"{}").delivery_id == "k"


def test_a_delivery_of_an_earlier_version_is_read_as_it_was_meant() -> None:
    event = recorded_push().to_json() | {
        "pull_request": {
            "number": 7,
            "head_sha": AFTER,
            "head_branch": "pears",
            "base_branch": "main",
            "fork": True,
            "label_given": "full-ci",
        }
    }
    for name in ("closed", "note"):
        del event[name]
    pull = ForgeEvent.from_json(event).pull_request
    assert pull is not None
    assert (pull.ref, pull.labels_given) == ("refs/pull/7/head", ("full-ci",))
