"""Bitbucket, Cloud and Data Center: webhooks of their REST APIs. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from urllib.parse import quote

from coordinator.domain.outbox.calls import Call, Reply, get, json_call
from coordinator.domain.outbox.forge_place import ForgePlace
from coordinator.domain.outbox.hooks import (
    SeenHook,
    UnreadableAnswer,
    WantedHook,
    names_in,
    objects_in,
)
from coordinator.forges.payload import text
from coordinator.forges.statuses.bitbucket import cloud_url, data_center_url
from coordinator.forges.statuses.words import bearer_or_basic

MAX_HOOKS = 40


class BitbucketCloud:
    name = "bitbucket"
    events = frozenset(
        {
            "repo:push",
            "pullrequest:created",
            "pullrequest:updated",
            "pullrequest:fulfilled",
            "pullrequest:rejected",
        }
    )
    hook_right = "Webhooks: read and write"
    status_right = "Repositories: write"
    unknown_commit = frozenset({404})

    def page(self, place: ForgePlace) -> str:
        return f"{place.url}/{place.repository}/admin/webhooks"

    def list_hooks(self, place: ForgePlace) -> Call:
        return get(f"{cloud_url(place)}/hooks?pagelen={MAX_HOOKS}", bearer_or_basic(place))

    def read_hooks(self, reply: Reply) -> Sequence[SeenHook]:
        return [_seen(hook, "uuid") for hook in objects_in(reply, "values")]

    def write_hook(
        self, place: ForgePlace, wanted: WantedHook, known: str | None
    ) -> Sequence[Call]:
        body = {
            "description": "pushrod",
            "url": wanted.url,
            "active": True,
            "secret": wanted.secret,
            "events": sorted(self.events),
        }
        return [_write(f"{cloud_url(place)}/hooks", place, body, known)]

    def ask_last(self, place: ForgePlace, hook_id: str) -> Call | None:
        return None

    def read_last(self, reply: Reply) -> str | None:
        return None


class BitbucketDataCenter:
    name = "bitbucket-server"
    events = frozenset(
        {
            "repo:refs_changed",
            "pr:opened",
            "pr:from_ref_updated",
            "pr:modified",
            "pr:merged",
            "pr:declined",
            "pr:deleted",
        }
    )
    hook_right = "Repository admin"
    status_right = "Repository write"
    unknown_commit = frozenset({404})

    def page(self, place: ForgePlace) -> str:
        project, _, repository = place.repository.removeprefix("scm/").partition("/")
        return f"{place.url}/plugins/servlet/webhooks/projects/{project}/repos/{repository}"

    def list_hooks(self, place: ForgePlace) -> Call:
        return get(f"{data_center_url(place)}/webhooks?limit={MAX_HOOKS}", bearer_or_basic(place))

    def read_hooks(self, reply: Reply) -> Sequence[SeenHook]:
        return [_seen(hook, "id") for hook in objects_in(reply, "values")]

    def write_hook(
        self, place: ForgePlace, wanted: WantedHook, known: str | None
    ) -> Sequence[Call]:
        body = {
            "name": "pushrod",
            "url": wanted.url,
            "active": True,
            "configuration": {"secret": wanted.secret},
            "events": sorted(self.events),
        }
        return [_write(f"{data_center_url(place)}/webhooks", place, body, known)]

    def ask_last(self, place: ForgePlace, hook_id: str) -> Call | None:
        url = f"{data_center_url(place)}/webhooks/{quote(hook_id)}/latest"
        return get(url, bearer_or_basic(place))

    def read_last(self, reply: Reply) -> str | None:
        """No body where nothing was sent yet."""
        if not reply.body:
            return None
        try:
            newest = json.loads(reply.body)
        except (ValueError, RecursionError) as error:
            raise UnreadableAnswer("the answer is no delivery") from error
        if text(newest, "result", "outcome") in (None, "SUCCESS"):
            return None
        return text(newest, "result", "description") or "it failed"


def _seen(hook: Mapping[str, object], key: str) -> SeenHook:
    return SeenHook(
        id=str(hook.get(key)),
        url=text(hook, "url") or "",
        active=hook.get("active") is True,
        events=names_in(hook.get("events")),
    )


def _write(url: str, place: ForgePlace, body: object, known: str | None) -> Call:
    if known is not None:
        return json_call("PUT", f"{url}/{quote(known, safe='')}", bearer_or_basic(place), body)
    return json_call("POST", url, bearer_or_basic(place), body)
