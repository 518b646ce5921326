"""Steps that must not run beside too many others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

from pipelines_schema.expressions import substituted


@dataclass(frozen=True, slots=True, kw_only=True)
class StepGroup:
    """The step's `concurrency`: at most `limit` of the account's steps of the group run at once."""

    name: str
    """With its expressions still in it."""
    limit: int = 1

    def to_json(self) -> dict[str, Any]:
        """For storage; `from_json` reads it back."""
        return {"group": self.name, "limit": self.limit}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        return cls(name=value["group"], limit=value["limit"])

    def with_values(self, values: Mapping[str, str]) -> Self:
        """With the expressions that have a value replaced."""
        return replace(self, name=substituted(self.name, values))
