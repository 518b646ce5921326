"""The files in which a step's tools report what came out of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipelines_schema.stored_json import without_absent


@dataclass(frozen=True, slots=True, kw_only=True)
class StepReports:
    """At least one of these is there; each path is also one of the step's `output_paths`."""

    junit: tuple[str, ...] = ()
    """Paths or patterns, as of outputs."""
    coverage: tuple[str, ...] = ()
    """The same, of Cobertura or LCOV files."""
    summary: str | None = None
    """The path of one file, of Markdown."""

    @property
    def paths(self) -> tuple[str, ...]:
        """All of them, each once."""
        summary = () if self.summary is None else (self.summary,)
        return tuple(dict.fromkeys((*self.junit, *self.coverage, *summary)))

    def to_json(self) -> dict[str, Any]:
        return without_absent(
            junit=list(self.junit) or None,
            coverage=list(self.coverage) or None,
            summary=self.summary,
        )

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> StepReports:
        """What `to_json` wrote."""
        return cls(
            junit=tuple(value.get("junit", ())),
            coverage=tuple(value.get("coverage", ())),
            summary=value.get("summary"),
        )
