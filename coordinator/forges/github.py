"""GitHub's webhooks: docs.github.com/webhooks/webhook-events-and-payloads. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from coordinator.domain.pushes.deliveries import (
    BRANCH,
    ForgeEvent,
    PullRequest,
    PushedRef,
    is_ref,
    sha_of,
)
from coordinator.forges.payload import (
    ParsedDelivery,
    commit_message,
    event_name,
    inner,
    read_body,
    read_delivery_id,
    text,
    verify_hmac,
)

SIGNATURE = "X-Hub-Signature-256"
PULL_REQUEST_ACTIONS = ("opened", "synchronize", "reopened", "labeled", "ready_for_review")
MAX_LABELS = 100
"""As many as GitHub gives one."""
MAX_LABEL_CHARACTERS = 200
MAX_PULL_REQUEST_NUMBER = 10**9
_URLS = ("clone_url", "ssh_url", "git_url", "html_url")


class GitHub:
    name = "github"

    def verify(self, secret: str, headers: Mapping[str, str], body: bytes) -> bool:
        return verify_hmac(secret, headers.get(SIGNATURE), body)

    def parse(self, headers: Mapping[str, str], body: bytes) -> ParsedDelivery:
        payload = read_body(headers, body)
        kind = event_name(headers.get("X-GitHub-Event"), "unnamed")
        return ParsedDelivery(
            delivery_id=read_delivery_id(headers.get("X-GitHub-Delivery"), body),
            event=_event(kind, payload),
        )


def _event(kind: str, payload: object) -> ForgeEvent:
    match kind:
        case "ping":
            return ForgeEvent(kind=kind, ignored="a ping: the webhook works")
        case "push":
            return _push(payload)
        case "pull_request":
            return _pull_request(payload)
        case _:
            return ForgeEvent(kind=kind, ignored=f"events of type {kind} start no build")


def _push(payload: object) -> ForgeEvent:
    ref, after = text(payload, "ref"), sha_of(inner(payload, "after"))
    ignored = None
    if not is_ref(ref):
        ignored = "the event names no branch or tag"
    elif after is None and inner(payload, "deleted") is not True and not _is_zero(payload):
        ignored = "the event names no commit"
    pushed = PushedRef(ref=ref or "", before=sha_of(inner(payload, "before")), after=after)
    return ForgeEvent(
        kind="push",
        repositories=_repository_urls(inner(payload, "repository")),
        refs=() if ignored else (pushed,),
        message=commit_message(payload, "head_commit", "message"),
        ignored=ignored,
    )


def _is_zero(payload: object) -> bool:
    after = inner(payload, "after")
    return isinstance(after, str) and after != "" and not after.strip("0")


def _pull_request(payload: object) -> ForgeEvent:
    action, number = text(payload, "action"), inner(payload, "number")
    pull = inner(payload, "pull_request")
    head, base = inner(pull, "head"), inner(pull, "base")
    head_sha, head_branch, base_branch = (
        sha_of(inner(head, "sha")),
        text(head, "ref"),
        text(base, "ref"),
    )
    ignored = found = None
    if action not in PULL_REQUEST_ACTIONS:
        ignored = f"a pull request that is {event_name(action, 'unnamed')} starts no build"
    elif (
        not isinstance(number, int)
        or isinstance(number, bool)
        or not 0 < number < MAX_PULL_REQUEST_NUMBER
        or head_sha is None
        or head_branch is None
        or base_branch is None
        or not is_ref(BRANCH + head_branch)
        or not is_ref(BRANCH + base_branch)
    ):
        ignored = "the event names no pull request, commit or branch"
    else:
        found = PullRequest(
            number=number,
            head_sha=head_sha,
            head_branch=head_branch,
            base_branch=base_branch,
            fork=not _same_repository(inner(head, "repo"), inner(base, "repo")),
            labels=_labels(inner(pull, "labels")),
            draft=inner(pull, "draft") is True,
            label_given=_label(inner(payload, "label")) or "" if action == "labeled" else None,
            was_draft=action == "ready_for_review",
        )
    return ForgeEvent(
        kind="pull_request",
        repositories=_repository_urls(inner(payload, "repository")),
        pull_request=found,
        ignored=ignored,
    )


def _labels(given: object) -> tuple[str, ...]:
    found = [_label(label) for label in given[:MAX_LABELS]] if isinstance(given, list) else []
    return tuple(label for label in found if label)


def _label(given: object) -> str | None:
    name = text(given, "name")
    return None if name is None else name[:MAX_LABEL_CHARACTERS]


def _same_repository(head: object, base: object) -> bool:
    """A fork that was deleted has no repository any more."""
    one, other = inner(head, "id"), inner(base, "id")
    return isinstance(one, int) and not isinstance(one, bool) and one == other


def _repository_urls(repository: object) -> tuple[str, ...]:
    """One that is no URL at all makes the event another repository's, never ours by default."""
    urls = tuple(url[:2000] for name in _URLS if (url := text(repository, name)))
    return urls or ("(no repository)",)
