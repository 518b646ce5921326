"""Ctrl-C that does not come out as the KeyboardInterrupt that it began as.

Python calls us back from places of its own, most of all while it imports: what is raised there is
wrapped in an error of Python's, or, where nobody could take it, told and forgotten.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sys import UnraisableHookArgs


def is_interrupt(error: BaseException) -> bool:
    """Whether what Python would tell of the error, its causes and its parts, has Ctrl-C in it."""
    return any(isinstance(one, KeyboardInterrupt) for one in _all_told(error))


def _all_told(error: BaseException) -> Iterator[BaseException]:
    waiting: list[BaseException | None] = [error]
    seen: set[int] = set()
    while waiting:
        one = waiting.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        hidden = one.__cause__ is not None or one.__suppress_context__
        waiting += [one.__cause__, None if hidden else one.__context__]
        if isinstance(one, BaseExceptionGroup):
            waiting += one.exceptions


def end_when_swallowed() -> None:
    """Have an interrupt that nobody could take end the process, as the signal does by itself."""
    sys.unraisablehook = _end_or_tell


def _end_or_tell(swallowed: UnraisableHookArgs) -> None:
    if issubclass(swallowed.exc_type, KeyboardInterrupt):
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.raise_signal(signal.SIGINT)
    sys.__unraisablehook__(swallowed)
