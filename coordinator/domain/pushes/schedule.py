"""When a workflow is started by the clock."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from pipelines_schema import ScheduleTrigger


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """Set times at which a workflow of a project is built."""

    id: str
    project_id: str
    path: str
    """The workflow's file."""
    definition: ScheduleTrigger
    next_at: datetime
