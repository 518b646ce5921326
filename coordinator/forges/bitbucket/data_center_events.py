"""What Bitbucket Data Center's events say. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence

from coordinator.domain.pushes.deliveries import BRANCH, ForgeEvent, PushedRef
from coordinator.forges.events import (
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

_NEW_CODE = ("opened", "reopened", "from_ref_updated")
_CLOSED = ("merged", "declined", "deleted")


def push(kind: str, payload: object) -> ForgeEvent:
    """One push may move many refs, each of which is a change."""
    found = inner(payload, "changes")
    changes = found if isinstance(found, list) else []
    alone = len(changes) == 1
    return push_event(
        kind,
        _repository_urls(inner(payload, "repository")),
        [_moved(change) for change in changes],
        message=commit_message(payload, "toCommit", "message") if alone else None,
    )


def _moved(change: object) -> PushedRef | None:
    return moved_ref(text(change, "ref", "id"), inner(change, "fromHash"), inner(change, "toHash"))


def pull_request(kind: str, what: str, payload: object) -> ForgeEvent:
    pull = inner(payload, "pullRequest")
    here, there, number = inner(pull, "toRef"), inner(pull, "fromRef"), inner(pull, "id")
    repositories = _repository_urls(inner(here, "repository"))
    if what in _CLOSED:
        return closed_event(kind, repositories, number)
    draft = inner(pull, "draft") is True
    was_draft = what == "modified" and inner(payload, "previousDraft") is True and not draft
    if what not in _NEW_CODE and not was_draft:
        return nothing_new(kind, repositories, what)
    return pull_request_event(
        kind,
        repositories,
        number=number,
        head_sha=inner(there, "latestCommit"),
        head_branch=_branch(there),
        base_branch=_branch(here),
        ref=f"refs/pull-requests/{number}/from",
        fork=not same_id(inner(there, "repository", "id"), inner(here, "repository", "id")),
        draft=draft,
        was_draft=was_draft,
        opened=what == "opened",
        title=title(pull, "title"),
    )


def _branch(ref: object) -> str | None:
    name = text(ref, "id")
    return name.removeprefix(BRANCH) if name and name.startswith(BRANCH) else None


def _repository_urls(repository: object) -> Sequence[str]:
    """Versions before 5.14 tell no URL: then the project's key and the repository's name."""
    clone = inner(repository, "links", "clone")
    found = [text(link, "href") for link in clone[:10]] if isinstance(clone, list) else []
    key, slug = text(repository, "project", "key"), text(repository, "slug")
    return urls(*found, f"/{key}/{slug}" if key and slug and not any(found) else None)


_CLONED = re.compile(r"(https?://[^/]+(?:/.+?)??)(?:/scm)?/(~?)([^/]+)/([^/]+)")


def page(address: str) -> RepositoryPage | None:
    """Clones by https are below `scm`, by ssh at the root."""
    match = _CLONED.fullmatch(address)
    if match is None:
        return None
    server, personal, key, name = match.groups()
    owner = f"users/{key}" if personal else f"projects/{key}"
    return RepositoryPage(
        address=f"{server}/{owner}/repos/{name}",
        commit="/commits/{commit}",
        branch="/browse?at=refs/heads/{branch}",
        tag="/browse?at=refs/tags/{tag}",
        pull_request="/pull-requests/{pull}",
    )
