"""What a workflow's `on.build` holds: other projects' builds that start it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pipelines_schema.patterns import chosen_by
from pipelines_schema.problem import Place
from pipelines_schema.stored_json import listed, texts, without_absent


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildTrigger:
    project: str
    """Slug of another project of the account."""
    workflow: str | None = None
    """The name of one of its workflows; None is any of them."""
    branches: tuple[str, ...] | None = None
    """Patterns; None is every branch and every tag."""
    place: Place | None = field(default=None, compare=False)

    def matches(self, workflow: str, branch: str | None) -> bool:
        """Whether a build that succeeded is meant; `branch` is None for a tag's."""
        if self.workflow not in (None, workflow):
            return False
        return self.branches is None or (branch is not None and chosen_by(self.branches, branch))

    def to_json(self) -> dict[str, Any]:
        return without_absent(
            project=self.project, workflow=self.workflow, branches=listed(self.branches)
        )

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> BuildTrigger:
        return cls(
            project=value["project"],
            workflow=value.get("workflow"),
            branches=texts(value, "branches"),
        )
