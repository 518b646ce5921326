"""What specification 002's objects hold. What it lacks and we add stands after its own fields."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationInfo,
    field_validator,
    model_validator,
)

from coordinator.api.http.api_model import ApiModel
from coordinator.api.http.fields import Pagination
from coordinator.domain.image_builds.records import DeploymentStatus
from coordinator.domain.lifecycle import StepState
from coordinator.domain.step_definition import Health

BuildStatus = Literal["PENDING", "BUILDING", "SUCCEEDED", "FAILED"]
BUILD_STATUS: Mapping[StepState, BuildStatus] = {
    StepState.BLOCKED: "PENDING",
    StepState.RESOLVING: "PENDING",
    StepState.READY: "PENDING",
    StepState.IN_LINE: "PENDING",
    StepState.WAITING: "PENDING",
    StepState.DELAYED: "PENDING",
    StepState.OFFERED: "PENDING",
    StepState.RUNNING: "BUILDING",
    StepState.SUCCEEDED: "SUCCEEDED",
    StepState.FAILED: "FAILED",
    StepState.CANCELLED: "FAILED",
    StepState.SKIPPED: "FAILED",
}
MAX_NAME = 100
MAX_LLM_CONFIGS_BYTES = 32 * 1024
IMAGE = r"^(docker://)?[A-Za-z0-9][A-Za-z0-9._:/@-]{0,499}$"
_SECRET_WORDS = re.compile(r"key|token|secret|password|credential", re.IGNORECASE)


def _seconds(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


Second = Annotated[
    datetime,
    PlainSerializer(_seconds, return_type=str),
    Field(json_schema_extra={"format": "date-time"}),
]
"""Written in UTC, to the second: `2026-02-23T10:00:00Z`."""


def _none_if_empty(value: object) -> object:
    return None if value == "" else value


EMPTY_IS_ABSENT = BeforeValidator(_none_if_empty)
OptionalText = Annotated[str | None, EMPTY_IS_ABSENT]


class _Body(ApiModel):
    """What is sent; unknown members are refused: a misspelt one would change what is built."""

    model_config = ConfigDict(extra="forbid")


def _image(reference: str) -> str:
    if not re.fullmatch(IMAGE, reference) or reference.endswith("\n"):
        raise ValueError("write an image's reference, such as registry.example/team/agent:1.2")
    return reference


Image = Annotated[str, AfterValidator(_image), Field(json_schema_extra={"pattern": IMAGE})]


class ImageBuildCreate(_Body):
    name: str = Field(
        min_length=1,
        max_length=MAX_NAME,
        description="Agent name (used to derive the image name)",
    )
    files: dict[str, str] = Field(description="Map of filename to source code content")
    entry_point: OptionalText = Field(
        None, description="Entry point file (auto-detected if not specified)"
    )
    requirements: str | None = Field(None, description="Python requirements in pip format")
    framework: OptionalText = Field(None, max_length=MAX_NAME, description="Agent framework hint")


class ImageBuildShown(ApiModel):
    id: str = Field(description="Build ID for polling status")
    status: BuildStatus
    image: str = Field(description="Deterministic image URI (available before build completes)")
    error: str | None = Field(None, description="Why it failed")
    reason: str | None = Field(None, description="What it waits for while PENDING")
    created_at: Second
    completed_at: Second | None = None
    digest: str | None = Field(None, description="Of the pushed image: `sha256:…`")
    language: str = Field(description="`python`, `node`, `go`, `static` or `dockerfile`")
    entry_point: str | None = None
    framework: str | None = None
    build_url: str = Field(description="The build's page, with its log")


class PageShown(ApiModel):
    total: int
    limit: int
    offset: int
    has_more: bool

    @classmethod
    def of(cls, total: int, page: tuple[int, int], shown: int) -> Self:
        known = Pagination.of(total, page, shown)
        return cls(
            total=known.total, limit=known.limit, offset=known.offset, has_more=known.has_more
        )


class ImageBuildPage(ApiModel):
    builds: list[ImageBuildShown]
    pagination: PageShown


class LlmConfig(ApiModel):
    """What the program is told of a model. No keys: those are secrets of the agent's project."""

    model_config = ConfigDict(extra="allow")

    provider: str = Field(min_length=1, max_length=MAX_NAME)
    model: str = Field(min_length=1, max_length=200)

    @model_validator(mode="after")
    def _without_secrets(self) -> Self:
        for name in self.model_extra or {}:
            if _SECRET_WORDS.search(name) and not name.endswith("_env"):
                raise ValueError(
                    f"{name[:100]!r} looks like a secret, which would be shown to all who may "
                    "read the build: set it with `pushrod secret set` on the agent's project"
                )
        return self


