"""What Bitbucket Cloud's events say. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from coordinator.domain.pushes.deliveries import BRANCH, TAG, ForgeEvent, PushedRef
from coordinator.forges.events import (
    ZEROS,
    closed_event,
    moved_ref,
    nothing_new,
    pull_request_event,
    push_event,
    same_id,
    urls,
)
from coordinator.forges.links import RepositoryPage
from coordinator.forges.payload import commit_message, inner, text, title

_PREFIXES = {"branch": BRANCH, "tag": TAG, "annotated_tag": TAG}
_CLOSED = ("fulfilled", "rejected")
FORK_IS_GONE = (
    "the fork's repository is gone or not shown, and Bitbucket Cloud keeps no ref of a pull "
    "request: its head can't be fetched"
)


def push(kind: str, payload: object) -> ForgeEvent:
    """One push may move many refs, each of which is a change."""
    found = inner(payload, "push", "changes")
    changes = found if isinstance(found, list) else []
    alone = len(changes) == 1
    return push_event(
        kind,
        _repository_urls(inner(payload, "repository")),
        [_moved(change) for change in changes],
        message=commit_message(changes[0], "new", "target", "message") if alone else None,
    )


def _moved(change: object) -> PushedRef | None:
    old, new = inner(change, "old"), inner(change, "new")
    ref = old if new is None else new
    prefix = _PREFIXES.get(text(ref, "type") or "")
    if prefix is None:
        return None
    after = ZEROS if new is None else inner(new, "target", "hash")
    return moved_ref(prefix + (text(ref, "name") or ""), inner(old, "target", "hash"), after)


def pull_request(kind: str, what: str, payload: object) -> ForgeEvent:
    pull = inner(payload, "pullrequest")
    source, number = inner(pull, "source"), inner(pull, "id")
    repositories = _repository_urls(inner(payload, "repository"))
    if what in _CLOSED:
        return closed_event(kind, repositories, number)
    if what not in ("created", "updated"):
        return nothing_new(kind, repositories, what)
    there = inner(source, "repository")
    fork = not same_id(inner(there, "uuid"), inner(pull, "destination", "repository", "uuid"))
    source_url = text(there, "links", "html", "href") if fork else None
    if fork and not source_url:
        return ForgeEvent(kind=kind, repositories=repositories, ignored=FORK_IS_GONE)
    branch = text(source, "branch", "name")
    return pull_request_event(
        kind,
        repositories,
        number=number,
        head_sha=inner(source, "commit", "hash"),
        head_branch=branch,
        base_branch=text(pull, "destination", "branch", "name"),
        ref=f"{BRANCH}{branch}",
        fork=fork,
        source_url=source_url[:2000] if source_url else None,
        draft=inner(pull, "draft") is True,
        opened=what == "created",
        title=title(pull, "title"),
        perhaps_pushed=what == "updated",
    )


def _repository_urls(repository: object) -> Sequence[str]:
    return urls(text(repository, "links", "html", "href"))


def page(address: str) -> RepositoryPage:
    return RepositoryPage(
        address=address,
        commit="/commits/{commit}",
        branch="/branch/{branch}",
        tag="/commits/tag/{tag}",
        pull_request="/pull-requests/{pull}",
    )
