"""GitLab's API: statuses of commits, and webhooks. Pure.

docs.gitlab.com/api/commits ("Set commit pipeline status"), docs.gitlab.com/api/project_webhooks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from urllib.parse import quote

from coordinator.domain.outbox.calls import TAKEN, Call, Outcome, Reply, get, json_call, read_reply
from coordinator.domain.outbox.forge_place import ForgePlace
from coordinator.domain.outbox.hooks import SeenHook, WantedHook, objects_in
from coordinator.domain.outbox.messages import Facts, Status
from coordinator.forges.payload import text
from coordinator.forges.words import distinct, has_label, shortened

MAX_HOOKS = 40
"""At once; each has about a kilobyte."""
MAX_CHARACTERS = 255
STATES: Mapping[Status, str] = {
    Status.WAITING: "pending",
    Status.PENDING: "pending",
    Status.RUNNING: "running",
    Status.SUCCESS: "success",
    Status.FAILURE: "failed",
    Status.CANCELLED: "canceled",
}


class GitLabApi:
    name = family = "gitlab"
    events = frozenset({"push_events", "tag_push_events", "merge_requests_events"})
    hook_right = "role Maintainer, scope api"
    status_right = "role Developer, scope api"
    unknown_commit = frozenset({404})

    def is_at(self, host: str) -> bool:
        return host == "gitlab.com" or has_label(host, "gitlab")

    def set_status(self, place: ForgePlace, facts: Facts, link: str) -> Call:
        body = {
            "state": STATES[facts.status],
            "name": distinct(facts.context),
            "target_url": link,
            "description": shortened(facts.words, MAX_CHARACTERS),
        }
        ref = facts.tag or facts.branch
        if ref and facts.pull_request is None:  # whose branch may be a fork's
            body["ref"] = ref
        url = f"{_project(place)}/statuses/{facts.commit}"
        return json_call("POST", url, _headers(place), body)

    def read(self, reply: Reply, now: datetime) -> Outcome:
        """A state that the status has already is refused there: it was taken before."""
        if reply.status == 400 and b"Cannot transition status" in reply.body:
            return TAKEN
        return read_reply(reply, now)

    def page(self, place: ForgePlace) -> str:
        return f"{place.url}/{place.repository}/-/hooks"

    def list_hooks(self, place: ForgePlace) -> Call:
        return get(f"{_hooks(place)}?per_page={MAX_HOOKS}", _headers(place))

    def read_hooks(self, reply: Reply) -> Sequence[SeenHook]:
        """One that failed too often is switched off, for a time or for good."""
        return [
            SeenHook(
                id=str(hook.get("id")),
                url=text(hook, "url") or "",
                active=hook.get("alert_status", "executable") == "executable",
                events=frozenset(name for name in self.events if hook.get(name) is True),
            )
            for hook in objects_in(reply)
        ]

    def write_hook(
        self, place: ForgePlace, wanted: WantedHook, known: str | None
    ) -> Sequence[Call]:
        body = {
            "url": wanted.url,
            "token": wanted.secret,
            "enable_ssl_verification": True,
            **dict.fromkeys(sorted(self.events), True),
        }
        if known is not None:
            return [json_call("PUT", f"{_hooks(place)}/{known}", _headers(place), body)]
        return [json_call("POST", _hooks(place), _headers(place), body)]

    def ask_last(self, place: ForgePlace, hook_id: str) -> Call | None:
        return get(f"{_hooks(place)}/{hook_id}/events?per_page=1", _headers(place))

    def read_last(self, reply: Reply) -> str | None:
        """Its first words: `200`, or what went wrong."""
        newest = next(iter(objects_in(reply)), {})
        status = str(newest.get("response_status") or "")
        return None if not status or status.startswith("2") else status


def _project(place: ForgePlace) -> str:
    return f"{place.url}/api/v4/projects/{quote(place.repository, safe='')}"


def _hooks(place: ForgePlace) -> str:
    return f"{_project(place)}/hooks"


def _headers(place: ForgePlace) -> dict[str, str]:
    return {"PRIVATE-TOKEN": place.secret}
