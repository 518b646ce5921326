"""Builds that are started by the success of another project's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from pipelines_schema import BuildTrigger


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildListener:
    """A workflow of a project that is started by another project's builds."""

    id: str
    account_id: str
    project_id: str
    path: str
    """The workflow's file."""
    upstream: str
    """The other project's slug, as the file has it."""
    definition: BuildTrigger


@dataclass(frozen=True, slots=True, kw_only=True)
class Upstream:
    """The build that started another."""

    project: str
    """Its slug."""
    workflow: str
    build_id: str
    build_number: int
    commit: str | None
    branch: str | None
    tag: str | None
    depth: int
    """How many builds in a row were started so, with the one that this starts."""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Upstream:
        return cls(**value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Following:
    """A build that is to be made, as another has succeeded."""

    id: str
    project_id: str
    path: str
    """The workflow's file."""
    upstream: Upstream
    faults: int = 0
    """How often it could not be made, by our own fault."""
    due_at: datetime | None = None
    """When it is tried again; None: at once."""
