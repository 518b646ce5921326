"""What specification 001's objects hold. What it lacks and we add stands after its own fields."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field

from coordinator.api.http.api_model import ApiModel
from coordinator.api.http.fields import AnyCaseId, Instant
from coordinator.domain.lifecycle import BuildState
from coordinator.domain.logs.build_log import Level
from coordinator.domain.people.permissions import BuildPermission
from coordinator.git.branch_names import HEADS, is_branch_name

MAX_LIMIT = 100
MAX_LINES = 1000
MAX_PAGE = 10**9


class Status(StrEnum):
    QUEUED = "queued"
    IN_PROGRESS = "in_progress"
    SUCCESS = "success"
    FAILED = "failed"
    CANCELLED = "cancelled"


STATUS: Mapping[BuildState, Status] = {
    BuildState.HELD: Status.QUEUED,
    BuildState.QUEUED: Status.QUEUED,
    BuildState.RUNNING: Status.IN_PROGRESS,
    BuildState.SUCCEEDED: Status.SUCCESS,
    BuildState.FAILED: Status.FAILED,
    BuildState.CANCELLED: Status.CANCELLED,
}
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII)


def read_uuid(text: object) -> str:
    """In lower case; only as `xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx`. Raises ValueError."""
    if not isinstance(text, str) or not _UUID.fullmatch(text.lower()):
        raise ValueError("write a UUID: xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx")
    return text.lower()


def _branch(name: str) -> str:
    short = name.removeprefix(HEADS)
    if not is_branch_name(short):
        raise ValueError(f"git takes no branch of the name {name[:100]!r}")
    return short


Uuid = Annotated[str, BeforeValidator(read_uuid), Field(json_schema_extra={"format": "uuid"})]


class Given(ApiModel):
    """What is sent; unknown members are refused."""

    model_config = ConfigDict(extra="forbid")


class LoginRequest(Given):
    email: str = Field(min_length=1, max_length=1000)
    password: str = Field(min_length=1, max_length=10_000)


class Tenant(ApiModel):
    id: str
    slug: str
    name: str
    role: str
    permissions: list[BuildPermission]


class UserOfLogin(ApiModel):
    id: str
    email: str
    administrator: bool


class LoginAnswer(ApiModel):
    token: str = Field(description="For `Authorization: Bearer TOKEN`")
    access_token: str = Field(description="The same token, by the name that OAuth 2 gives it")
    token_type: Literal["Bearer"] = "Bearer"  # noqa: S105
    expires_at: Instant
    expires_in: int = Field(description="Seconds")
    user: UserOfLogin
    tenants: list[Tenant] = Field(description="What X-Tenant-ID may be")


class BuildCreate(Given):
    project_id: Uuid
    git_branch: Annotated[str, AfterValidator(_branch)] = Field(min_length=1, max_length=255)
    git_commit: str | None = Field(
        None,
        min_length=7,
        max_length=40,
        pattern="^[0-9a-fA-F]{7,40}$",
        description="A commit of the repository; default: the branch's tip",
    )
    workflow: AnyCaseId | None = Field(
        None,
        min_length=1,
        max_length=1000,
        description="Name, id or path; default: the project's only one, ci, default, or the "
        "first by name",
    )
    params: dict[str, str] | None = Field(None, description="Of the workflow's `on.manual`")


class BuildShown(ApiModel):
    id: str
    project_id: str
    build_number: int
    git_branch: str | None = None
    git_commit: str | None = None
    status: Status
    created_at: Instant
    updated_at: Instant
    started_at: Instant | None = None
    completed_at: Instant | None = None
    retry_of: str | None = Field(None, description="The build that this one repeats")
    workflow: str
    workflow_id: str | None = None
    git_tag: str | None = None
    reason: str | None = Field(None, description="Why it is as it is, in words")
    url: str = Field(description="Its page")


class Progress(ApiModel):
    current_step: int = Field(description="Steps that have run to their end")
    total_steps: int
    percentage: int = Field(ge=0, le=100)


class StatusShown(ApiModel):
    build_id: str
    status: Status
    progress: Progress
    started_at: Instant | None = None
    completed_at: Instant | None = None
    estimated_completion: Instant | None = Field(
        None, description="From what the workflow's steps took before; left out without history"
    )
    waits_for: str | None = Field(None, description="Why no step runs yet")


class SortBy(StrEnum):
    CREATED_AT = "created_at"
    UPDATED_AT = "updated_at"
    BUILD_NUMBER = "build_number"


def _whole(text: object) -> object:
    """pydantic would take `1.0` for an integer."""
    if isinstance(text, str) and not re.fullmatch(r"-?[0-9]+", text):
        raise ValueError("write a whole number")
    return text


Whole = Annotated[int, BeforeValidator(_whole)]


class ListQuery(Given):
    status: Status | None = None
    project_id: Uuid | None = None
    page: Whole = Field(1, ge=1, le=MAX_PAGE, description="From 1")
    limit: Whole = Field(20, ge=1, le=MAX_LIMIT)
    sort_by: SortBy = SortBy.CREATED_AT
    sort_order: Literal["asc", "desc"] = "desc"


class BuildList(ApiModel):
    builds: list[BuildShown]
    total_count: int
    page: int
    limit: int
    has_more: bool


def _levels(text: object) -> object:
    return [one.strip().upper() for one in text.split(",")] if isinstance(text, str) else text


class LogsQuery(Given):
    level: Annotated[list[Level] | None, BeforeValidator(_levels)] = Field(
        None, json_schema_extra={"type": "string", "description": "One, or several with commas"}
    )
    step: str | None = Field(None, min_length=1, max_length=300, description="A step's name")
    since: str | None = Field(
        None,
        min_length=1,
        max_length=8000,
        description="A message's cursor: what follows it; or a time: what came then or later",
    )
    limit: Whole = Field(100, ge=1, le=MAX_LINES)
    follow: bool = Field(False, description="One message a line, live until the build has ended")


class StreamQuery(Given):
    level: Annotated[list[Level] | None, BeforeValidator(_levels)] = Field(
        None, json_schema_extra={"type": "string", "description": "One, or several with commas"}
    )
    step: str | None = Field(None, min_length=1, max_length=300)
    since: str | None = Field(None, min_length=1, max_length=8000)


class LogMessage(ApiModel):
    build_id: str
    timestamp: Instant
    level: Level
    message: str
    metadata: dict[str, str] = Field(
        description="`cursor` (for `since`), `step`, `attempt`, `stream`; of an end, `event`"
    )


class LogPage(ApiModel):
    build_id: str
    status: Status
    logs: list[LogMessage]
    next_cursor: str = Field(description="For `since`: what comes after these messages")
    has_more: bool = Field(description="There is more already")
    complete: bool = Field(description="There will never be more")


class ErrorEnvelope(ApiModel):
    error: str
    code: str
    timestamp: Instant
    trace_id: str
    details: dict[str, str] | None = Field(None, description="Field → what is wrong with it")


def read_time(text: str) -> datetime | None:
    """An aware time; None where it is not one."""
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return None
    return time if time.tzinfo is not None else None
