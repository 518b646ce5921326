"""Deliveries: what a forge said, and what is to be done about it. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from coordinator.domain.pushes.repo_url import same_repository
from pipelines_schema import PullRequestFacts, asks_to_skip

BRANCH = "refs/heads/"
HEADS = "refs/heads/"
TAG = "refs/tags/"
MAX_REFS = 100
"""Of one delivery: a mirror that pushes thousands of refs would queue as many builds."""
MAX_REF_BYTES = 400
MAX_RETRY_SECONDS = 300.0
MAX_REASON_CHARACTERS = 1000
SKIPPED = "the commit's message says [skip ci]"
_SHA = re.compile(r"[0-9a-f]{40}", re.ASCII)
_FORBIDDEN_IN_REF = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|/\.|\.lock(?:/|$)|[./]$")


class DeliveryState(StrEnum):
    RECEIVED = "received"
    """In the inbox; to be processed, perhaps not for the first time."""
    PROCESSED = "processed"
    IGNORED = "ignored"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class PushedRef:
    ref: str
    before: str | None
    """None: the ref is new, or the forge does not say."""
    after: str | None
    """None: the ref was deleted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PullRequest:
    number: int
    head_sha: str
    """Where a forge abbreviates it: what the id begins with."""
    head_branch: str
    base_branch: str
    ref: str
    """Under which its head is fetched."""
    fork: bool
    """Also where the forge does not say clearly that it is not one."""
    source_url: str | None = None
    """The fork's repository, of a forge that keeps no ref of a fork's head in the project's."""
    labels: Sequence[str] = ()
    draft: bool = False
    labels_given: Sequence[str] | None = None
    """What happened is that it was given these labels."""
    was_draft: bool = False
    """What happened is that it is no draft any more."""
    perhaps_pushed: bool = False
    """The forge does not say what happened: it was pushed to if its head has no build yet."""
    opened: bool = False
    """What happened is that it was made."""
    title: str | None = None
    """One line, of outsiders."""

    @property
    def facts(self) -> PullRequestFacts:
        return PullRequestFacts(
            base_branch=self.base_branch,
            labels=self.labels,
            draft=self.draft,
            labels_given=self.labels_given,
            was_draft=self.was_draft,
        )

    @property
    def has_new_code(self) -> bool:
        """Whether what happened may have brought a commit that was not there before."""
        return self.labels_given is None and not self.was_draft


@dataclass(frozen=True, slots=True, kw_only=True)
class ForgeEvent:
    """One webhook as understood, in the words of no forge."""

    kind: str
    repositories: Sequence[str] = ()
    """The repository's URLs as the forge gives them; any may be the project's."""
    refs: Sequence[PushedRef] = ()
    pull_request: PullRequest | None = None
    closed: int | None = None
    """The pull request that was merged or declined."""
    message: str | None = None
    """The commit's, where the forge gives it: it may ask for no build."""
    ignored: str | None = None
    """Why nothing is to be done, whatever the project."""
    note: str | None = None
    """What people should know of the webhook besides."""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> ForgeEvent:
        pull = value["pull_request"]
        return cls(
            kind=value["kind"],
            repositories=tuple(value["repositories"]),
            refs=tuple(PushedRef(**ref) for ref in value["refs"]),
            pull_request=_pull_request(pull) if pull else None,
            closed=value.get("closed"),
            message=value.get("message"),
            ignored=value["ignored"],
            note=value.get("note"),
        )


def _pull_request(value: Mapping[str, Any]) -> PullRequest:
    """Deliveries of earlier versions are GitHub's, and may have neither labels nor drafts."""
    fields = {"ref": f"refs/pull/{value['number']}/head", **value}
    label, given = fields.pop("label_given", None), fields.get("labels_given")
    if given is None and label is not None:
        given = (label,)
    fields["labels_given"] = None if given is None else tuple(given)
    return PullRequest(**{**fields, "labels": tuple(value.get("labels", ()))})


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One webhook received, and what became of it."""

    id: str
    project_id: str
    account_id: str
    delivery_id: str
    """As the forge numbers it; unique within the project."""
    forge: str
    event: str
    state: DeliveryState
    reason: str | None = None
    payload: Mapping[str, Any]
    """A ForgeEvent's JSON: what the body said, not the body."""
    builds: Sequence[Mapping[str, Any]] = ()
    """Id and number of each build it made."""
    attempts: int = 0
    next_try_at: datetime | None = None
    received_at: datetime
    finished_at: datetime | None = None


def sha_of(value: object) -> str | None:
    """A full commit id; None for anything else and for the zeros that stand for no commit."""
    if not isinstance(value, str) or not _SHA.fullmatch(value) or not value.strip("0"):
        return None
    return value


def is_ref(name: object) -> bool:
    """Whether this is the full name of a branch or tag, as git-check-ref-format(1) has it."""
    if not isinstance(name, str) or not name.startswith((BRANCH, TAG)):
        return False
    try:
        encoded = name.encode()
    except UnicodeEncodeError:
        return False
    short = name.split("/", 2)[2]
    return (
        len(short) > 0
        and len(encoded) <= MAX_REF_BYTES
        and not short.startswith(("-", ".", "/"))
        and "\ufffd" not in name
        and not _FORBIDDEN_IN_REF.search(name)
    )


def reason_to_ignore(event: ForgeEvent, repo_url: str | None) -> str | None:
    """Why an event is not for a project with that URL, or None."""
    if event.ignored is not None:
        return event.ignored
    if asks_to_skip(event.message or "") and not _has_tag(event):
        return SKIPPED
    if repo_url is None:
        return "the project has no repoUrl to fetch from: push to its pushUrl instead"
    if event.repositories and not any(same_repository(u, repo_url) for u in event.repositories):
        return f"another repository: the event is of {event.repositories[0][:200]}"
    if event.pull_request is not None or event.closed is not None:
        return None
    if all(ref.after is None for ref in event.refs):
        names = ", ".join(short_name(ref.ref) for ref in event.refs[:5])
        return f"{names} was deleted: nothing to build"
    return None


def with_note(reason: str | None, note: str | None) -> str | None:
    """What is told of a delivery."""
    return "; ".join(part for part in (reason, note) if part)[:MAX_REASON_CHARACTERS] or None


def _has_tag(event: ForgeEvent) -> bool:
    """Tags are built whatever their commit's message asks for."""
    return any(ref.ref.startswith(TAG) and ref.after is not None for ref in event.refs)


def short_name(ref: str) -> str:
    return ref.removeprefix(BRANCH).removeprefix(TAG)


def retry_delay(attempts: int, first_seconds: float) -> timedelta:
    """Before the next try, after `attempts` that failed: doubling, at most five minutes."""
    return timedelta(seconds=min(first_seconds * 2.0 ** min(attempts - 1, 20), MAX_RETRY_SECONDS))
