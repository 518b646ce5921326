"""Following a build: its steps' news and logs, as they come, until it has finished."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol, TypeVar

from pushrod.client import Client
from pushrod.errors import UnreachableError
from pushrod.presentation import FINISHED_STATES, FINISHED_STEPS, say
from pushrod.references import steps_of
from pushrod.transport import Json

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """With a coordinator that is away, as one that restarts is."""

    away_seconds: float = 120.0
    retry_seconds: float = 1.0


PATIENT = Patience()


class Audience(Protocol):
    """Whoever is shown the build."""

    def step_changed(self, step: Json) -> None:
        """The step has another status or attempt than before."""
        ...

    def step_waits(self, step: Json) -> None:
        """The step has waited for a while for an agent, an approval or its next attempt: `waitsFor`
        says why."""
        ...

    def log_grew(self, step: Json, attempt: int, offset: int, data: bytes) -> None:
        """More of the log, in order; `offset` is the first byte's place in this attempt's."""
        ...

    def log_ended(self, step: Json, attempt: int) -> None: ...


@dataclass(slots=True, kw_only=True)
class _Stream:
    """One attempt's log on its way; `ended` says that the build's view has it finished."""

    step: Json
    attempt: int
    ended: asyncio.Event = field(default_factory=asyncio.Event)


async def follow_build(
    client: Client,
    build_id: str,
    audience: Audience,
    *,
    only_step: str | None = None,
    patience: Patience = PATIENT,
    is_enough: Callable[[Json], bool] = lambda build: False,
) -> Json:
    """Show the build until it has finished (with `only_step`, an id: that step); its last view.

    `is_enough` is shown each view of the build, and may say that this one is the last.
    Raises: a CommandError; UnreachableError when the coordinator stays away.
    """
    streams: dict[tuple[str, int], _Stream] = {}
    shown: dict[str, tuple[str, int]] = {}
    seen: int | None = None
    async with asyncio.TaskGroup() as group:
        while True:
            build = await patiently(partial(client.build, build_id, seen=seen), patience)
            if seen == int(build["version"]):
                _tell_waiting(build, only_step, audience)
            seen = int(build["version"])
            for step in steps_of(build):
                if only_step is None or step["id"] == only_step:
                    _tell_change(step, shown, audience)
                    _start_stream(step, streams, group, partial(_pump, client, audience, patience))
            _end_streams(build, streams)
            if is_enough(build) or is_over(build, only_step):
                return build


def is_over(build: Json, only_step: str | None) -> bool:
    """Whether nothing more will happen to the build, or to the one step."""
    over = build["state"] in FINISHED_STATES
    if only_step is None:
        return over
    statuses = (step["status"] for step in steps_of(build) if step["id"] == only_step)
    return over or all(status in FINISHED_STEPS for status in statuses)


async def read_whole_log(client: Client, step: Json, audience: Audience) -> None:
    """Show the log of the step's last attempt as far as it is known now, waiting for nothing."""
    offset, attempt = 0, None
    while True:
        piece = await client.read_log(step["id"], offset=offset, attempt=attempt)
        if not piece.data:
            return audience.log_ended(step, piece.attempt)
        audience.log_grew(step, piece.attempt, offset, piece.data)
        offset, attempt = piece.next_offset, piece.attempt


async def patiently(ask: Callable[[], Awaitable[Result]], patience: Patience) -> Result:
    """Ask until the coordinator answers. Raises UnreachableError when the patience is over."""
    deadline = asyncio.get_running_loop().time() + patience.away_seconds
    told = False
    while True:
        try:
            return await ask()
        except UnreachableError as error:
            if asyncio.get_running_loop().time() > deadline:
                raise
            if not told:
                say(f"pushrod: {error.message}; trying again")
                told = True
        await asyncio.sleep(patience.retry_seconds)


def _tell_change(step: Json, shown: dict[str, tuple[str, int]], audience: Audience) -> None:
    now = (str(step["status"]), int(step.get("attempt", 0)))
    if shown.get(step["id"]) != now:
        shown[step["id"]] = now
        audience.step_changed(step)


def _tell_waiting(build: Json, only_step: str | None, audience: Audience) -> None:
    """After a held question's whole time with no news; a short wait needs no words."""
    for step in steps_of(build):
        waits = step["status"] == "READY" or "expiresAt" in step.get("approval", {})
        waits = waits or "retryAt" in step
        if waits and step.get("waitsFor") and only_step in (None, step["id"]):
            audience.step_waits(step)


def _start_stream(
    step: Json,
    streams: dict[tuple[str, int], _Stream],
    group: asyncio.TaskGroup,
    pump: Callable[[_Stream], Coroutine[Any, Any, None]],
) -> None:
    attempt = int(step.get("attempt", 0))
    key = (step["id"], attempt)
    if attempt < 1 or "startedAt" not in step or key in streams:
        return
    streams[key] = _Stream(step=step, attempt=attempt)
    group.create_task(pump(streams[key]))


def _end_streams(build: Json, streams: dict[tuple[str, int], _Stream]) -> None:
    """Tell the streams of attempts that have ended, lest they wait for bytes that never come."""
    over = build["state"] in FINISHED_STATES
    current = {
        (step["id"], int(step.get("attempt", 0)))
        for step in steps_of(build)
        if step["status"] not in FINISHED_STEPS
    }
    for key, stream in streams.items():
        if over or key not in current:
            stream.ended.set()


async def _pump(client: Client, audience: Audience, patience: Patience, stream: _Stream) -> None:
    offset = 0
    while True:
        # Read before the question: bytes stored before the end are in an answer begun after it.
        ended = stream.ended.is_set()
        piece = await patiently(
            partial(
                client.read_log,
                stream.step["id"],
                offset=offset,
                attempt=stream.attempt,
                wait=not ended,
            ),
            patience,
        )
        if piece.data:
            audience.log_grew(stream.step, stream.attempt, offset, piece.data)
            offset = piece.next_offset
        elif piece.complete or ended:
            audience.log_ended(stream.step, stream.attempt)
            return
