"""Which refs of a repository are not what they were. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

BRANCH = "refs/heads/"
TAG = "refs/tags/"


@dataclass(frozen=True, slots=True, kw_only=True)
class MovedRef:
    ref: str
    old: str | None
    new: str | None


class RefsMoved(Exception):
    """Somebody else was first; the message is for whoever pushed."""


def moved_refs(seen: Mapping[str, str], now: Mapping[str, str]) -> list[MovedRef]:
    return [
        MovedRef(ref=ref, old=seen.get(ref), new=now.get(ref))
        for ref in sorted(seen.keys() | now.keys())
        if seen.get(ref) != now.get(ref)
    ]
