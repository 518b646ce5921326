"""A running script is asked to end, before it is killed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

TOO_LATE = "The script ran longer than its timeout of {seconds:g} s."
"""What is said of it, on each engine, whether it ended when it was asked or was killed."""


class EndRequest:
    """Of one attempt. The engine says by `heard_by` while there is a script that can be asked."""

    def __init__(self) -> None:
        self._ask: Callable[[], None] | None = None
        self.made = False
        """A script was asked."""

    def make(self) -> bool:
        """Ask it, once however often this is called. False where there is none to be asked."""
        if self._ask is None:
            return False
        if not self.made:
            self.made = True
            self._ask()
        return True

    @contextmanager
    def heard_by(self, ask: Callable[[], None]) -> Iterator[None]:
        """`ask` must not wait: it has the script told, which may then take its grace."""
        self._ask = ask
        try:
            yield
        finally:
            self._ask = None
