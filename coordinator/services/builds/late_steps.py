"""Steps that are resolved late: whether, where and in what they run is worked out once what they
depend on has ended.

That they are to be resolved is a state of theirs, written by the transaction that ended the last of
their dependencies. So a restart finds them, and what ends them meanwhile, a cancel or a timeout,
needs to know nothing of this: the answer to one that is no longer being resolved is dropped.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

import structlog

from coordinator.domain.lifecycle import StepEvent, StepState
from coordinator.domain.model import Build, Step
from coordinator.domain.pushes.deliveries import retry_delay
from coordinator.domain.reading import Answer
from coordinator.domain.steps.step_words import filled, image_fault, label_fault
from coordinator.services.builds.conditions import late_answers
from coordinator.services.builds.drafted_steps import CONDITION_FALSE
from coordinator.services.core import Core
from coordinator.services.news import build_topic
from coordinator.services.steps import advance, reuse
from coordinator.storage.builds import builds as stored
from coordinator.storage.connection import AsyncConnection
from coordinator.storage.outputs.output_values import values_of_build
from coordinator.storage.steps import steps as stored_steps
from coordinator.storage.trouble import tell_fault
from pipelines_schema import ConditionFault

log = structlog.get_logger()

AGAIN_SECONDS = 1.0
"""After the first fault of ours; doubling after each that follows it."""
Pause = Callable[[float], Awaitable[None]]
"""For so many seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    build: Build
    steps: Sequence[Step]
    outputs: Mapping[str, Mapping[str, str]]


class LateSteps:
    def __init__(self, core: Core, wake: Callable[[], None], pause: Pause = asyncio.sleep) -> None:
        """`wake` is called when steps have become ready."""
        self._core, self._wake, self._pause = core, wake, pause
        self._moved = asyncio.Event()
        self._busy: set[str] = set()
        """Builds whose steps are being resolved: each by a task of its own, so that slow text
        delays no other account."""
        self._faults: Counter[str] = Counter()
        """Of ours, one after the other, by build; "" where looking for them failed."""
        core.announcements.resolving = self._moved.set

    async def run(self) -> None:
        self._moved.set()  # for what a restart has left
        async with asyncio.TaskGroup() as tasks:
            while True:
                await self._moved.wait()
                self._moved.clear()
                for build_id in await self._found():
                    if build_id not in self._busy:
                        self._busy.add(build_id)
                        tasks.create_task(self._resolve(build_id), name=f"resolve {build_id}")

    async def _found(self) -> Sequence[str]:
        try:
            found = await self._core.database.read(stored_steps.builds_resolving)
        except Exception as error:  # a task root: tried again
            tell_fault(log, "looking for steps to resolve failed", error)
            await self._wait_after_a_fault("")
            self._moved.set()
            return ()
        self._faults.pop("", None)
        return found

    async def _resolve(self, build_id: str) -> None:
        try:
            await self._resolve_now(build_id)
            self._faults.pop(build_id, None)
        except Exception as error:  # a task root: tried again
            tell_fault(log, "resolving steps failed", error, build=build_id)
            await self._wait_after_a_fault(build_id)
        finally:
            self._busy.discard(build_id)
            self._moved.set()  # for steps of it that came too late for this round

    async def _wait_after_a_fault(self, of: str) -> None:
        self._faults[of] += 1
        await self._pause(retry_delay(self._faults[of], AGAIN_SECONDS).total_seconds())

    async def _resolve_now(self, build_id: str) -> None:
        async def read(connection: AsyncConnection) -> _Asked | None:
            build = await stored.find_build(connection, build_id)
            if build is None:
                return None
            handed_on = await values_of_build(connection, build_id) if build.has_outputs else {}
            return _Asked(
                build=build,
                steps=await stored_steps.resolving_steps(connection, build_id),
                outputs={name: one.values for name, one in handed_on.items()},
            )

        asked = await self._core.database.read(read)
        if asked is None or not asked.steps:
            return
        conditional = [
            step for step in asked.steps if step.written.when and step.written.when.outputs
        ]
        answers = await late_answers(self._core, asked.build, conditional, asked.outputs)

        async def save(connection: AsyncConnection) -> None:
            for step in asked.steps:
                await self._follow(connection, asked, step.id, answers.get(step.id, True))

        await self._core.database.write(save, committed=lambda _: self._tell(build_id))

    async def _follow(
        self, connection: AsyncConnection, asked: _Asked, step_id: str, answer: Answer
    ) -> None:
        step = await stored_steps.find_step(connection, step_id)
        if step is None or step.state is not StepState.RESOLVING:
            return
        if answer is True:
            moved = await self._let_run(connection, asked, step)
        elif isinstance(answer, ConditionFault):
            moved = await self._fail(connection, step, "condition", _said(step, answer))
        else:
            event = StepEvent.SKIP
            moved = await advance.move_step(
                self._core, connection, step, event, reason=CONDITION_FALSE
            )
        await advance.follow_end(self._core, connection, moved)

    async def _let_run(self, connection: AsyncConnection, asked: _Asked, step: Step) -> Step:
        if step.written.output_words:
            step = filled(step, asked.build, asked.outputs)
            fault = label_fault(step) or image_fault(step)
            if fault is not None:
                return await self._fail(connection, step, "outputs", fault)
            await stored_steps.fill_step(connection, step)
        if step.written.inputs is not None:
            return await self._reused(connection, asked.build, step)
        return await advance.unblock(self._core, connection, step)

    async def _reused(self, connection: AsyncConnection, build: Build, step: Step) -> Step:
        """With an earlier result, or as it is else."""
        core, now = self._core, await stored.find_build(connection, build.id)
        steps = await stored.steps_of_build(connection, build.id)
        these = [step if one.id == step.id else one for one in steps]
        at = frozenset({StepState.RESOLVING})
        looked = await reuse.look(core, connection, now or build, these, at=at, alone=step.id)
        if step.id not in looked.steps:
            await looked.save(core, connection, now or build)
            return await advance.unblock(core, connection, step)
        moved = await advance.reused(core, connection, step, looked.steps[step.id])
        await looked.save(core, connection, now or build)
        return moved

    async def _fail(
        self, connection: AsyncConnection, step: Step, reason: str, message: str
    ) -> Step:
        return await advance.move_step(
            self._core, connection, step, StepEvent.FAIL, reason=reason, message=message
        )

    def _tell(self, build_id: str) -> None:
        self._core.news.publish(build_topic(build_id))
        self._wake()


def _said(step: Step, fault: ConditionFault) -> str:
    when = step.written.when
    if when is None or not when.line:
        return f"`when` {fault}"
    of_file = f" of {when.file}" if when.file else ""
    return f"`when` (line {when.line}, column {when.column}{of_file}) {fault}"
