"""A folder that a step keeps from build to build."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class CacheScope(StrEnum):
    """Whose a cache is, within its project."""

    STEP = "step"
    PROJECT = "project"
    """Of all steps that name the same path."""
    BRANCH = "branch"
    """Of the step on that branch alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheFolder:
    path: str
    """Normalised: absolute, or `~/…` below the home folder of the image's user."""
    key: tuple[str, ...] = ()
    """Paths and patterns of the commit's files: one cache for each content of them; empty: one
    for all."""
    scope: CacheScope = CacheScope.STEP

    def to_json(self) -> dict[str, Any] | str:
        """For storage; a path by itself stands for the rest as it usually is."""
        if not self.key and self.scope is CacheScope.STEP:
            return self.path
        return {"path": self.path, "key": list(self.key), "scope": self.scope.value}

    @classmethod
    def from_json(cls, value: Mapping[str, Any] | str) -> CacheFolder:
        """What `to_json` wrote."""
        if isinstance(value, str):
            return cls(path=value)
        return cls(path=value["path"], key=tuple(value["key"]), scope=CacheScope(value["scope"]))
