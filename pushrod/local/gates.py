"""Steps that wait for somebody's approval: whoever runs the build gives it, or nobody does."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from pushrod.client import Client
from pushrod.errors import CommandError
from pushrod.local.chosen import ALL
from pushrod.presentation import FINISHED_STEPS, printable, say
from pushrod.references import steps_of
from pushrod.transport import Json

YES = ("y", "yes")


@dataclass(slots=True, kw_only=True)
class Gates:
    client: Client
    approved: Collection[str]
    """Names of steps, or `all`."""
    asks: bool
    """Whether there is somebody at a terminal."""
    pause: Callable[[bool], None]
    """Called with True before, with False after a question."""
    closed: set[str] = field(default_factory=set)
    """Ids of those that nobody approves."""
    _seen: set[str] = field(default_factory=set)
    _answering: set[asyncio.Task[None]] = field(default_factory=set)
    _asking: asyncio.Lock = field(default_factory=asyncio.Lock)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def look(self, build: Json) -> bool:
        """Answer what newly waits; whether nothing goes on any more because of what is closed."""
        for step in steps_of(build):
            if _is_waiting(step) and step["id"] not in self._seen:
                self._seen.add(step["id"])
                self._decide(step)
        return bool(self.closed) and not going_on(build, self.closed)

    def _decide(self, step: Json) -> None:
        if ALL in self.approved or step["name"] in self.approved:
            self._begin(step, ask=False)
        elif self.asks:
            self._begin(step, ask=True)
        else:
            self.closed.add(step["id"])

    def _begin(self, step: Json, *, ask: bool) -> None:
        task = asyncio.create_task(self._answer(step, ask=ask))
        self._answering.add(task)
        task.add_done_callback(self._answering.discard)

    async def _answer(self, step: Json, *, ask: bool) -> None:
        if ask and not await self._asked(step):
            await self.client.reject_step(str(step["id"]))
            return
        try:
            await self.client.approve_step(str(step["id"]), {})
        except CommandError as error:
            say(f"-- {step['name']}: can't be approved here: {error.message}")
            await self.client.reject_step(str(step["id"]))

    async def _asked(self, step: Json) -> bool:
        async with self._asking:
            self.pause(True)
            try:
                message = (step.get("approval") or {}).get("message")
                more = f" ({printable(str(message))})" if message else ""
                sys.stderr.write(f"approve {printable(str(step['name']))}{more}? [y/N] ")
                sys.stderr.flush()
                return (await _line()).strip().lower() in YES
            finally:
                self.pause(False)

    def close(self) -> None:
        for task in self._answering:
            task.cancel()


async def _line() -> str:
    """What is typed, without a thread that would outlive us. A closed input is an empty line."""
    loop = asyncio.get_running_loop()
    typed: asyncio.Future[str] = loop.create_future()

    def read() -> None:
        data = os.read(sys.stdin.fileno(), 4096)
        if not typed.done():
            typed.set_result(data.decode(errors="replace"))

    loop.add_reader(sys.stdin.fileno(), read)
    try:
        return await typed
    finally:
        loop.remove_reader(sys.stdin.fileno())


def _is_waiting(step: Json) -> bool:
    return step["status"] not in FINISHED_STEPS and "expiresAt" in (step.get("approval") or {})


def going_on(build: Json, closed: Collection[str]) -> list[str]:
    """Names of the steps that run, or will without an answer to the `closed` ones."""
    stuck: set[str] = set()
    steps = [step for step in steps_of(build) if step["status"] not in FINISHED_STEPS]
    # As often as a name may have to be handed on: the steps are in no order.
    for _ in range(len(steps) + 1):
        before = len(stuck)
        for step in steps:
            blocked = step["status"] == "BLOCKED" and stuck.intersection(step.get("dependsOn", ()))
            if step["id"] in closed or blocked:
                stuck.add(str(step["name"]))
        if len(stuck) == before:
            break
    return [str(step["name"]) for step in steps if step["name"] not in stuck]
