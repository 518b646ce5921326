"""How long operations on the object store take, told to whoever counts it."""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

P = ParamSpec("P")
T = TypeVar("T")
Used = Callable[[str, float], None]
"""What was done, and how many seconds it took."""


def nobody_counts(kind: str, seconds: float) -> None: ...


class _Counted(Protocol):
    _used: Used


S = TypeVar("S", bound=_Counted)


def timed(
    kind: str,
) -> Callable[
    [Callable[Concatenate[S, P], Coroutine[Any, Any, T]]],
    Callable[Concatenate[S, P], Coroutine[Any, Any, T]],
]:
    """For a method of a store; also where it fails."""

    def decorate(
        method: Callable[Concatenate[S, P], Coroutine[Any, Any, T]],
    ) -> Callable[Concatenate[S, P], Coroutine[Any, Any, T]]:
        async def call(self: S, /, *args: P.args, **kwargs: P.kwargs) -> T:
            began = time.perf_counter()
            try:
                return await method(self, *args, **kwargs)
            finally:
                self._used(kind, time.perf_counter() - began)

        call.__doc__ = method.__doc__
        return call

    return decorate
