"""The coordinator's nouns, as frozen values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from coordinator.domain.gate_answer import GateAnswer
from coordinator.domain.lifecycle import BuildState, StepState
from coordinator.domain.step_definition import StepDefinition
from coordinator.domain.upstream import Upstream
from pipelines_schema import Notify, PinnedInclude
from pipelines_schema import Step as WorkflowStep


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    id: str
    slug: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    id: str
    account_id: str
    account_slug: str
    name: str
    slug: str
    repo_url: str | None
    build_count: int
    created_at: datetime
    updated_at: datetime
    archived_at: datetime | None = None
    """It takes no pushes, builds and webhooks since then."""
    webhook_secret_number: int = 0
    """How often it got a new secret."""
    tells: bool = False
    """There is somebody outside who is told of its builds."""
    forge: str | None = None
    """The kind of its forge, where somebody said so; else its repository's host tells."""
    public_badges: bool = False
    """Everybody sees its badges and its feed of builds."""
    status_per_step: bool = False
    """Its forge is told of each step, too."""
    starts_others: bool = False
    """Workflows of other projects are started by its builds."""
    trusted: bool = False
    """An administrator lets its steps be `privileged`."""


class WorkflowSource(StrEnum):
    API = "api"
    REPOSITORY = "repository"


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkflowRecord:
    id: str
    project_id: str
    name: str
    source: WorkflowSource
    path: str | None
    """The file in the repository; None for one made over the API."""
    definition: Mapping[str, Any] | None
    """As `pipelines_schema.to_json` wrote it; None for one that lives in the repository."""
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ModuleFile:
    """What is known of a project's file of modules."""

    project_id: str
    branch: str | None
    """The default branch; None where there is none yet."""
    commit_hash: str | None
    """Its tip, at which the file was read."""
    problems: Sequence[Mapping[str, Any]] = ()
    """The file's mistakes: with any of them, the project has no modules."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    id: str
    account_id: str
    slug: str
    image_url: str
    public: bool
    """Listed to everybody."""
    shared: bool
    """An administrator made it public: every account's steps may name its slug."""
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class PullRequestRef:
    """Of which pull request a build is."""

    number: int
    head: str
    """The branch that is to be merged."""
    base: str
    """The branch to be merged into."""
    fork: bool
    """Outsiders wrote the code."""
    labels: Sequence[str] = ()
    """As they were when the build was made."""
    draft: bool = False
    title: str | None = None
    """What its author called it; None where the forge did not say."""

    def to_json(self) -> dict[str, Any]:
        return {name: value for name, value in asdict(self).items() if value is not None}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> PullRequestRef:
        """What isn't clearly no fork counts as one."""
        return cls(
            number=value["number"],
            head=value["head"],
            base=value["base"],
            fork=value["fork"] is not False,
            labels=tuple(value.get("labels", ())),
            draft=value.get("draft", False),
            title=value.get("title"),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ModuleRef:
    """Which module a build was asked for."""

    name: str
    path: str
    target: str
    step: str | None = None
    """The target's step, where it is one."""

    def to_json(self) -> dict[str, str]:
        return {name: value for name, value in asdict(self).items() if value is not None}

    @classmethod
    def from_json(cls, value: Mapping[str, str]) -> ModuleRef:
        return cls(**value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Build:
    id: str
    project_id: str
    account_id: str
    workflow_id: str | None
    workflow_name: str
    number: int
    state: BuildState
    event: str
    version: int
    """+1 with each change of the build or a step of it."""
    open_steps: int = 0
    """How many of its steps have not ended; counted down, as a step's `waits`."""
    reason: str | None = None
    problems: Sequence[Mapping[str, Any]] = ()
    commit_hash: str | None = None
    repo_url: str | None = None
    branch: str | None = None
    commit_message: str | None = None
    commit_author: str | None = None
    tag: str | None = None
    params: Mapping[str, str] | None = None
    """Of the workflow's `on.manual.params`; None where it has none."""
    retry_of: str | None = None
    pull_request: PullRequestRef | None = None
    module: ModuleRef | None = None
    """None where it was not asked for one."""
    clean: bool = False
    """Its steps begin with empty caches."""
    includes: Sequence[PinnedInclude] = ()
    """The files that its workflow took from other projects."""
    outside: bool = False
    """Its commit was on no branch of the project, and of no pull request that we know of."""
    started_by: str | None = None
    """The name of who asked for it; None where a forge did."""
    concurrency_group: str | None = None
    """Of the project's builds of one group one is on its way; None: in no group."""
    cancel_running: bool = False
    """It cancels the build that is on its way in its group."""
    in_line: bool = False
    """It waits for the build that is on its way in its group; none of its steps is ready."""
    fail_fast: bool = False
    """Its first failed step ends the others."""
    timeout_seconds: int | None = None
    """From the start of its first step."""
    deadline: datetime | None = None
    """When its timeout is over; None while no step has begun, and while its clock stands still."""
    open_gates: int = 0
    """How many of its steps wait for somebody's approval; its clock stands still meanwhile."""
    timeout_left: float | None = None
    """In seconds: what was left when the clock was stopped."""
    fails_as: str | None = None
    """It has ended steps of its own accord, for this reason: so it fails, though steps of it were
    cancelled."""
    has_outputs: bool = False
    """A step of it has handed on values."""
    tells: bool = False
    """Its states are told to others, as its project or workflow wanted when it was made."""
    starts_others: bool = False
    """Workflows of other projects waited for its success when it was made."""
    upstream: Upstream | None = None
    """What started it, where another build did."""
    trusted_ref: str | None = None
    """The full name of the branch or tag that had its commit when it was made, as the project's own
    repository says. None: of none that is known, as a pull request's. What somebody merely calls
    it is `branch`."""
    notify: Sequence[Notify] = ()
    """Whom its workflow names; nobody, where outsiders wrote it."""
    created_at: datetime
    updated_at: datetime
    """When the version was counted up last."""
    started_at: datetime | None = None
    finished_at: datetime | None = None
    pinned_by: str | None = None
    """Whom it owes that no limit of retention reaches it."""
    logs_gone_at: datetime | None = None
    """Its logs were deleted then, and it stayed."""
    artifacts_gone_at: datetime | None = None
    """Its artifacts were deleted then, and it stayed."""

    @property
    def of_fork(self) -> bool:
        """Whether outsiders wrote the code: no secrets, caches of its own, held for approval."""
        return self.outside or (self.pull_request is not None and self.pull_request.fork)


@dataclass(frozen=True, slots=True, kw_only=True)
class GoneOutput:
    """What a step left below a path that said how long it stays, and which is over."""

    path: str
    seconds: int
    """How long it was to stay."""
    gone_at: datetime

    def to_json(self) -> dict[str, Any]:
        return {"path": self.path, "seconds": self.seconds, "goneAt": self.gone_at.isoformat()}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> GoneOutput:
        gone_at = datetime.fromisoformat(value["goneAt"])
        return cls(path=value["path"], seconds=value["seconds"], gone_at=gone_at)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    id: str
    build_id: str
    project_id: str
    account_id: str
    position: int
    name: str
    state: StepState
    definition: StepDefinition
    depends_on: Sequence[str]
    """Names of steps of the same build. This and `labels` are the definition's, once more, where
    queries see them."""
    dependants: Sequence[int] = ()
    """Positions of the steps that depend on it: `depends_on`, the other way round."""
    waits: int = 0
    """How many of `depends_on` have not ended: counted down, so that no end of a step makes
    anybody read the whole build."""
    labels: Mapping[str, str]
    epoch: int
    attempt: int
    lost_count: int
    """How many attempts were lost with their agent."""
    needs: Sequence[str] = ()
    """Capabilities that an agent's engine must have."""
    holder: str | None
    """Who holds the current hand-out: `agent:<id>` or `token:<id>`."""
    lease_seconds: float | None
    cancel_requested_by: str | None = None
    exit_code: int | None = None
    reason: str | None = None
    message: str | None = None
    images: Sequence[Mapping[str, str]] | None = None
    """What it pushed: `reference` and `digest` of each; None where it builds no image."""
    concurrency_group: str | None = None
    ready_at: datetime | None = None
    queue_until: datetime | None = None
    """If it is ready: until when it waits for an agent; of a gate that waits, for an answer."""
    answer: GateAnswer | None = None
    """Of a gate: what somebody said."""
    gone_outputs: Sequence[GoneOutput] = ()
    started_at: datetime | None = None
    finished_at: datetime | None = None

    @property
    def written(self) -> WorkflowStep:
        return self.definition.written

    @property
    def attempt_id(self) -> str:
        return attempt_id(self.id, self.epoch)


def attempt_id(step_id: str, epoch: int) -> str:
    return f"{step_id}-{epoch}"


TAKEN_OVER_EPOCH = 1
"""Of a step whose attempt, with its outputs, is that of another build's."""


class AttemptState(StrEnum):
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    LOST = "lost"


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    step_id: str
    epoch: int
    number: int
    state: AttemptState
    holder: str
    exit_code: int | None
    reason: str | None
    log_bytes: int | None
    log_sha256: str | None
    started_at: datetime
    finished_at: datetime | None
    given_with: str | None = None
    """The attempt with whose completion it was handed over; None where it was offered."""
    log_of: str | None = None
    """Id of the attempt that it was taken over from, whose log is its own."""

    @property
    def id(self) -> str:
        return attempt_id(self.step_id, self.epoch)

    @property
    def log_id(self) -> str:
        return self.log_of or self.id


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    step_id: str
    epoch: int
    name: str
    size: int
    sha256: str
    mode: int
    modified: int | None = None
    """Seconds since 1970, where its agent told it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputEntry:
    """A link or a folder among an attempt's outputs."""

    step_id: str
    epoch: int
    name: str
    target: str | None
    """Of a link; None for a folder."""
    mode: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentRecord:
    id: str
    account_id: str | None
    """None: an agent of all accounts."""
    name: str
    labels: Mapping[str, str]
    slots: int
    created_at: datetime
    last_seen_at: datetime
    paused: bool = False
    """It takes no new steps."""
    drained: bool = False
    """It is paused, and each of its processes is told to end once what it runs is over."""
    removed_at: datetime | None = None
    home: str | None = None
    """The coordinator that it is at, of several: who gives its hand-outs their terms."""
