"""The processes in which text is read: started when first needed, kept, replaced when they end."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Concatenate, ParamSpec, Self, TypeVar, cast

from coordinator.ports import NotRead
from coordinator.reading.limits import Limits
from coordinator.reading.process import Answered, EndedFromOutside, ReadingProcess
from coordinator.reading.turns import Turns
from pipelines_schema import Watch

AT_ONCE = 2
"""Of different accounts: one with slow text leaves the other process to the rest."""
_Arguments = ParamSpec("_Arguments")
_Found = TypeVar("_Found")


@dataclass(slots=True)
class ReadingProcesses:
    limits: Limits = field(default_factory=Limits)
    _turns: Turns = field(default_factory=lambda: Turns(AT_ONCE))
    _idle: list[ReadingProcess] = field(default_factory=list)

    async def run(
        self,
        account: str,
        read: Callable[Concatenate[Watch, _Arguments], _Found],
        *args: _Arguments.args,
        **keywords: _Arguments.kwargs,
    ) -> _Found:
        """What `read` gives, a function of a module, run in a process with limits.

        Raises NotRead, and what `read` raises.
        """
        found = await self._run(account, read.__name__, (read, args, keywords), alone=False)
        return cast(_Found, found)

    async def run_alone(
        self,
        account: str,
        read: Callable[Concatenate[Watch, _Arguments], _Found],
        *args: _Arguments.args,
        **keywords: _Arguments.kwargs,
    ) -> _Found:
        """As `run`, in a process that has read nothing before and ends afterwards: for secrets.
        One that somebody's text has taken over must not be told another's."""
        found = await self._run(account, read.__name__, (read, args, keywords), alone=True)
        return cast(_Found, found)

    async def _run(self, account: str, name: str, call: tuple[Any, ...], *, alone: bool) -> object:
        request = pickle.dumps(call)
        async with self._turns.turn(account):
            try:
                answered = await self._ask(request, alone)
            except EndedFromOutside:
                _tell_of_end(name)
                answered = await self._ask_again(request, alone)
        if not answered.was_read:
            raise cast(Exception, answered.value)
        return answered.value

    async def _ask_again(self, request: bytes, alone: bool) -> Answered:
        try:
            return await self._ask(request, alone)
        except EndedFromOutside:
            raise NotRead("was not read: something ended the process twice", None) from None

    async def _ask(self, request: bytes, alone: bool) -> Answered:
        process = ReadingProcess.start(self.limits) if alone else await self._take()
        kept = False
        try:
            answered = await process.ask(request)
            kept = answered.kept and not alone
            return answered
        finally:
            if kept:
                self._idle.append(process)
            else:
                await process.end()

    async def _take(self) -> ReadingProcess:
        while self._idle:
            process = self._idle.pop()
            if process.is_alive:
                return process
            await process.end()
        return ReadingProcess.start(self.limits)

    async def close(self) -> None:
        while self._idle:
            await self._idle.pop().end()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: Any) -> None:
        await self.close()


def _tell_of_end(read: str) -> None:
    # Loaded where it is used: `pushrod validate` reads, too, and tells nobody.
    import structlog

    structlog.get_logger().warning("a reading was ended from outside", read=read)
