"""A step at which a build waits for somebody's answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Self

from pipelines_schema.limits import DEFAULT_EXPIRY_SECONDS
from pipelines_schema.params import Param
from pipelines_schema.stored_json import without_absent


class Approver(StrEnum):
    """Who may answer: one who has this role, or a higher one."""

    DEVELOPER = "developer"
    MAINTAINER = "maintainer"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    message: str | None = None
    """What is asked; None: the step's name says enough."""
    by: Approver = Approver.MAINTAINER
    expires_seconds: int = DEFAULT_EXPIRY_SECONDS
    """How long it waits for an answer before it fails."""
    params: tuple[Param, ...] = ()
    """What is to be said with an approval; dependants find it as outputs."""

    def to_json(self) -> dict[str, Any]:
        """For storage; `from_json` reads it back."""
        return without_absent(
            message=self.message,
            by=self.by.value,
            expiresSeconds=self.expires_seconds,
            params=[param.to_json() for param in self.params] or None,
        )

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        return cls(
            message=value.get("message"),
            by=Approver(value["by"]),
            expires_seconds=value["expiresSeconds"],
            params=tuple(map(Param.from_json, value.get("params", ()))),
        )
