"""GitHub's API, also Enterprise's: statuses of commits, and webhooks. Pure.

docs.github.com/rest/commits/statuses, docs.github.com/rest/repos/webhooks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from urllib.parse import quote, urlsplit

from coordinator.domain.outbox.calls import Call, Outcome, Reply, get, json_call, read_reply
from coordinator.domain.outbox.forge_place import ForgePlace
from coordinator.domain.outbox.hooks import SeenHook, WantedHook, names_in, objects_in
from coordinator.domain.outbox.messages import Facts, Status
from coordinator.forges.payload import inner, text
from coordinator.forges.words import distinct, has_label, shortened

MAX_DESCRIPTION_CHARACTERS = 140
STATES: Mapping[Status, str] = {
    Status.WAITING: "pending",
    Status.PENDING: "pending",
    Status.RUNNING: "pending",
    Status.SUCCESS: "success",
    Status.FAILURE: "failure",
    Status.CANCELLED: "error",
}


class GitHubApi:
    name = family = "github"
    events = frozenset({"push", "pull_request"})

    def is_at(self, host: str) -> bool:
        return host == "github.com" or host.endswith(".ghe.com") or has_label(host, "github")

    def set_status(self, place: ForgePlace, facts: Facts, link: str) -> Call:
        body = status_body(facts, link, MAX_DESCRIPTION_CHARACTERS)
        url = f"{repository_url(place)}/statuses/{facts.commit}"
        return json_call("POST", url, headers(place.secret), body)

    def read(self, reply: Reply, now: datetime) -> Outcome:
        return read_reply(reply, now)

    hook_right = "Webhooks: write (classic: admin:repo_hook)"
    status_right = "Commit statuses: write (classic: repo:status)"
    unknown_commit = frozenset({422})
    """404: it lacks the right."""

    def page(self, place: ForgePlace) -> str:
        return f"{place.url}/{place.repository}/settings/hooks"

    def list_hooks(self, place: ForgePlace) -> Call:
        return get(f"{repository_url(place)}/hooks?per_page=50", headers(place.secret))

    def read_hooks(self, reply: Reply) -> Sequence[SeenHook]:
        return [
            SeenHook(
                id=str(hook.get("id")),
                url=text(hook, "config", "url") or "",
                active=hook.get("active") is True,
                events=_all_or(names_in(hook.get("events"))),
                last_answer=_fault(inner(hook, "last_response")),
            )
            for hook in objects_in(reply)
        ]

    def write_hook(
        self, place: ForgePlace, wanted: WantedHook, known: str | None
    ) -> Sequence[Call]:
        url = f"{repository_url(place)}/hooks"
        config = {
            "url": wanted.url,
            "content_type": "json",
            "secret": wanted.secret,
            "insecure_ssl": "0",
        }
        body = {"active": True, "events": sorted(self.events), "config": config}
        if known is not None:
            return [json_call("PATCH", f"{url}/{known}", headers(place.secret), body)]
        return [json_call("POST", url, headers(place.secret), {"name": "web", **body})]

    def ask_last(self, place: ForgePlace, hook_id: str) -> Call | None:
        return None

    def read_last(self, reply: Reply) -> str | None:
        return None


def status_body(facts: Facts, link: str, most_words: int) -> dict[str, str]:
    """Gitea's, too."""
    return {
        "state": STATES[facts.status],
        "target_url": link,
        "description": shortened(facts.words, most_words),
        "context": distinct(facts.context),
    }


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


def _all_or(events: frozenset[str]) -> frozenset[str]:
    return GitHubApi.events | events if "*" in events else events


def _fault(answer: object) -> str | None:
    code = inner(answer, "code")
    if not isinstance(code, int) or 200 <= code < 300:
        return None
    return f"{code} {text(answer, 'message') or ''}".strip()