class HealthCheckGiven(_Body):
    """Asked of the program where it runs: until it is well, and every ten seconds from then on."""

    port: int = Field(8080, ge=1, le=65_535)
    path: str | None = Field(
        None,
        max_length=500,
        pattern=r"^/[!-~]*$",
        description="Of a request, answered with a status from 200 to 399; without it a "
        "connection to the port is enough",
    )
    start_seconds: int = Field(60, ge=1, le=3600, description="How long the first answer may take")

    @classmethod
    def of(cls, health: Health | None) -> Self | None:
        return None if health is None else cls(**asdict(health))


class DeploymentCreate(_Body):
    agent_name: str = Field(min_length=1, max_length=MAX_NAME)
    source_files: dict[str, str] | None = Field(
        None, description="Map of filename to source code content; builds the image"
    )
    entry_point: OptionalText = None
    requirements: str | None = None
    framework: OptionalText = Field(None, max_length=MAX_NAME)
    image: Annotated[Image | None, EMPTY_IS_ABSENT] = Field(
        None,
        validate_default=True,
        description="An image that there is already, instead of sources",
    )
    llm_configs: list[LlmConfig] | None = Field(
        None, max_length=50, description="Given to the program as JSON in `LLM_CONFIGS`"
    )

    health_check: HealthCheckGiven | None = Field(
        None, description="By what the program is known to be well; without it nobody asks"
    )

    @field_validator("llm_configs")
    @classmethod
    def _bounded(cls, configs: list[LlmConfig] | None) -> list[LlmConfig] | None:
        text = json.dumps([config.model_dump() for config in configs or ()], default=str)
        if len(text) > MAX_LLM_CONFIGS_BYTES:
            raise ValueError(f"more than {MAX_LLM_CONFIGS_BYTES} bytes of JSON")
        return configs

    @field_validator("image")
    @classmethod
    def _one_origin(cls, image: str | None, info: ValidationInfo) -> str | None:
        """Checked here, after the fields before it, so that the fault has a path."""
        given = info.data
        if "source_files" in given and (given["source_files"] is None) == (image is None):
            raise ValueError("give either source_files or an image")
        names = ("entry_point", "requirements", "framework")
        if image is not None and (odd := [name for name in names if given.get(name) is not None]):
            raise ValueError(f"{' and '.join(odd)} belong to source_files: leave out beside image")
        return image

    @property
    def health(self) -> Health | None:
        return None if self.health_check is None else Health(**self.health_check.model_dump())

    @property
    def configs(self) -> list[dict[str, Any]]:
        return [config.model_dump() for config in self.llm_configs or ()]


class DeploymentShown(ApiModel):
    id: str
    agent_name: str
    status: DeploymentStatus
    image: str
    build_id: str | None = Field(None, description="Of `/api/builds`, where the image is built")
    error: str | None = None
    reason: str | None = Field(None, description="What it waits for while PENDING or STARTING")
    created_at: Second
    started_at: Second | None = Field(None, description="When the program was first started")
    completed_at: Second | None = None
    replaced_by: str | None = Field(None, description="The deployment that took its place")
    llm_configs: list[dict[str, Any]]
    health_check: HealthCheckGiven | None = None
    restarts: int = Field(0, description="How often it was started again, since its agent was lost")
    log_url: str | None = Field(None, description="What the program writes")
    build_url: str


class DeploymentPage(ApiModel):
    deployments: list[DeploymentShown]
    pagination: PageShown
