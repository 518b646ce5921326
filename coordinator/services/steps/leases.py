"""The ends of hand-outs: an offer not taken goes back, the step of a silent agent is lost."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from enum import Enum, auto

import structlog

from coordinator.domain.lifecycle import StepEvent, StepState
from coordinator.domain.model import Step
from coordinator.domain.steps.hand_outs import HandOut, HandOuts, Lease
from coordinator.domain.steps.holders import agent_of
from coordinator.domain.steps.verdict import AttemptEnd, may_run_again_when_lost
from coordinator.services.core import Core
from coordinator.services.news import build_topic, log_topic, wait_for
from coordinator.services.others import LeftToTheLeader, Word
from coordinator.services.steps import advance, attempt_ends
from coordinator.storage.connection import AsyncConnection
from coordinator.storage.people import accounts as stored_accounts
from coordinator.storage.steps import attempts as stored_attempts
from coordinator.storage.steps import steps as stored_steps
from coordinator.storage.trouble import tell_fault
from pipelines_schema.contract import Completion, CompletionReason

log = structlog.get_logger()

TICK_SECONDS = 1.0
AWAY_SECONDS = 3.0
"""A tick that comes so late was held up by something that held everything up: a stopped process, a
sleeping machine. Agents could not be heard meanwhile."""
TRY_AGAIN_SECONDS = 1.0


def boot_seconds() -> float:
    """Never goes back, and counts while the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class _Came(Enum):
    """What came of a hand-out whose time is over."""

    ENDED = auto()
    GOES_ON = auto()
    ELSEWHERE = auto()
    """Its agent is at another coordinator, which gives it its terms."""


