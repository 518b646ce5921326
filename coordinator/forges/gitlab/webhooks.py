"""GitLab's webhooks: docs.gitlab.com/user/project/integrations/webhook_events. Pure."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from typing import Any

from coordinator.domain.pushes.deliveries import ForgeEvent
from coordinator.forges.events import (
    closed_event,
    moved_ref,
    names,
    nothing_new,
    of_no_interest,
    pull_request_event,
    push_event,
    same_id,
    urls,
)
from coordinator.forges.gitlab.api import GitLabApi
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
)

_URLS = ("git_http_url", "git_ssh_url", "web_url", "http_url", "ssh_url", "homepage")


class GitLab:
    name = "gitlab"
    title = "GitLab"
    apis = (GitLabApi(),)

    def recognises(self, headers: Mapping[str, str]) -> bool:
        return "X-Gitlab-Event" in headers

    def verify(self, secret: str, headers: Mapping[str, str], body: bytes) -> bool:
        """GitLab sends the secret itself, over TLS, and signs nothing."""
        given = headers.get("X-Gitlab-Token", "").encode("utf-8", "surrogateescape")
        return hmac.compare_digest(secret.encode(), given)

    def parse(self, headers: Mapping[str, str], body: bytes) -> ParsedDelivery:
        payload = read_body(headers, body)
        kind = event_name(text(payload, "object_kind") or headers.get("X-Gitlab-Event"), "unnamed")
        return ParsedDelivery(
            delivery_id=read_delivery_id(_delivery(headers, body), body),
            event=_event(kind, payload),
        )

    def page(self, address: str) -> RepositoryPage:
        return RepositoryPage(
            address=address,
            commit="/-/commit/{commit}",
            branch="/-/tree/{branch}",
            tag="/-/tags/{tag}",
            pull_request="/-/merge_requests/{pull}",
            author="/-/commits/HEAD?author={email}",
        )


def _delivery(headers: Mapping[str, str], body: bytes) -> str | None:
    """Before there was a key, several webhooks of one push had the same id."""
    if key := headers.get("Idempotency-Key"):
        return key
    shared = headers.get("X-Gitlab-Event-UUID")
    return f"{shared}:{hashlib.sha256(body).hexdigest()[:32]}" if shared else None


def _event(kind: str, payload: object) -> ForgeEvent:
    match kind:
        case "push" | "tag_push":
            return _push(kind, payload)
        case "merge_request":
            return _merge_request(payload)
        case _:
            return of_no_interest(kind)


def _push(kind: str, payload: object) -> ForgeEvent:
    after, commits = inner(payload, "after"), inner(payload, "commits")
    commits = commits if isinstance(commits, list) else []
    newest = [one for one in commits if inner(one, "id") == after]
    return push_event(
        kind,
        _repository_urls(payload),
        [moved_ref(text(payload, "ref"), inner(payload, "before"), after)],
        message=commit_message(newest[0], "message") if newest else None,
    )


def _merge_request(payload: object) -> ForgeEvent:
    kind, merge = "merge_request", inner(payload, "object_attributes")
    action, number = text(merge, "action"), inner(merge, "iid")
    repositories = _repository_urls(payload)
    if action in ("close", "merge"):
        return closed_event(kind, repositories, number)
    happened = _happened(action, payload)
    if happened is None:
        return nothing_new(kind, repositories, "updated" if action == "update" else action)
    return pull_request_event(
        kind,
        repositories,
        number=number,
        head_sha=inner(merge, "last_commit", "id"),
        head_branch=text(merge, "source_branch"),
        base_branch=text(merge, "target_branch"),
        ref=f"refs/merge-requests/{number}/head",
        fork=not same_id(inner(merge, "source_project_id"), inner(merge, "target_project_id")),
        labels=names(inner(payload, "labels"), "title"),
        draft=inner(merge, "draft") is True or inner(merge, "work_in_progress") is True,
        title=title(merge, "title"),
        **happened,
    )


def _happened(action: str | None, payload: object) -> dict[str, Any] | None:
    """What of it concerns a build, as PullRequest's fields; None: nothing."""
    if action in ("open", "reopen"):
        return {"opened": action == "open"}
    if action != "update":
        return None
    if text(payload, "object_attributes", "oldrev"):  # only where commits were pushed
        return {}
    changes = inner(payload, "changes")
    if any(
        inner(changes, flag, "previous") is True and inner(changes, flag, "current") is False
        for flag in ("draft", "work_in_progress")
    ):
        return {"was_draft": True}
    before = names(inner(changes, "labels", "previous"), "title")
    now = names(inner(changes, "labels", "current"), "title")
    new = tuple(label for label in now if label not in before)
    return {"labels_given": new} if new else None


def _repository_urls(payload: object) -> Sequence[str]:
    """Of the project that has the webhook, which is the one to be merged into."""
    return urls(*(text(payload, "project", name) for name in _URLS))
