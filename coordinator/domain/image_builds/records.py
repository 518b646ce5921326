"""Image builds and deployments as they are kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

IMAGE_STEP = "image"
PROGRAM_STEP = "program"
"""Names of the steps of their builds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageBuildRecord:
    """A build whose step `image` makes an image of source files."""

    id: str
    """`build-…`; the core's build has an id of its own."""
    build_id: str
    account_id: str
    agent_name: str
    image: str
    """Registry, name and tag."""
    language: str
    entry_point: str | None
    framework: str | None
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """A build whose step `program` runs an image for as long as it isn't stopped."""

    id: str
    """`deploy-…`."""
    build_id: str
    image_build_id: str | None
    """Of the same build; None where the image was given."""
    account_id: str
    agent_name: str
    image: str
    llm_configs: Sequence[Mapping[str, Any]]
    replaced_by: str | None
    """The deployment of the same name that took its place."""
    healthy_epoch: int | None = None
    """Of the hand-out of its program that has answered the health check last."""
    created_at: datetime


class DeploymentStatus(StrEnum):
    PENDING = "PENDING"
    """Waits for an agent that builds its image."""
    BUILDING = "BUILDING"
    STARTING = "STARTING"
    """The image is there; no agent labelled for deployments has taken it yet."""
    RUNNING = "RUNNING"
    STOPPED = "STOPPED"
    """By somebody, or by a newer deployment of the same name."""
    COMPLETED = "COMPLETED"
    """The program ended by itself, and well."""
    FAILED = "FAILED"
