"""GitHub, also Enterprise: docs.github.com/rest/repos/webhooks. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from coordinator.domain.outbox.calls import Call, Reply, get, json_call
from coordinator.domain.outbox.forge_place import ForgePlace
from coordinator.domain.outbox.hooks import SeenHook, WantedHook, names_in, objects_in
from coordinator.forges.payload import inner, text
from coordinator.forges.statuses.github import headers, repository_url


class GitHub:
    name = "github"
    events = frozenset({"push", "pull_request"})
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


def _all_or(events: frozenset[str]) -> frozenset[str]:
    return GitHub.events | events if "*" in events else events


def _fault(answer: object) -> str | None:
    code = inner(answer, "code")
    if not isinstance(code, int) or 200 <= code < 300:
        return None
    return f"{code} {text(answer, 'message') or ''}".strip()
