"""The webhook of a project at its forge, and what a check of it found. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from coordinator.domain.outbox.calls import Call, Reply
from coordinator.domain.outbox.forge_place import ForgePlace

WEBHOOK_PATH = "/api/webhooks/"


class UnreadableAnswer(ValueError):
    """A forge's answer is not what its documents say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedHook:
    url: str
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenHook:
    """As a forge tells of it."""

    id: str
    url: str
    active: bool
    events: frozenset[str]
    last_answer: str | None = None
    """What we answered it last, where that went wrong and the forge tells."""


class HookForge(Protocol):
    """One kind of forge, at which webhooks are made."""

    @property
    def name(self) -> str: ...

    @property
    def events(self) -> frozenset[str]:
        """Those that a webhook must have, by its API's names."""

    @property
    def hook_right(self) -> str:
        """What a token needs to make webhooks, in words."""

    @property
    def status_right(self) -> str:
        """What a token needs to set statuses, in words."""

    def page(self, place: ForgePlace) -> str:
        """Where people see the repository's webhooks."""

    def list_hooks(self, place: ForgePlace) -> Call: ...

    def read_hooks(self, reply: Reply) -> Sequence[SeenHook]:
        """Raises UnreadableAnswer."""

    def write_hook(
        self, place: ForgePlace, wanted: WantedHook, known: str | None
    ) -> Sequence[Call]:
        """In this order; `known` is the id of the one that is to be changed."""

    def ask_last(self, place: ForgePlace, hook_id: str) -> Call | None:
        """For the answer to its last delivery; None: the list tells, or nothing does."""

    def read_last(self, reply: Reply) -> str | None:
        """What went wrong with it. Raises UnreadableAnswer."""

    @property
    def unknown_commit(self) -> frozenset[int]:
        """What a status of a commit that isn't there is answered where the token has the right."""


HookForges = Mapping[str, HookForge]
"""By the names of those that take statuses."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """`remedy` is what mends it: there is one if it isn't `ok`."""

    about: str
    ok: bool
    says: str
    remedy: str | None = None


def good(about: str, says: str) -> Finding:
    return Finding(about=about, ok=True, says=says)


def bad(about: str, says: str, remedy: str) -> Finding:
    return Finding(about=about, ok=False, says=says, remedy=remedy)


def those_of(hooks: Sequence[SeenHook], project_id: str, url: str) -> Sequence[SeenHook]:
    """The project's, the one with the right address first: its id is in each address of it."""
    own = [
        hook
        for hook in hooks
        if WEBHOOK_PATH in hook.url and hook.url.rstrip("/").endswith(f"/{project_id}")
    ]
    return sorted(own, key=lambda hook: hook.url != url)


def faults_of(hook: SeenHook, url: str, events: frozenset[str]) -> Sequence[str]:
    """What is wrong with a webhook as it stands there."""
    faults = []
    if hook.url != url:
        faults.append(f"its address is {hook.url} and should be {url}")
    if not hook.active:
        faults.append("it is switched off")
    if missing := events - hook.events:
        faults.append(f"it lacks the events {', '.join(sorted(missing))}")
    return faults


def objects_in(reply: Reply, *path: str) -> Sequence[Mapping[str, Any]]:
    """The list of objects of an answer, at `path`. Raises UnreadableAnswer."""
    try:
        found = json.loads(reply.body)
        for name in path:
            found = found[name]
    except (ValueError, RecursionError, KeyError, TypeError) as error:
        raise UnreadableAnswer("the answer is no list of webhooks") from error
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise UnreadableAnswer("the answer is no list of webhooks")
    return found


def names_in(value: object) -> frozenset[str]:
    found = value if isinstance(value, list) else []
    return frozenset(name for name in found if isinstance(name, str))


_SEEN_ONLY = frozenset({404, 500})
"""Answers that may also be of a repository that isn't seen, or of a forge in trouble."""


def may_set_status(reply: Reply, unknown_commit: frozenset[int], *, seen: bool) -> bool:
    """As the answer to such a status shows; `seen`: the token has just been shown the repository.

    A page for people is no answer of an API, whatever its status.
    """
    if 200 <= reply.status < 300:
        return not reply.headers.get("content-type", "").startswith("text/html")
    return reply.status in unknown_commit and (seen or reply.status not in _SEEN_ONLY)
