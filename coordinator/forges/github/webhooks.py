"""GitHub's webhooks, also of GitHub Enterprise Server, whose addresses are of any host. Pure.

docs.github.com/webhooks/webhook-events-and-payloads.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from coordinator.domain.pushes.deliveries import ForgeEvent
from coordinator.forges.events import (
    ZEROS,
    closed_event,
    moved_ref,
    names,
    nothing_new,
    of_no_interest,
    ping,
    pull_request_event,
    push_event,
    same_id,
    urls,
)
from coordinator.forges.github.api import GitHubApi
from coordinator.forges.links import RepositoryPage
from coordinator.forges.payload import (
    ParsedDelivery,
    commit_message,
    event_name,
    inner,
    read_body,
    read_delivery_id,
    text,
    title,
    verify_hmac,
)

EVENT = "X-GitHub-Event"
_NEW = ("opened", "synchronize", "reopened", "labeled", "ready_for_review")
_URLS = ("clone_url", "ssh_url", "git_url", "html_url")


class GitHub:
    name = "github"
    title = "GitHub"
    apis = (GitHubApi(),)

    def recognises(self, headers: Mapping[str, str]) -> bool:
        return EVENT in headers

    def verify(self, secret: str, headers: Mapping[str, str], body: bytes) -> bool:
        return verify_hmac(secret, headers.get("X-Hub-Signature-256"), body)

    def parse(self, headers: Mapping[str, str], body: bytes) -> ParsedDelivery:
        payload = read_body(headers, body)
        kind = event_name(headers.get(EVENT), "unnamed")
        return ParsedDelivery(
            delivery_id=read_delivery_id(headers.get("X-GitHub-Delivery"), body),
            event=_event(kind, payload),
        )

    def page(self, address: str) -> RepositoryPage:
        return RepositoryPage(
            address=address,
            commit="/commit/{commit}",
            branch="/tree/{branch}",
            tag="/releases/tag/{tag}",
            pull_request="/pull/{pull}",
            author="/commits?author={email}",
        )


def _event(kind: str, payload: object) -> ForgeEvent:
    match kind:
        case "ping":
            return ping(kind)
        case "push":
            return pushed(payload)
        case "pull_request":
            return _pull_request(payload)
        case _:
            return of_no_interest(kind)


def pushed(payload: object) -> ForgeEvent:
    after = ZEROS if inner(payload, "deleted") is True else inner(payload, "after")
    return push_event(
        "push",
        repository_urls(payload),
        [moved_ref(text(payload, "ref"), inner(payload, "before"), after)],
        message=commit_message(payload, "head_commit", "message"),
    )


def _pull_request(payload: object) -> ForgeEvent:
    action, pull = text(payload, "action"), inner(payload, "pull_request")
    repositories, number = repository_urls(payload), inner(payload, "number")
    if action == "closed":
        return closed_event("pull_request", repositories, number)
    if action not in _NEW:
        return nothing_new("pull_request", repositories, action)
    return pull_request_event(
        "pull_request",
        repositories,
        number=number,
        head_sha=inner(pull, "head", "sha"),
        head_branch=text(pull, "head", "ref"),
        base_branch=text(pull, "base", "ref"),
        ref=f"refs/pull/{number}/head",
        fork=not same_id(inner(pull, "head", "repo", "id"), inner(pull, "base", "repo", "id")),
        labels=names(inner(pull, "labels")),
        draft=inner(pull, "draft") is True,
        labels_given=names([inner(payload, "label")]) if action == "labeled" else None,
        was_draft=action == "ready_for_review",
        opened=action == "opened",
        title=title(pull, "title"),
    )


def repository_urls(payload: object) -> Sequence[str]:
    return urls(*(text(payload, "repository", name) for name in _URLS))
