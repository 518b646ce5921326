"""Requests that may be sent again: by its key one is known, and made only once."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta

from coordinator.domain.model import Build

KEPT_FOR = timedelta(days=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyedRequest:
    account_id: str
    holder: str
    """Whose key it is: others' of the same text are other keys."""
    key: str
    fingerprint: str
    """Of what is asked for: a key means one request alone."""
    answer: Callable[[Build], str] = field(repr=False, compare=False)
    """What is said of the build that was made, as it will be said again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptAnswer:
    fingerprint: str
    build_id: str
    answer: str


def fingerprint_of(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
