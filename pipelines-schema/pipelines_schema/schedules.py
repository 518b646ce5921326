"""What a workflow's `on.schedule` holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleTrigger:
    cron: str
    timezone: str = "UTC"
    branch: str | None = None
    """What is built; None is the default branch."""
    params: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        branch = {} if self.branch is None else {"branch": self.branch}
        return {"cron": self.cron, "timezone": self.timezone, "params": dict(self.params), **branch}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> ScheduleTrigger:
        return cls(
            cron=value["cron"],
            timezone=value["timezone"],
            branch=value.get("branch"),
            params=dict(value["params"]),
        )
