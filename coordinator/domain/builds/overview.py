"""Projects, each with its newest build, as a list of many shows them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from coordinator.domain.lifecycle import BuildState


@dataclass(frozen=True, slots=True, kw_only=True)
class LastBuild:
    """As much of a project's newest build as a list of projects shows."""

    id: str
    number: int
    state: BuildState
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectGlance:
    """A project in a list of many."""

    id: str
    account_slug: str
    name: str
    last_build: LastBuild | None
    """None: it has no build."""
