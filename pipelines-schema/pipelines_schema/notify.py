"""Whom a workflow notifies of its builds, and of what."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

MAX_ADDRESS_CHARACTERS = 254
_ADDRESS = re.compile(
    r"[^\s@<>(),;:\"\\]{1,64}@[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?", re.ASCII
)


class Occasion(StrEnum):
    FAILED = "failed"
    FIXED = "fixed"
    """It succeeded, and the one before it of the same workflow and branch had failed."""
    SUCCEEDED = "succeeded"
    WAITING = "waiting"
    """For somebody's approval."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Notify:
    on: tuple[Occasion, ...]
    email: tuple[str, ...] = ()
    webhook: str | None = None
    """The name of the secret that holds the address; this or `email`."""

    def to_json(self) -> dict[str, Any]:
        shown: dict[str, Any] = {"on": [occasion.value for occasion in self.on]}
        return shown | ({"email": list(self.email)} if self.email else {"webhook": self.webhook})

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Notify:
        return cls(
            on=tuple(map(Occasion, value["on"])),
            email=tuple(value.get("email", ())),
            webhook=value.get("webhook"),
        )


def email_problem(address: str) -> str | None:
    """What is wrong with an e-mail address, as in `… {problem}`, or None."""
    if len(address) <= MAX_ADDRESS_CHARACTERS and _ADDRESS.fullmatch(address):
        return None
    return "is no e-mail address: write it as team@example.org"
