"""GitLab: docs.gitlab.com/api/project_webhooks. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote

from coordinator.domain.outbox.calls import Call, Reply, get, json_call
from coordinator.domain.outbox.forge_place import ForgePlace
from coordinator.domain.outbox.hooks import SeenHook, WantedHook, objects_in
from coordinator.forges.payload import text

MAX_HOOKS = 40
"""At once; each has about a kilobyte."""


class GitLab:
    name = "gitlab"
    events = frozenset({"push_events", "tag_push_events", "merge_requests_events"})
    hook_right = "role Maintainer, scope api"
    status_right = "role Developer, scope api"
    unknown_commit = frozenset({404})

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


def _hooks(place: ForgePlace) -> str:
    return f"{place.url}/api/v4/projects/{quote(place.repository, safe='')}/hooks"


def _headers(place: ForgePlace) -> dict[str, str]:
    return {"PRIVATE-TOKEN": place.secret}
