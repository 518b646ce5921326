"""Gitea's and Forgejo's API: `repoCreateStatus`, `repoCreateHook`. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import quote

from coordinator.domain.outbox.calls import Call, Outcome, Reply, get, json_call, read_reply
from coordinator.domain.outbox.forge_place import ForgePlace
from coordinator.domain.outbox.hooks import SeenHook, WantedHook, names_in, objects_in
from coordinator.domain.outbox.messages import Facts
from coordinator.forges.github.api import status_body
from coordinator.forges.payload import text
from coordinator.forges.words import has_label

MAX_HOOKS = 40
MAX_DESCRIPTION_CHARACTERS = 255
_KNOWN = {"codeberg.org": "forgejo", "gitea.com": "gitea"}


@dataclass(frozen=True, slots=True)
class GiteaApi:
    """Both speak the same; people know them by two names."""

    name: str

    def is_at(self, host: str) -> bool:
        return _KNOWN.get(host) == self.name or has_label(host, self.name)

    def set_status(self, place: ForgePlace, facts: Facts, link: str) -> Call:
        body = status_body(facts, link, MAX_DESCRIPTION_CHARACTERS)
        return json_call(
            "POST", f"{_repository(place)}/statuses/{facts.commit}", _headers(place), body
        )

    def read(self, reply: Reply, now: datetime) -> Outcome:
        return read_reply(reply, now)

    @property
    def family(self) -> str:
        return "gitea"

    @property
    def events(self) -> frozenset[str]:
        names = ("push", "delete", "pull_request", "pull_request_label", "pull_request_sync")
        return frozenset(names)

    @property
    def hook_right(self) -> str:
        return "repository: write, of an administrator of the repository"

    @property
    def status_right(self) -> str:
        return "repository: write, of one who may push"

    @property
    def unknown_commit(self) -> frozenset[int]:
        """500: some versions stumble over it, once the right was looked at."""
        return frozenset({404, 422, 500})

    def page(self, place: ForgePlace) -> str:
        return f"{place.url}/{place.repository}/settings/hooks"

    def list_hooks(self, place: ForgePlace) -> Call:
        return get(f"{_hooks(place)}?limit={MAX_HOOKS}", _headers(place))

    def read_hooks(self, reply: Reply) -> Sequence[SeenHook]:
        return [
            SeenHook(
                id=str(hook.get("id")),
                url=text(hook, "config", "url") or "",
                active=hook.get("active") is True,
                events=names_in(hook.get("events")),
            )
            for hook in objects_in(reply)
        ]

    def write_hook(
        self, place: ForgePlace, wanted: WantedHook, known: str | None
    ) -> Sequence[Call]:
        """A change leaves the secret as it was, so a new one takes the known one's place."""
        body = {
            "type": self.name,
            "active": True,
            "events": sorted(self.events),
            "config": {"url": wanted.url, "content_type": "json", "secret": wanted.secret},
        }
        calls = [json_call("POST", _hooks(place), _headers(place), body)]
        if known is not None:
            calls.append(
                Call(method="DELETE", url=f"{_hooks(place)}/{known}", headers=_headers(place))
            )
        return calls

    def ask_last(self, place: ForgePlace, hook_id: str) -> Call | None:
        return None

    def read_last(self, reply: Reply) -> str | None:
        return None


def _repository(place: ForgePlace) -> str:
    return f"{place.url}/api/v1/repos/{quote(place.repository)}"


def _hooks(place: ForgePlace) -> str:
    return f"{_repository(place)}/hooks"


def _headers(place: ForgePlace) -> dict[str, str]:
    return {"Authorization": f"token {place.secret}", "User-Agent": "pushrod"}
