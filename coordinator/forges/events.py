"""From the fields that a forge's event has to what it means: checked, or ignored in words. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from coordinator.domain.pushes.deliveries import (
    BRANCH,
    MAX_REFS,
    ForgeEvent,
    PullRequest,
    PushedRef,
    is_ref,
    sha_of,
)
from coordinator.forges.payload import event_name, text

MAX_LABELS = 100
MAX_LABEL_CHARACTERS = 200
MAX_PULL_REQUEST_NUMBER = 10**9
MAX_URL_CHARACTERS = 2000
ZEROS = "0" * 40
NO_REPOSITORY = "(no repository)"
"""What names none is another repository's, never ours by default."""
_ABBREVIATED = re.compile(r"[0-9a-f]{7,40}", re.ASCII)


def ping(kind: str) -> ForgeEvent:
    return ForgeEvent(kind=kind, ignored="a ping: the webhook works")


def of_no_interest(kind: str) -> ForgeEvent:
    return ForgeEvent(kind=kind, ignored=f"events of type {kind} start no build")


def moved_ref(ref: object, before: object, after: object) -> PushedRef | None:
    """None for what names no branch or tag, or no commit; an `after` of zeros: it was deleted."""
    deleted = isinstance(after, str) and after != "" and not after.strip("0")
    if not isinstance(ref, str) or not is_ref(ref) or not (deleted or sha_of(after)):
        return None
    return PushedRef(ref=ref, before=sha_of(before), after=sha_of(after))


def push_event(
    kind: str,
    repositories: Sequence[str],
    refs: Sequence[PushedRef | None],
    *,
    message: str | None = None,
) -> ForgeEvent:
    """`refs` as `moved_ref` gave them; `message`: of the commit, where it is one push."""
    named = [ref for ref in refs if ref is not None]
    moved = [ref for ref in named if ref.after is None or ref.before != ref.after]
    ignored = None
    if len(refs) > MAX_REFS:
        ignored, moved = f"{len(refs)} refs in one event: at most {MAX_REFS} are built", []
    elif not named:
        ignored = "the event names no branch or tag that has moved, or no commit"
    elif not moved:
        ignored = "a test: the webhook works, and no branch or tag has moved"
    return ForgeEvent(
        kind=kind, repositories=repositories, refs=tuple(moved), message=message, ignored=ignored
    )


def pull_request_event(
    kind: str,
    repositories: Sequence[str],
    *,
    number: object,
    head_sha: object,
    head_branch: str | None,
    base_branch: str | None,
    ref: str,
    **more: Any,
) -> ForgeEvent:
    """Of one that may have something to build; `ref` has its head, `more` is PullRequest's.

    The head's id may be abbreviated: it is what the ref begins with then.
    """
    checked = whole_number(number)
    branches = [BRANCH + (name or "") for name in (head_branch, base_branch)]
    ignored = found = None
    if (
        checked is None
        or not isinstance(head_sha, str)
        or not _ABBREVIATED.fullmatch(head_sha)
        or not head_sha.strip("0")
        or not all(is_ref(name) for name in branches)
    ):
        ignored = "the event names no pull request, commit or branch"
    else:
        found = PullRequest(
            number=checked,
            head_sha=head_sha,
            head_branch=head_branch or "",
            base_branch=base_branch or "",
            ref=ref,
            **more,
        )
    return ForgeEvent(kind=kind, repositories=repositories, pull_request=found, ignored=ignored)


def closed_event(kind: str, repositories: Sequence[str], number: object) -> ForgeEvent:
    """Of a pull request that was merged or declined."""
    checked = whole_number(number)
    ignored = "the event names no pull request" if checked is None else None
    return ForgeEvent(kind=kind, repositories=repositories, closed=checked, ignored=ignored)


def nothing_new(kind: str, repositories: Sequence[str], what: str | None) -> ForgeEvent:
    """Of a pull request to which something else happened."""
    words = f"a pull request that is {event_name(what, 'unnamed')} starts no build"
    return ForgeEvent(kind=kind, repositories=repositories, ignored=words)


def whole_number(value: object) -> int | None:
    """The number of a pull request, or an id."""
    if not isinstance(value, int) or isinstance(value, bool):
        return None
    return value if 0 < value < MAX_PULL_REQUEST_NUMBER else None


def same_id(one: object, other: object) -> bool:
    """Whether both are the id of one and the same; of a fork that is gone there is none."""
    kind = type(one)
    return kind in (int, str) and one != "" and kind is type(other) and one == other


def names(given: object, field: str = "name") -> tuple[str, ...]:
    """Of labels, as texts of some length."""
    found = [text(one, field) for one in given[:MAX_LABELS]] if isinstance(given, list) else []
    return tuple(name[:MAX_LABEL_CHARACTERS] for name in found if name)


def urls(*given: str | None) -> tuple[str, ...]:
    return tuple(url[:MAX_URL_CHARACTERS] for url in given if url) or (NO_REPOSITORY,)
