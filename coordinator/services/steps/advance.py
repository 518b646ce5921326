"""Moving steps and builds: every change of state goes through here, inside a transaction."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from coordinator.domain.builds.roll_up import (
    Dependant,
    Settlement,
    cancel_of_build,
    counts_as_success,
    ends_with,
    failure_of_build,
    failure_words,
    freed,
    links_of,
    settle,
    step_view,
)
from coordinator.domain.lifecycle import (
    FINISHED_BUILD,
    FINISHED_STEP,
    HAS_A_PLACE,
    BuildEvent,
    BuildState,
    StepEvent,
    StepState,
    advance_build,
    advance_step,
)
from coordinator.domain.model import Build, Step
from coordinator.services.core import Core
from coordinator.services.news import build_topic
from coordinator.services.steps import reuse
from coordinator.services.steps.build_clock import gate_closed, gate_opened, started_clock
from coordinator.services.steps.told import tell, tell_gate, tell_step
from coordinator.storage.builds import builds as stored
from coordinator.storage.builds import groups
from coordinator.storage.connection import AsyncConnection
from coordinator.storage.database import after_commit, isolate
from coordinator.storage.steps import steps as stored_steps
from coordinator.storage.steps.places import (
    count_versions_in_line,
    first_in_line,
    places_taken,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Followed:
    """What came of a step's end."""

    build: Build
    ready: int
    """How many steps of it became ready."""


async def move_step(
    core: Core, connection: AsyncConnection, step: Step, event: StepEvent, **values: Any
) -> Step:
    """The step as it is then, but that one with a group may have got its place meanwhile. Raises
    IllegalTransition."""
    if step.concurrency_group is not None and event in _LINES_UP:
        event = StepEvent.LINE_UP
    now, state = core.now(), advance_step(step.state, event)
    if state in FINISHED_STEP:
        values["finished_at"] = now
    if state in _WAITS:
        values |= {"ready_at": now, "holder": None, "lease_seconds": None}
        if event is not StepEvent.EXPIRE:  # which would let an agent that never accepts prolong it
            until = now + timedelta(seconds=_most_seconds(core, step, state))
            values.setdefault("queue_until", until)
    if state is StepState.RUNNING and step.started_at is None:
        values["started_at"] = now
    await stored_steps.update_step(connection, step.id, state=state.value, **values)
    moved = replace(step, state=state, **values)
    await tell_step(core, connection, moved, step.state)
    if state is StepState.WAITING:
        build = await gate_opened(core, connection, step.build_id)
        await tell_gate(core, connection, build, asked=True)
    elif step.state is StepState.WAITING:
        build = await gate_closed(core, connection, step.build_id)
        await tell_gate(core, connection, build, asked=False)
    if state is StepState.DELAYED:  # which may be the first that is over
        after_commit(connection, core.announcements.ready)
    if step.concurrency_group is not None and state in _MAKES_ROOM:
        left = step.state in HAS_A_PLACE
        await fill_places(core, connection, step.account_id, step.concurrency_group, left=left)
    return moved


_WAITS = frozenset({StepState.READY, StepState.WAITING, StepState.IN_LINE, StepState.DELAYED})
_LINES_UP = frozenset({StepEvent.UNBLOCK, StepEvent.RETRY})
"""Each attempt of a step with a group needs a place in it of its own."""
_MAKES_ROOM = FINISHED_STEP | {StepState.IN_LINE, StepState.DELAYED, StepState.BLOCKED}
"""Whatever it was before: of a build that is cancelled the steps are as they were read, while their
places went from one to the next."""


async def fill_places(
    core: Core, connection: AsyncConnection, account_id: str, group: str, *, left: bool = False
) -> None:
    """Whoever is first in line gets a place while its own limit allows, and nobody overtakes it.
    Those who still wait are told that others have the places; `left`: one has given up its own.

    Places are counted, from the steps that have one: no crash leaves one taken.
    """
    isolate(connection)
    taken = await places_taken(connection, account_id, group)
    while (step := await first_in_line(connection, account_id, group)) is not None:
        concurrency = step.written.concurrency
        if concurrency is not None and taken >= concurrency.limit:
            if left:
                await _tell_those_in_line(core, connection, account_id, group)
            return
        await move_step(core, connection, step, StepEvent.PLACE)
        taken, left = taken + 1, True
        await stored.count_version(connection, step.build_id, now=core.now())
        _announce_ready(core, connection, step.build_id)


