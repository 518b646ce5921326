"""What was made of each thing last, for lists of a thousand of which hardly one has changed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

S = TypeVar("S")
T = TypeVar("T")
MOST = 4096


class LastMade(Generic[S, T]):
    """Of any thread: two that make the same at once have it twice, and one of them is kept."""

    def __init__(self, make: Callable[[S], T], most: int = MOST) -> None:
        """`make` is pure. Of more than `most` all are forgotten, and made anew as they come."""
        self._make, self._most = make, most
        self._known: dict[str, tuple[S, T]] = {}

    def __len__(self) -> int:
        return len(self._known)

    def of(self, key: str, source: S) -> T:
        """What is made of `source`: of one that equals the key's last one, the very same."""
        known = self._known.get(key)
        if known is not None and (known[0] is source or known[0] == source):
            return known[1]
        made = self._make(source)
        if len(self._known) >= self._most:
            self._known.clear()
        self._known[key] = source, made
        return made
