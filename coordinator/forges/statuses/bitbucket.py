"""Bitbucket, Cloud and Data Center: build statuses of their REST APIs. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import datetime
from urllib.parse import quote, urlsplit

from coordinator.domain.outbox.calls import Call, Outcome, Reply, json_call, read_reply
from coordinator.domain.outbox.forge_place import ForgePlace
from coordinator.domain.outbox.messages import Facts, Status
from coordinator.forges.statuses.words import bearer_or_basic, distinct, has_label, shortened

MAX_CLOUD_KEY_CHARACTERS = 40
MAX_CHARACTERS = 255
_STATES: Mapping[Status, str] = {
    Status.WAITING: "INPROGRESS",
    Status.PENDING: "INPROGRESS",
    Status.RUNNING: "INPROGRESS",
    Status.SUCCESS: "SUCCESSFUL",
    Status.FAILURE: "FAILED",
}


class BitbucketCloud:
    name = "bitbucket"

    def is_at(self, host: str) -> bool:
        return host == "bitbucket.org"

    def set_status(self, place: ForgePlace, facts: Facts, link: str) -> Call:
        body = _body(facts, link, cancelled="STOPPED")
        if len(facts.context) > MAX_CLOUD_KEY_CHARACTERS:
            body["key"] = hashlib.sha256(facts.context.encode()).hexdigest()[:40]
        if facts.branch and facts.pull_request is None:
            body["refname"] = facts.branch
        url = f"{cloud_url(place)}/commit/{facts.commit}/statuses/build"
        return json_call("POST", url, bearer_or_basic(place), body)

    def read(self, reply: Reply, now: datetime) -> Outcome:
        return read_reply(reply, now)


class BitbucketDataCenter:
    name = "bitbucket-server"

    def is_at(self, host: str) -> bool:
        return host != "bitbucket.org" and has_label(host, "bitbucket", "stash")

    def set_status(self, place: ForgePlace, facts: Facts, link: str) -> Call:
        body = _body(facts, link, cancelled="CANCELLED") | {"buildNumber": str(facts.number)}
        if facts.branch and facts.pull_request is None:
            body["ref"] = f"refs/heads/{facts.branch}"
        url = f"{data_center_url(place)}/commits/{facts.commit}/builds"
        return json_call("POST", url, bearer_or_basic(place), body)

    def read(self, reply: Reply, now: datetime) -> Outcome:
        return read_reply(reply, now)


def _body(facts: Facts, link: str, *, cancelled: str) -> dict[str, str]:
    return {
        "key": distinct(facts.context),
        "state": _STATES.get(facts.status, cancelled),
        "name": distinct(facts.context),
        "url": link,
        "description": shortened(facts.words, MAX_CHARACTERS),
    }


def cloud_url(place: ForgePlace) -> str:
    """The repository's, in the API."""
    host = urlsplit(place.url).hostname
    api = "https://api.bitbucket.org" if host == "bitbucket.org" else place.url
    return f"{api}/2.0/repositories/{quote(place.repository)}"


def data_center_url(place: ForgePlace) -> str:
    """The repository's, in the API. Clones by https are below `scm`, by ssh at the root."""
    project, _, repository = place.repository.removeprefix("scm/").partition("/")
    return f"{place.url}/rest/api/latest/projects/{quote(project)}/repos/{quote(repository)}"
