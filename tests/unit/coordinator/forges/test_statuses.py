"""Which request each forge is sent for a status, per its documentation."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from coordinator.domain.errors import Invalid
from coordinator.domain.outbox.calls import Answered, Reply
from coordinator.domain.outbox.forge_place import (
    ForgePlace,
    checked_forge_url,
    forge_url_of,
    guessed_forge,
    repository_at,
)
from coordinator.domain.outbox.messages import Facts, Status
from coordinator.forges import APIS, FORGES

SHA = "0123456789abcdef0123456789abcdef01234567"
LINK = "https://ci.example/builds/1"
FACTS = Facts(
    status=Status.FAILURE,
    words="test (3.12) failed: exit code 1",
    workflow="ci",
    number=7,
    event="push",
    commit=SHA,
    branch="main",
)


def call_of(kind: str, repo_url: str, facts: Facts = FACTS, token: str = "t0k") -> Any:
    forge_url = forge_url_of(repo_url)
    place = ForgePlace(url=forge_url, repository=repository_at(repo_url, forge_url), token=token)
    return APIS[kind].set_status(place, facts, LINK)


@pytest.mark.parametrize(
    ("kind", "repo_url", "url", "header"),
    [
        (
            "github",
            "git@github.com:shop/site.git",
            f"https://api.github.com/repos/shop/site/statuses/{SHA}",
            ("Authorization", "Bearer t0k"),
        ),
        (
            "github",
            "https://github.corp.example:8443/shop/site",
            f"https://github.corp.example:8443/api/v3/repos/shop/site/statuses/{SHA}",
            ("Authorization", "Bearer t0k"),
        ),
        (
            "github",
            "https://corp.ghe.com/shop/site",
            f"https://api.corp.ghe.com/repos/shop/site/statuses/{SHA}",
            ("Authorization", "Bearer t0k"),
        ),
        (
            "gitlab",
            "https://gitlab.example/group/sub/site.git",
            f"https://gitlab.example/api/v4/projects/group%2Fsub%2Fsite/statuses/{SHA}",
            ("PRIVATE-TOKEN", "t0k"),
        ),
        (
            "forgejo",
            "ssh://git@codeberg.org:2222/shop/site.git",
            f"https://codeberg.org/api/v1/repos/shop/site/statuses/{SHA}",
            ("Authorization", "token t0k"),
        ),
        (
            "bitbucket",
            "https://bitbucket.org/shop/site.git",
            f"https://api.bitbucket.org/2.0/repositories/shop/site/commit/{SHA}/statuses/build",
            ("Authorization", "Bearer t0k"),
        ),
        (
            "bitbucket-server",
            "https://bitbucket.example/scm/SHOP/site.git",
            "https://bitbucket.example/rest/api/latest/projects/SHOP/repos/site/commits/"
            f"{SHA}/builds",
            ("Authorization", "Bearer t0k"),
        ),
    ],
)
def test_where_a_status_goes(kind: str, repo_url: str, url: str, header: tuple[str, str]) -> None:
    call = call_of(kind, repo_url)
    assert (call.method, call.url) == ("POST", url)
    assert call.headers[header[0]] == header[1]
    assert "t0k" not in repr(call)
    assert guessed_forge(APIS, repo_url, None) == kind


REPOSITORIES = {
    "github": "https://github.com/shop/site",
    "gitlab": "https://gitlab.com/shop/site",
    "gitea": "https://gitea.com/shop/site",
    "bitbucket": "https://bitbucket.org/shop/site",
    "bitbucket-server": "https://bitbucket.example/scm/shop/site",
}
STATES = {
    "github": ["pending", "pending", "pending", "success", "failure", "error"],
    "gitlab": ["pending", "pending", "running", "success", "failed", "canceled"],
    "gitea": ["pending", "pending", "pending", "success", "failure", "error"],
    "bitbucket": ["INPROGRESS"] * 3 + ["SUCCESSFUL", "FAILED", "STOPPED"],
    "bitbucket-server": ["INPROGRESS"] * 3 + ["SUCCESSFUL", "FAILED", "CANCELLED"],
}


@pytest.mark.parametrize("kind", STATES)
def test_each_state_has_its_forges_word(kind: str) -> None:
    said = [
        json.loads(call_of(kind, REPOSITORIES[kind], replace(FACTS, status=status)).body)["state"]
        for status in Status
    ]
    assert said == STATES[kind]


@pytest.mark.parametrize("kind", STATES)
def test_long_words_and_names_are_within_the_forges_limits(kind: str) -> None:
    facts = replace(FACTS, words="x" * 900, workflow="w" * 200)
    body = json.loads(call_of(kind, REPOSITORIES[kind], facts).body)
    assert len(body["description"]) == (140 if kind == "github" else 255)
    if kind == "bitbucket":
        other = replace(facts, workflow="w" * 199 + "v")
        assert len(body["key"]) == 40
        assert json.loads(call_of(kind, REPOSITORIES[kind], other).body)["key"] != body["key"]


def test_a_pull_request_a_push_and_a_set_time_have_their_own_contexts() -> None:
    assert FACTS.context == "pushrod/ci/push"
    assert replace(FACTS, pull_request=3).context == "pushrod/ci/pr"
    assert replace(FACTS, event="schedule").context == "pushrod/ci/schedule"
    assert replace(FACTS, event="manual").context == "pushrod/ci/push"


def test_a_state_that_gitlab_has_already_was_taken() -> None:
    body = b'{"message":"Cannot transition status via :run from :running (Reason(s): ...)"}'
    reply = Reply(status=400, headers={}, body=body)
    now = datetime(2026, 1, 1, tzinfo=UTC)
    assert APIS["gitlab"].read(reply, now).answered is Answered.TAKEN
    assert APIS["gitea"].read(reply, now).answered is Answered.REFUSED


def test_a_user_with_a_password_is_basic_at_bitbucket() -> None:
    call = call_of("bitbucket", REPOSITORIES["bitbucket"], token="anna:t0k")
    assert call.headers["Authorization"] == "Basic YW5uYTp0MGs="


def test_a_forge_may_be_below_a_path() -> None:
    assert checked_forge_url("https://host.example/git/") == "https://host.example/git"
    repo_url = "https://host.example/git/shop/site.git"
    assert repository_at(repo_url, "https://host.example/git") == "shop/site"
    assert guessed_forge(APIS, repo_url, None) is None


@pytest.mark.parametrize(
    "url",
    ["", "host.example", "ftp://h", "https://", "https://u:p@h", "https://h/?q=1", "https://h/ x"],
)
def test_what_is_no_address_of_a_forge(url: str) -> None:
    with pytest.raises(Invalid):
        checked_forge_url(url)


@pytest.mark.parametrize("kind", sorted(APIS))
def test_long_names_of_steps_stay_apart_within_what_a_forge_takes(kind: str) -> None:
    sent = []
    for end in ("a", "b"):
        facts = replace(FACTS, step="x" * 300 + end)
        body = json.loads(call_of(kind, "https://forge.example/shop/site.git", facts).body)
        name = body.get("key") or body.get("name") or body["context"]
        assert len(name) <= 255
        sent.append(name)
    assert sent[0] != sent[1]


@pytest.mark.parametrize(
    ("host", "said", "kind"),
    [
        ("git.example", "bitbucket", "bitbucket-server"),
        ("bitbucket.org", "bitbucket", "bitbucket"),
        ("bitbucket.org", None, "bitbucket"),
        ("git.example", "gitea", "gitea"),
        ("codeberg.org", "gitea", "forgejo"),
        ("github.example", "bitbucket", "bitbucket-server"),
        ("github.example", "gitlab", "gitlab"),
        ("gitlab.example", "generic", "gitlab"),
        ("git.example", None, None),
    ],
)
def test_what_a_project_says_of_its_forge_counts_more_than_its_hosts_name(
    host: str, said: str | None, kind: str | None
) -> None:
    assert guessed_forge(APIS, f"https://{host}/anna/shop.git", said) == kind


def test_the_first_api_of_a_forge_is_that_of_servers_of_ones_own() -> None:
    for forge in FORGES.values():
        for api in forge.apis:
            assert api.family == forge.name
            assert APIS[api.name] is api
