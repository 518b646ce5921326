"""The REST APIs of Bitbucket Cloud and Data Center: build statuses, and webhooks. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from urllib.parse import quote, urlsplit

from coordinator.domain.outbox.calls import Call, Outcome, Reply, get, json_call, read_reply
from coordinator.domain.outbox.forge_place import ForgePlace
from coordinator.domain.outbox.hooks import (
    SeenHook,
    UnreadableAnswer,
    WantedHook,
    names_in,
    objects_in,
)
from coordinator.domain.outbox.messages import Facts, Status
from coordinator.forges.payload import text
from coordinator.forges.words import bearer_or_basic, distinct, has_label, shortened

MAX_HOOKS = 40
MAX_CLOUD_KEY_CHARACTERS = 40
MAX_CHARACTERS = 255
_STATES: Mapping[Status, str] = {
    Status.WAITING: "INPROGRESS",
    Status.PENDING: "INPROGRESS",
    Status.RUNNING: "INPROGRESS",
    Status.SUCCESS: "SUCCESSFUL",
    Status.FAILURE: "FAILED",
}


class BitbucketCloudApi:
    name = family = "bitbucket"
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


class BitbucketDataCenterApi:
    name = "bitbucket-server"
    family = "bitbucket"
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