async def _tell_those_in_line(
    core: Core, connection: AsyncConnection, account_id: str, group: str
) -> None:
    waiting = await count_versions_in_line(connection, account_id, group, core.now())

    def tell() -> None:
        for build_id in waiting:
            core.news.publish(build_topic(build_id))

    after_commit(connection, tell)


def _announce_ready(core: Core, connection: AsyncConnection, build_id: str) -> None:
    """Steps of a build that nobody else tells of."""

    def tell() -> None:
        core.news.publish(build_topic(build_id))
        core.announcements.ready()

    after_commit(connection, tell)


async def unblock(core: Core, connection: AsyncConnection, step: Step) -> Step:
    """Its turn has come: for an agent, or for somebody's approval. A blocked one that is resolved
    late is resolved first, elsewhere: nothing else that this transaction does waits for that."""
    if step.state is StepState.BLOCKED and step.written.resolved_late:
        after_commit(connection, core.announcements.resolving)
        return await move_step(core, connection, step, StepEvent.RESOLVE)
    asks = step.written.approve is not None
    return await move_step(core, connection, step, StepEvent.ASK if asks else StepEvent.UNBLOCK)


async def try_again(core: Core, connection: AsyncConnection, step: Step) -> None:
    """A delayed step is queued anew: its delay is over."""
    await unblock(core, connection, step)
    await stored.count_version(connection, step.build_id, now=core.now())
    _announce_ready(core, connection, step.build_id)


def _most_seconds(core: Core, step: Step, state: StepState) -> float:
    """How long it may be in that state."""
    if state is StepState.DELAYED:
        return float(step.written.retries.delay_seconds)
    return queue_seconds(core, step)


def queue_seconds(core: Core, step: Step) -> float:
    """How long it may wait for an agent, or for an answer."""
    if step.written.approve is not None:
        return step.written.approve.expires_seconds
    return step.written.queue_timeout_seconds or core.settings.queue_timeout_seconds


def queued(core: Core, step: Step) -> Step:
    """A new step, which may be ready from the start."""
    if step.ready_at is None:
        return step
    return replace(step, queue_until=step.ready_at + timedelta(seconds=queue_seconds(core, step)))


async def begin_build(core: Core, connection: AsyncConnection, build_id: str) -> Build:
    """After a step of it began: nothing else can follow, so its other steps aren't read."""
    now = core.now()
    build = await stored.count_version(connection, build_id, now=now)
    if build.state is BuildState.QUEUED:
        state = advance_build(build.state, BuildEvent.BEGIN)
        values: dict[str, Any] = {"state": state.value, "started_at": now}
        values |= started_clock(core, connection, build)
        await stored.move_build(connection, build, **values)
        await tell(core, connection, replace(build, state=state, started_at=now))
    return build


async def follow_end(core: Core, connection: AsyncConnection, step: Step) -> Followed:
    """After an attempt of the step ended: what that means for the build, told by those alone that
    depend on it."""
    now = core.now()
    if step.state not in FINISHED_STEP:
        build = await stored.count_version(connection, step.build_id, now=now)
        return Followed(build=build, ready=0 if step.state is StepState.DELAYED else 1)
    succeeded = counts_as_success(step)
    failed = step.state is StepState.FAILED and not succeeded
    if failed and await failed_fast(core, connection, step):
        return await settled(core, connection, step.build_id)
    if succeeded and step.written.generates is not None:
        return await settled(core, connection, step.build_id)  # which has new steps
    dependants = await stored_steps.count_down(connection, step, with_definitions=not succeeded)
    to_run = freed([dependant for dependant, _ in dependants], succeeded=succeeded)
    if to_run is None or _may_be_reused(dependants, to_run):
        return await settled(core, connection, step.build_id)
    moved = [
        await unblock(core, connection, whole)
        for dependant, whole in dependants
        if whole is not None and dependant.id in to_run
    ]
    build = await stored.count_version(connection, step.build_id, now=now, ended=1)
    if build.open_steps == 0:
        return await settled(core, connection, step.build_id, build)
    return Followed(build=build, ready=_ready(moved))


