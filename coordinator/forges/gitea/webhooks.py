"""Gitea's and Forgejo's webhooks: GitHub's, but for what happens to pull requests. Pure.

docs.gitea.com/usage/webhooks, forgejo.org/docs/latest/user/webhooks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from coordinator.domain.pushes.deliveries import BRANCH, TAG, ForgeEvent
from coordinator.forges.events import (
    ZEROS,
    closed_event,
    moved_ref,
    names,
    nothing_new,
    of_no_interest,
    pull_request_event,
    push_event,
    same_id,
)
from coordinator.forges.gitea.api import GiteaApi
from coordinator.forges.github.webhooks import pushed, repository_urls
from coordinator.forges.links import RepositoryPage
from coordinator.forges.payload import (
    ParsedDelivery,
    event_name,
    inner,
    read_body,
    read_delivery_id,
    text,
    title,
    verify_hmac,
)

_EVENTS = ("X-Gitea-Event", "X-Forgejo-Event")
_DELIVERIES = ("X-Gitea-Delivery", "X-Forgejo-Delivery")
_SIGNATURES = ("X-Gitea-Signature", "X-Forgejo-Signature")
"""In hexadecimal alone; of the same body there is GitHub's, too."""
_NEW_CODE = ("opened", "synchronized", "reopened")
_WORK_IN_PROGRESS = ("WIP:", "[WIP]")
"""What a draft's title begins with, where the operator has not changed it."""


class Gitea:
    name = "gitea"
    title = "Gitea or Forgejo"
    apis = (GiteaApi("gitea"), GiteaApi("forgejo"))

    def recognises(self, headers: Mapping[str, str]) -> bool:
        return _first(headers, _EVENTS) is not None

    def verify(self, secret: str, headers: Mapping[str, str], body: bytes) -> bool:
        signature = headers.get("X-Hub-Signature-256")
        if signature is None:
            signature = f"sha256={_first(headers, _SIGNATURES)}"
        return verify_hmac(secret, signature, body)

    def parse(self, headers: Mapping[str, str], body: bytes) -> ParsedDelivery:
        payload = read_body(headers, body)
        kind = event_name(_first(headers, _EVENTS), "unnamed")
        return ParsedDelivery(
            delivery_id=read_delivery_id(_first(headers, _DELIVERIES), body),
            event=_event(kind, payload),
        )

    def page(self, address: str) -> RepositoryPage:
        return RepositoryPage(
            address=address,
            commit="/commit/{commit}",
            branch="/src/branch/{branch}",
            tag="/src/tag/{tag}",
            pull_request="/pulls/{pull}",
            author="/commits/branch/{branch}/search?q=author:{email}",
        )


def _first(headers: Mapping[str, str], wanted: Sequence[str]) -> str | None:
    return next((headers[name] for name in wanted if name in headers), None)


def _event(kind: str, payload: object) -> ForgeEvent:
    match kind:
        case "push":
            return pushed(payload)
        case "delete":
            return _deleted(payload)
        case "pull_request":
            return _pull_request(payload)
        case _:
            return of_no_interest(kind)


def _deleted(payload: object) -> ForgeEvent:
    """No push tells of a branch that was deleted on the page."""
    prefix = TAG if inner(payload, "ref_type") == "tag" else BRANCH
    ref = moved_ref(prefix + (text(payload, "ref") or ""), None, ZEROS)
    return push_event("delete", repository_urls(payload), [ref])


def _pull_request(payload: object) -> ForgeEvent:
    action, number = text(payload, "action"), inner(payload, "number")
    repositories = repository_urls(payload)
    if action == "closed":
        return closed_event("pull_request", repositories, number)
    happened = _happened(action, payload)
    if happened is None:
        return nothing_new("pull_request", repositories, action)
    pull = inner(payload, "pull_request")
    branch, outsiders = _head_branch(pull, number)
    return pull_request_event(
        "pull_request",
        repositories,
        number=number,
        head_sha=inner(pull, "head", "sha"),
        head_branch=branch,
        base_branch=text(pull, "base", "ref"),
        ref=f"refs/pull/{number}/head",
        fork=outsiders
        or not same_id(inner(pull, "head", "repo", "id"), inner(pull, "base", "repo", "id")),
        labels=names(inner(pull, "labels")),
        draft=_is_draft(pull),
        title=title(pull, "title"),
        **happened,
    )


def _happened(action: str | None, payload: object) -> dict[str, Any] | None:
    """What of it concerns a build, as PullRequest's fields; None: nothing."""
    if action in _NEW_CODE:
        return {"opened": action == "opened"}
    if action == "label_updated":
        given = inner(payload, "changes", "added_labels")
        # Where it is not told which were given, all that there are may have been.
        all_of_it = inner(payload, "pull_request", "labels")
        labels = names(given if isinstance(given, list) else all_of_it)
        return {"labels_given": labels} if labels else None
    before = text(payload, "changes", "title", "from") or ""
    was_draft = before.upper().startswith(_WORK_IN_PROGRESS)
    if action == "edited" and was_draft and not _is_draft(inner(payload, "pull_request")):
        return {"was_draft": True}
    return None


def _is_draft(pull: object) -> bool:
    title = text(pull, "title") or ""
    return inner(pull, "draft") is True or title.upper().startswith(_WORK_IN_PROGRESS)


def _head_branch(pull: object, number: object) -> tuple[str | None, bool]:
    """The branch, and whether outsiders may have written it whatever repository is named.

    A push to `refs/for/main` makes a pull request in the repository itself, and whoever may read
    may push there: it has no branch, so its head's name is a ref. So has one whose branch is gone.
    """
    branch = text(pull, "head", "ref")
    if branch is not None and branch.startswith("refs/"):
        return text(pull, "head", "label") or f"pull/{number}", True
    return branch, False
