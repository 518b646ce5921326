"""What somebody said to a step at which a build waits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Self


@dataclass(frozen=True, slots=True, kw_only=True)
class GateAnswer:
    approved: bool
    by: str
    params: Mapping[str, str] = field(default_factory=dict)
    """Its outputs; none where it was rejected."""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        return cls(**value)

    @property
    def reason(self) -> str:
        return f"{'approved' if self.approved else 'rejected'} by {self.by}"