def _may_be_reused(
    dependants: Sequence[tuple[Dependant, Step | None]], to_run: Sequence[str]
) -> bool:
    """Whether one whose turn has come has `inputs`: all that follows at once is looked at then."""
    return any(
        whole is not None and whole.written.inputs is not None and dependant.id in to_run
        for dependant, whole in dependants
    )


def _ready(moved: Iterable[Step]) -> int:
    return sum(step.state is StepState.READY for step in moved)


async def cancel_step(
    core: Core, connection: AsyncConnection, step: Step, *, by: str, reason: str
) -> None:
    """One that runs is asked to end; its agent is to be told once that is committed. The reason is
    that of one which is not handed out, and ends here."""
    if step.state is StepState.RUNNING:
        await stored_steps.update_step(connection, step.id, cancel_requested_by=by)
    else:
        await move_step(core, connection, step, StepEvent.CANCEL, reason=reason)


async def failed_fast(core: Core, connection: AsyncConnection, failed: Step) -> bool:
    """End what is left of the build, or of the step's matrix, where the workflow wants that. One
    that is being cancelled goes on with its clean-up, and stays cancelled."""
    build = await stored.find_build(connection, failed.build_id)
    if build is None or build.reason is not None:
        return False
    whole_build = build.fail_fast
    if not whole_build and not failed.written.fail_fast:
        return False
    isolate(connection)
    steps = await stored.steps_of_build(connection, failed.build_id)
    ended = [step for step in steps if ends_with(step, failed, whole_build=whole_build)]
    by = f"failFast, after {failed.name}"
    for step in ended:
        await cancel_step(core, connection, step, by=by, reason=f"cancelled by {by}")
    await stored.set_fails_as(connection, failed.build_id, failure_of_build([failed]))
    gone = {step.id for step in ended}
    spared = frozenset(step.id for step in steps if step.id not in gone)
    announce_cancelled(core, connection, failed.build_id, spared)
    return True


def announce_cancelled(
    core: Core, connection: AsyncConnection, build_id: str, spared: Collection[str] = ()
) -> None:
    """Tell the agents of the build's steps, but for those spared, once this is committed."""

    def tell() -> None:
        core.news.publish(build_topic(build_id))
        core.announcements.cancelled(build_id, spared)

    after_commit(connection, tell)


async def settle_build(core: Core, connection: AsyncConnection, build_id: str) -> BuildState:
    """Look at the whole build: unblock, skip, finish, and count anew what is open."""
    return (await settled(core, connection, build_id)).build.state


