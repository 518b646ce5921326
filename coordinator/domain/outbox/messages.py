"""Messages of the outbox: one state of a build, for one recipient. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from coordinator.domain.lifecycle import BuildState
from coordinator.domain.model import Build
from coordinator.domain.steps.waits import duration

BY_THEMSELVES = ("schedule", "build")
"""Events of no push and no pull request."""
MAX_PROBLEMS = 50
"""As many annotations a check run takes at once."""


class Status(StrEnum):
    """A build's state, as it is told to others."""

    WAITING = "waiting"
    """For somebody's approval."""
    PENDING = "pending"
    RUNNING = "running"
    SUCCESS = "success"
    FAILURE = "failure"
    CANCELLED = "cancelled"

    @property
    def is_over(self) -> bool:
        return self in (Status.SUCCESS, Status.FAILURE, Status.CANCELLED)


class RecipientKind(StrEnum):
    STATUS = "status"
    """The project's forge: the status of the commit."""
    WEBHOOK = "webhook"
    EMAIL = "email"


class MessageState(StrEnum):
    WAITING = "waiting"
    """To be sent, perhaps not for the first time."""
    SENT = "sent"
    SUPERSEDED = "superseded"
    """A later state of the same context made it needless."""
    DEAD = "dead"
    """Given up; it can be sent again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is told, as it was when it happened."""

    status: Status
    words: str
    """One line: the first cause, where it failed."""
    workflow: str
    number: int
    event: str
    commit: str | None = None
    branch: str | None = None
    tag: str | None = None
    pull_request: int | None = None
    started_at: str | None = None
    finished_at: str | None = None
    """Both as RFC 3339 has it."""
    problems: Sequence[Mapping[str, Any]] | None = None
    """Of the workflow's files, those with a place: `file`, `line` and `message`."""
    step: str | None = None
    """Its name, where it is the step's state that is told."""
    gate: str | None = None
    """Name of the step that waits for an approval."""
    on: Sequence[str] | None = None
    """Of a notification that the workflow wants: occasions, and whom, by one of the next two."""
    email: str | None = None
    secret: str | None = None
    """Name of the one that holds a webhook's address."""

    def to_json(self) -> dict[str, Any]:
        return {name: value for name, value in asdict(self).items() if value is not None}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Facts:
        return cls(**{**value, "status": Status(value["status"])})

    @property
    def context(self) -> str:
        """A push and a pull request of one commit have their own, and so has what a set time
        or another project started: what fails then says nothing about the push. So has each step
        that is told."""
        of_build = f"pushrod/{self.workflow}/{self._why}"
        return of_build if self.step is None else f"{of_build}: {self.step}"

    @property
    def _why(self) -> str:
        if self.pull_request is not None:
            return "pr"
        return self.event if self.event in BY_THEMSELVES else "push"


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    id: int
    """In the order of the inserts."""
    project_id: str
    recipient_id: str
    kind: RecipientKind
    stream: str
    """Messages of one recipient and stream are in order, and only the last state counts."""
    build_id: str
    build_number: int
    facts: Mapping[str, Any]
    state: MessageState
    reason: str | None
    attempts: int
    next_try_at: datetime | None
    tried_since: datetime
    """When it was created, or last given another chance by somebody."""
    created_at: datetime
    finished_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DueMessage:
    """As much of a message as it takes to see whose turn it is."""

    id: int
    project_id: str
    recipient_id: str
    kind: RecipientKind
    stream: str

    @property
    def place(self) -> tuple[str, str]:
        return self.recipient_id, self.stream


_STATUSES = {
    BuildState.HELD: Status.WAITING,
    BuildState.QUEUED: Status.PENDING,
    BuildState.RUNNING: Status.RUNNING,
    BuildState.SUCCEEDED: Status.SUCCESS,
    BuildState.FAILED: Status.FAILURE,
    BuildState.CANCELLED: Status.CANCELLED,
}


def facts_of(build: Build) -> Facts:
    """Of its state as it stands, but for its gates."""
    status = _STATUSES[build.state]
    return facts_about(
        build,
        status,
        _words(build, status),
        started_at=instant(build.started_at),
        finished_at=instant(build.finished_at),
        problems=_placed(build) or None,
    )


def facts_about(build: Build, status: Status, words: str, **more: Any) -> Facts:
    """`more` are fields of Facts."""
    return Facts(
        status=status,
        words=words,
        workflow=build.workflow_name,
        number=build.number,
        event=build.event,
        commit=build.commit_hash,
        branch=build.branch,
        tag=build.tag,
        pull_request=build.pull_request.number if build.pull_request else None,
        **more,
    )


def _words(build: Build, status: Status) -> str:
    match status:
        case Status.WAITING:
            return "waits for a maintainer's approval" if build.of_fork else "waits to be started"
        case Status.PENDING:
            return "waits in line" if build.in_line else "queued"
        case Status.RUNNING:
            return "running"
        case Status.SUCCESS:
            return f"succeeded{took(build.started_at, build.finished_at)}"
        case _:
            said = " ".join((build.reason or status.value).split())
            return said.removeprefix("step ")


def _placed(build: Build) -> Sequence[Mapping[str, Any]]:
    return [
        {name: problem[name] for name in ("file", "line", "message")}
        for problem in build.problems
        if problem.get("file") and problem.get("line")
    ][:MAX_PROBLEMS]


def took(started_at: datetime | None, finished_at: datetime | None) -> str:
    """` in 5s`, or nothing."""
    if started_at is None or finished_at is None:
        return ""
    seconds = round((finished_at - started_at).total_seconds())
    return f" in {duration(seconds)}" if seconds > 0 else ""


def instant(when: datetime | None) -> str | None:
    return None if when is None else when.strftime("%Y-%m-%dT%H:%M:%SZ")
