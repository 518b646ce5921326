"""What specification 003's objects hold. What it lacks and we add stands after its own fields."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, Field, model_validator

from coordinator.api.http.fields import (
    AnyCaseId,
    Body,
    ClampedInt,
    Instant,
    PageQuery,
    Pagination,
    Shown,
)
from coordinator.api.steps.gates import ApprovalShown
from coordinator.domain.lifecycle import BuildState
from coordinator.forges import FORGES
from pipelines_schema.contract import StepStatus
from pipelines_schema.contract_images import BuiltImage
from pipelines_schema.read_workflow import WORKFLOW
from pipelines_schema.step_keys import STEP
from pipelines_schema.suggestions import closest

BUILD_STATUS: Mapping[BuildState, Literal["PENDING", "RUNNING", "SUCCESS", "FAILED"]] = {
    BuildState.HELD: "PENDING",
    BuildState.QUEUED: "PENDING",
    BuildState.RUNNING: "RUNNING",
    BuildState.SUCCEEDED: "SUCCESS",
    BuildState.FAILED: "FAILED",
    BuildState.CANCELLED: "FAILED",
}


RepoUrl = Annotated[
    str,
    Field(
        json_schema_extra={
            "pattern": r"^(https://|ssh://git@)[a-z0-9]+(\.[a-z]{2,10}){1,3}(/[a-z0-9]+){1,4}(\.git)?$"
        }
    ),
]
"""The common spellings; coordinator.domain.pushes.repo_url knows all."""


def _known_forge(name: str) -> str:
    if name and name not in FORGES:
        known = ", ".join(FORGES)
        raise ValueError(f"no such forge; known are {known} (gitea is Forgejo's, too)")
    return name


ForgeName = Annotated[
    str, AfterValidator(_known_forge), Field(json_schema_extra={"enum": [*FORGES, ""]})
]


ACCOUNT_KEY = "The id that the account was made with, else its UUID or slug"
MAX_ACCOUNT_CHARACTERS = 1000


class ProjectsQuery(Body):
    account_id: str = Field(description=ACCOUNT_KEY)


class ProjectCreate(Body):
    account_id: str = Field(
        min_length=1, max_length=MAX_ACCOUNT_CHARACTERS, description=ACCOUNT_KEY
    )
    name: str = Field(min_length=1, max_length=100)
    repo_url: RepoUrl | None = Field(None, description="Of a remote project: https or ssh")
    forge: ForgeName | None = Field(None, description="Default: by the repository's host")


class PushWaits(Shown):
    reason: str
    since: Instant
    tries: int


class TellsForge(Shown):
    forge: str
    url: str


class ProjectShown(Shown):
    id: str
    account_id: str = Field(
        description="As the request has it, else the id that the account was made with"
    )
    name: str
    created_at: Instant
    updated_at: Instant
    archived_at: Instant | None = None
    account: str = Field(description="The account's slug")
    account_uuid: str = Field(description="The account's, as X-Tenant-ID takes it")
    slug: str
    repo_url: str | None = None
    push_url: str
    webhook_url: str
    forge: str = Field(description="Whose webhooks it takes")
    default_branch: str | None = Field(
        None, description="Only of a project asked for by its id; none before the first push"
    )
    tells_forge: TellsForge | None = Field(
        None, description="Where its builds' statuses go; none without a token for its forge"
    )
    public_badges: bool | None = Field(
        None, description="Whether everybody sees its badges and feed"
    )
    status_per_step: bool | None = Field(
        None, description="Whether its forge is told of each step, too"
    )
    trusted: bool | None = Field(None, description="Whether its steps may be `privileged`")
    push_waits: PushWaits | None = Field(
        None, description="A push whose builds could not be made yet; it is tried again by itself"
    )


class ProjectChange(Body):
    """What is absent stays."""

    default_branch: str | None = Field(
        None, min_length=1, max_length=255, description="A pushed branch"
    )
    name: str | None = Field(
        None, min_length=1, max_length=100, description="Its slug follows; the old one still works"
    )
    repo_url: RepoUrl | Literal[""] | None = Field(
        None, description="Empty: its source is what is pushed here"
    )
    forge: ForgeName | None = Field(None, description="Empty: known by the repository's host")
    archived: bool | None = Field(
        None, strict=True, description="Whether it takes no pushes, builds and webhooks"
    )
    public_badges: bool | None = Field(
        None, strict=True, description="Whether everybody sees its badges and feed"
    )
    status_per_step: bool | None = Field(
        None, strict=True, description="Whether its forge is told of each step, too"
    )
    trusted: bool | None = Field(
        None,
        strict=True,
        description="Whether its steps may be `privileged`; by an administrator of all accounts",
    )


class ProjectMade(ProjectShown):
    webhook_secret: str = Field(description="For the forge's webhook")


class WebhookSecret(Shown):
    webhook_secret: str = Field(description="Shown once; the one before it is no longer valid")


class WorkflowStep(Body):
    """What the workflow language knows beside these, such as `timeout` or `runOn`, counts too."""

    model_config = ConfigDict(extra="allow")

    name: str = Field(min_length=1, max_length=100)
    image_slug: str = Field(min_length=1)
    depends_on: list[str]
    run_script: str = Field(min_length=1)
    cache_dirs: list[str]
    output_paths: list[str]

    def written(self) -> tuple[dict[str, Any], list[str]]:
        """The step as the language reads it, and the members that mean nothing to it."""
        extra = {name for name, value in (self.model_extra or {}).items() if value is not None}
        words = {*STEP.known, *STEP.not_built, *STEP.synonyms}
        foreign = {name for name in extra - words if closest(name, STEP.known) is None}
        left_out = foreign | (set(self.model_extra or {}) - extra)
        return self.model_dump(by_alias=True, exclude=left_out), sorted(foreign)


class WorkflowCreate(Body):
    name: str = Field(min_length=1, max_length=100)
    steps: list[WorkflowStep]

    @model_validator(mode="before")
    @classmethod
    def _of_steps_alone(cls, members: Any) -> Any:
        """Raises ValueError for what would change the meaning in a file."""
        given = {name for name, value in members.items() if value is not None}
        of_files = sorted(given & {*WORKFLOW.known} - {"name", "steps"})
        if of_files:
            raise ValueError(
                f"only a workflow in a file of the repository has {', '.join(of_files)}"
            )
        return members


class WorkflowShown(Shown):
    id: str
    project_id: str
    name: str
    created_at: Instant
    updated_at: Instant
    path: str | None = Field(None, description="Of a workflow that lives in the repository")


class BuildCreate(Body):
    workflow_id: AnyCaseId = Field(min_length=1, description="Or a workflow's name or path")
    commit_hash: str | None = Field(None, min_length=1)
    repo_url: RepoUrl | None = Field(
        None,
        min_length=1,
        description="The project's own; of a project that has none, and to which nothing was "
        "pushed, it becomes that",
    )
    branch: str | None = None
    commit_message: str | None = None
    commit_author: str | None = None
    params: dict[str, str] | None = None
    clean_build: bool = Field(
        default=False, strict=True, description="Whether its steps begin with empty caches"
    )


class CancelWanted(Body):
    steps: list[str] = Field(
        [], max_length=1000, description="Only the steps of these names; none, the whole build"
    )


class RetryWanted(Body):
    failed: bool = Field(
        default=False,
        strict=True,
        description="Only the steps that failed or were cancelled, and those that depend on them",
    )
    steps: list[str] = Field(
        [],
        max_length=1000,
        description="Only the steps of these names, and those that depend on them",
    )


class UpstreamShown(Shown):
    project: str = Field(description="Its slug, as it was then")
    workflow: str
    build_id: str
    build_number: int
    commit: str | None = None
    branch: str | None = None
    tag: str | None = None
    url: str


class BuildShown(Shown):
    id: str
    project_id: str
    workflow_id: str | None = None
    status: Literal["PENDING", "RUNNING", "SUCCESS", "FAILED"]
    commit_hash: str | None = None
    repo_url: str | None = None
    branch: str | None = None
    commit_message: str | None = None
    commit_author: str | None = None
    created_at: Instant
    started_at: Instant | None = None
    finished_at: Instant | None = None
    workflow: str
    number: int
    state: BuildState
    reason: str | None = None
    event: str
    tag: str | None = None
    params: dict[str, str] | None = None
    retry_of: str | None = None
    pinned_by: str | None = Field(
        None, description="Who wants it to be kept, whatever the limits of retention are"
    )
    logs_gone_at: Instant | None = Field(None, description="When retention deleted its logs")
    artifacts_gone_at: Instant | None = Field(
        None, description="When retention deleted its artifacts"
    )
    started_by: str | None = Field(None, description="Who asked for it, where it was no forge")
    concurrency_group: str | None = None
    waits_for: str | None = Field(
        None, description="`waiting for approval`: one of its steps asks for one"
    )
    pull_request: dict[str, Any] | None = None
    clean_build: bool | None = Field(None, description="True where steps begin with empty caches")
    module: dict[str, str] | None = Field(
        None, description="`name`, `path`, `target` and perhaps `step` of the module it builds"
    )
    includes: list[dict[str, str | None]] | None = Field(
        None,
        description="Files of other projects that the workflow took in: `project`, `ref`, `file`, "
        "and the `sha` of the commit they were read at",
    )
    upstream: UpstreamShown | None = Field(
        None, description="The build of another project whose success started it"
    )
    url: str


class GoneOutputShown(Shown):
    path: str = Field(description="As its `outputPaths` has it")
    kept_seconds: int = Field(description="How long it was to stay: its `keep`")
    gone_at: Instant


class StepShown(Shown):
    id: str
    name: str
    status: StepStatus
    depends_on: list[str]
    matrix_of: str | None = Field(
        None, description="The step in the workflow that it is a combination of"
    )
    part_of: str | None = Field(
        None, description="The step for whose image it builds the part of one platform"
    )
    attempt: int | None = None
    exit_code: int | None = None
    reason: str | None = None
    message: str | None = None
    agent: str | None = Field(None, description="The name of the agent that has it, or had it")
    waits_for: str | None = None
    retry_at: Instant | None = Field(
        None, description="When it is queued for its next attempt, while it waits for that"
    )
    images: list[BuiltImage] | None = Field(
        None, description="What a step that builds an image pushed, one for each tag"
    )
    outputs: dict[str, str] | None = Field(
        None, description="What its script wrote to `$PUSHROD_OUTPUT`"
    )
    gone_outputs: list[GoneOutputShown] | None = Field(
        None, description="What was deleted of its artifacts because their `keep` was over"
    )
    reports: bool | None = Field(
        None, description="Whether it reports tests, coverage or a summary: see `…/results`"
    )
    inputs: bool | None = Field(None, description="Whether it has `inputs`: see `…/why`")
    concurrency_group: str | None = None
    approval: ApprovalShown | None = Field(None, description="Of a step with `approve`")
    started_at: Instant | None = None
    finished_at: Instant | None = None


class BuildLinks(Shown):
    commit: str | None = None
    branch: str | None = None
    tag: str | None = None
    pull_request: str | None = None
    author: str | None = None


class BuildDetails(BuildShown):
    version: int = Field(description="+1 with each change of the build or of a step of it")
    steps: list[StepShown]
    problems: list[dict[str, Any]] | None = Field(
        None, description="Each mistake of the workflow, with file, line and column"
    )
    links: BuildLinks | None = Field(
        None, description="Where the project's forge shows what was built; absent without a forge"
    )


class BuildQuery(Body):
    wait: ClampedInt = Field(0, description="Hold the answer up to so many seconds, at most 50")
    seen: ClampedInt = Field(-1, description="The version that the caller has")


class BuildPage(Shown):
    builds: list[BuildShown]
    pagination: Pagination


class AuditQuery(PageQuery):
    limit: ClampedInt = Field(100, description="Maximum number to return, 1 to 100")
    project_id: AnyCaseId | None = None
    action: str | None = None


class AuditEntryShown(Shown):
    id: str
    project_id: str | None = None
    action: str
    details: dict[str, Any]
    created_at: Instant


class AuditPage(Shown):
    audit_logs: list[AuditEntryShown]
    pagination: Pagination
