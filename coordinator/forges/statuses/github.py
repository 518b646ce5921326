"""GitHub, also Enterprise: docs.github.com/rest/commits/statuses. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from urllib.parse import quote, urlsplit

from coordinator.domain.outbox.calls import Call, Outcome, Reply, json_call, read_reply
from coordinator.domain.outbox.forge_place import ForgePlace
from coordinator.domain.outbox.messages import Facts, Status
from coordinator.forges.statuses.words import distinct, has_label, shortened

MAX_DESCRIPTION_CHARACTERS = 140
STATES: Mapping[Status, str] = {
    Status.WAITING: "pending",
    Status.PENDING: "pending",
    Status.RUNNING: "pending",
    Status.SUCCESS: "success",
    Status.FAILURE: "failure",
    Status.CANCELLED: "error",
}


class GitHub:
    name = "github"

    def is_at(self, host: str) -> bool:
        return host == "github.com" or host.endswith(".ghe.com") or has_label(host, "github")

    def set_status(self, place: ForgePlace, facts: Facts, link: str) -> Call:
        body = {
            "state": STATES[facts.status],
            "target_url": link,
            "description": shortened(facts.words, MAX_DESCRIPTION_CHARACTERS),
            "context": distinct(facts.context),
        }
        url = f"{repository_url(place)}/statuses/{facts.commit}"
        return json_call("POST", url, headers(place.secret), body)

    def read(self, reply: Reply, now: datetime) -> Outcome:
        return read_reply(reply, now)


def headers(bearer: str) -> Mapping[str, str]:
    return {
        "Authorization": f"Bearer {bearer}",
        "Accept": "application/vnd.github+json",
        "X-GitHub-Api-Version": "2022-11-28",
    }


def api_url(forge_url: str) -> str:
    """github.com and GitHub's data residency have a host for it, a server of one's own a path."""
    host = urlsplit(forge_url).hostname or ""
    if host in ("github.com", "www.github.com"):
        return "https://api.github.com"
    if host.endswith(".ghe.com"):
        return f"https://api.{host.removeprefix('api.')}"
    return f"{forge_url}/api/v3"


def repository_url(place: ForgePlace) -> str:
    return f"{api_url(place.url)}/repos/{quote(place.repository)}"