class Leases:
    def __init__(
        self,
        core: Core,
        hand_outs: HandOuts,
        clock: Callable[[], float],
        ready: Callable[[], None],
        is_here: Callable[[AsyncConnection, str], Awaitable[bool]],
    ) -> None:
        """`ready` is called when steps are to be given to others, `is_here` asked whether a holder
        is for this coordinator to take them from."""
        self._core, self._hand_outs, self._clock = core, hand_outs, clock
        self._ready, self._is_here = ready, is_here
        self._ending: dict[Lease, asyncio.Task[None]] = {}
        self._moved, self._held = asyncio.Event(), asyncio.Event()
        self._last_tick: float | None = None
        """None while nothing is handed out: then nobody ticks."""

    def moved(self) -> None:
        """A deadline has come or changed."""
        self._moved.set()
        self._held.set()

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._tick_forever(), name="tick")
            tasks.create_task(self._end_forever(), name="end hand-outs")

    async def _tick_forever(self) -> None:
        while True:
            if self._hand_outs.next_deadline() is None:
                self._last_tick = None
                self._held.clear()
                await self._held.wait()
            self.tick()
            await asyncio.sleep(TICK_SECONDS)

    def tick(self) -> None:
        """Look at the clock: it may have gone on while the timers of this process stood still."""
        self._notice_absence()
        self._moved.set()

    def _notice_absence(self) -> None:
        """Called by whichever of the tasks runs first after it, before anything is called lost."""
        now, last = self._clock(), self._last_tick
        self._last_tick = None if self._hand_outs.next_deadline() is None else now
        if last is not None and now - last > TICK_SECONDS + AWAY_SECONDS:
            log.warning("this coordinator was away", seconds=round(now - last, 1))
            self._hand_outs.begin_new_terms(now)

    async def _end_forever(self) -> None:
        while True:
            self._moved.clear()
            self._notice_absence()
            await asyncio.gather(*map(self._end, self._hand_outs.due(self._clock())))
            next_deadline = self._hand_outs.next_deadline()
            if next_deadline is None:
                await self._moved.wait()
            else:
                await wait_for(self._moved, next_deadline - self._clock())

    async def _end(self, due: HandOut) -> None:
        try:
            await self._core.database.write(
                lambda connection: self._tell(connection, due),
                committed=lambda came: self._ended(due, came),
            )
        except LeftToTheLeader:
            self._leave_to_the_leader(due)
        except Exception as error:  # a task root: tried again a second later
            tell_fault(log, "ending a hand-out failed", error, step=due.step_id, epoch=due.epoch)
            self._hand_outs.try_later(due, self._clock() + TRY_AGAIN_SECONDS)
            self.moved()

    async def _tell(self, connection: AsyncConnection, due: HandOut) -> _Came:
        """In the writer's thread, maybe long after it was due; what came before stays: an accept
        that the database has, a renewal that took the expiry away."""
        step = await stored_steps.find_step(connection, due.step_id)
        if not await self._is_here(connection, due.holder):
            return _Came.ELSEWHERE
        if due.expiry is None or not due.expiry.carry_out():
            return _Came.GOES_ON
        if step is None or step.epoch != due.epoch:
            return _Came.ENDED
        if step.state is StepState.RUNNING and not due.runs:
            return _Came.GOES_ON  # accepted in this very group commit
        await self._take_from(connection, step, disowned=due.disowned)
        return _Came.ENDED

    async def _take_from(
        self, connection: AsyncConnection, step: Step, *, disowned: bool = False
    ) -> None:
        """The step from its holder."""
        if step.state is StepState.OFFERED:
            await advance.move_step(self._core, connection, step, StepEvent.EXPIRE)
        elif step.state is StepState.RUNNING:
            await self._lose(connection, step, disowned=disowned)

    def _ended(self, due: HandOut, came: _Came) -> None:
        if came is _Came.GOES_ON:
            return
        self._hand_outs.release(due.step_id, due.epoch)
        if came is _Came.ENDED:
            self._publish(due.step_id, due.epoch, due.build_id)

    def _publish(self, step_id: str, epoch: int, build_id: str) -> None:
        log.info("hand-out expired", step=step_id, epoch=epoch)
        self._core.news.publish(build_topic(build_id))
        self._core.news.publish(log_topic(f"{step_id}-{epoch}"))
        self._ready()

    # What is left to the leader

    def _leave_to_the_leader(self, due: HandOut) -> None:
        """Told again each second until it has ended: then it is dropped."""
        if self._core.others is not None:
            self._core.others.tell(Word.OVER, due.step_id, due.epoch, self._core.others.home)
        self._hand_outs.try_later(due, self._clock() + TRY_AGAIN_SECONDS)
        self.moved()

    def end_at(self, step_id: str, epoch: int, home: str) -> None:
        """The hand-out is over at its home, which leaves what follows to the leader."""
        lease = (step_id, epoch)
        if self._core.others is None or not self._core.others.leads or lease in self._ending:
            return
        task = asyncio.create_task(self._end_at(lease, home), name=f"end {step_id}")
        self._ending[lease] = task
        task.add_done_callback(lambda _: self._ending.pop(lease))

    async def _end_at(self, lease: Lease, home: str) -> None:
        step_id, epoch = lease

        async def end(connection: AsyncConnection) -> Step | None:
            step = await stored_steps.find_step(connection, step_id)
            agent_id = agent_of(step.holder or "") if step else None
            if step is None or step.epoch != epoch or agent_id is None:
                return None
            if await stored_accounts.home_of(connection, agent_id) != home:
                return None  # it came elsewhere, and is heard there
            await self._take_from(connection, step)
            return step

        try:
            ended = await self._core.database.write(end)
        except Exception as error:  # a task root: its home asks again
            tell_fault(log, "ending a hand-out failed", error, step=step_id, epoch=epoch)
            return
        if ended is not None:
            self._publish(step_id, epoch, ended.build_id)

    async def _lose(self, connection: AsyncConnection, step: Step, *, disowned: bool) -> None:
        """An attempt that its holder never knew of is none: a script is begun after it was written
        down, and who has written it down names it."""
        attempt = await stored_attempts.find_attempt(connection, step.id, step.epoch)
        if attempt is None:
            raise LookupError(f"step {step.id} runs without an attempt {step.epoch}")
        goes_on = step.cancel_requested_by is None and may_run_again_when_lost(step.definition)
        if goes_on and disowned:
            await attempt_ends.take_back(self._core, connection, step, attempt)
            return
        end = AttemptEnd(status=Completion.FAILED, exit_code=None, reason=CompletionReason.LOST)
        await attempt_ends.end_attempt(self._core, connection, step, attempt, end, None, None)