async def settled(
    core: Core, connection: AsyncConnection, build_id: str, build: Build | None = None
) -> Followed:
    """As `settle_build`, with what came of it. `build` is its row, where its version was counted up
    already."""
    now = core.now()
    steps = await _with_reused(core, connection, build_id)
    settlement = settle([step_view(step) for step in steps])
    by_id = {step.id: step for step in steps}
    unblocked = settlement.unblocked
    if unblocked and build is None and await groups.is_in_line(connection, build_id):
        unblocked = []
    for step_id in unblocked:
        by_id[step_id] = await unblock(core, connection, by_id[step_id])
    ready = _ready(by_id[step_id] for step_id in unblocked)
    for step_id, reason in settlement.skipped.items():
        by_id[step_id] = await move_step(
            core, connection, by_id[step_id], StepEvent.SKIP, reason=reason
        )
    by_id |= await _ended_with_parts(core, connection, settlement, by_id)
    still_open = await _count_anew(connection, list(by_id.values()))
    if build is None or build.open_steps != still_open:
        build = await stored.count_version(connection, build_id, now=now, still_open=still_open)
    if settlement.finished is not None and build.state not in FINISHED_BUILD:
        fails = settlement.finished is BuildEvent.CANCEL and build.fails_as is not None
        state = advance_build(build.state, BuildEvent.FAIL if fails else settlement.finished)
        ended: dict[str, Any] = {"state": state.value, "finished_at": now, "updated_at": now}
        if state is BuildState.SUCCEEDED:
            ended["reason"] = None  # a cancel that came too late
        elif state is BuildState.FAILED:
            ended["reason"] = build.fails_as or failure_of_build(steps)
        elif state is BuildState.CANCELLED and build.reason is None:
            ended["reason"] = cancel_of_build(steps)
        await stored.move_build(connection, build, **ended)
        build = replace(build, **{**ended, "state": state})
        await tell(core, connection, build)
        _count(core, connection, build)
        if build.concurrency_group is not None:
            await _begin_next(core, connection, build, build.concurrency_group)
    return Followed(build=build, ready=ready)


async def _ended_with_parts(
    core: Core, connection: AsyncConnection, settlement: Settlement, by_id: Mapping[str, Step]
) -> dict[str, Step]:
    """By id: steps that fail, or are cancelled, with a part of their image."""
    if settlement.failed or settlement.cancelled:
        isolate(connection)
    parts = {step.name: step for step in by_id.values()}
    ended: dict[str, Step] = {}
    for step_id, name in settlement.failed.items():
        why = {"reason": f"part {name}", "message": failure_words(parts[name])}
        ended[step_id] = await move_step(core, connection, by_id[step_id], StepEvent.FAIL, **why)
    for step_id, name in settlement.cancelled.items():
        why = {"reason": f"part {name}: {parts[name].reason}"}
        ended[step_id] = await move_step(core, connection, by_id[step_id], StepEvent.CANCEL, **why)
    return ended


def _count(core: Core, connection: AsyncConnection, one: Build) -> None:
    after_commit(connection, lambda: core.meter.build_ended(one.id, one.project_id, one.state))
    after_commit(connection, lambda: core.announcements.ended(one.id))


async def _with_reused(core: Core, connection: AsyncConnection, build_id: str) -> Sequence[Step]:
    """The build's steps, after those were ended that an earlier result stands for."""
    steps = await stored.steps_of_build(connection, build_id)
    if not reuse.may_reuse(steps):
        return steps
    isolate(connection)
    build = await stored.find_build(connection, build_id)
    if build is None or build.state in FINISHED_BUILD:
        return steps
    looked = await reuse.look(core, connection, build, steps)
    moved = {
        step.id: await reused(core, connection, step, looked.steps[step.id])
        for step in steps
        if step.id in looked.steps
    }
    await looked.save(core, connection, build)
    return [moved.get(step.id, step) for step in steps]


async def reused(core: Core, connection: AsyncConnection, before: Step, then: Step) -> Step:
    """The step has succeeded with an earlier result."""
    values = reuse.values_of(then)
    return await move_step(core, connection, before, StepEvent.REUSE, **values)


async def _begin_next(core: Core, connection: AsyncConnection, ended: Build, group: str) -> None:
    """The build in line begins, once none of its group is on its way."""
    isolate(connection)
    left = await groups.of_group(connection, ended.project_id, group)
    if not left or not all(build.in_line for build in left):
        return
    following = left[0]
    await groups.set_in_line(connection, following.id, in_line=False)
    await settle_build(core, connection, following.id)
    _announce_ready(core, connection, following.id)


async def _count_anew(connection: AsyncConnection, steps: Sequence[Step]) -> int:
    """How many are open. What each still waits for is written where it is another number."""
    links = links_of(steps)
    for step in steps:
        waits = links[step.id].waits
        if step.waits != waits and step.state not in FINISHED_STEP:
            await stored_steps.update_step(connection, step.id, waits=waits)
    return sum(step.state not in FINISHED_STEP for step in steps)
