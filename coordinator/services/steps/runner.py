"""Handing a step over: an agent accepts its offer, a worker claims a ready step."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

from coordinator.domain.errors import (
    Conflict,
    Invalid,
    NotFound,
    NotTheHolder,
    StaleEpoch,
)
from coordinator.domain.lifecycle import StepEvent, StepState
from coordinator.domain.model import Attempt, AttemptState, Build, Step
from coordinator.domain.people.permissions import Principal, PrincipalKind, Right
from coordinator.domain.steps.holders import holder_of
from coordinator.domain.steps.scheduling import Queue, WaitingAgent
from coordinator.domain.steps.script import bash_script
from coordinator.services.audit import Deed
from coordinator.services.core import Core
from coordinator.services.images.image_builds import FOR_BUILDKIT
from coordinator.services.news import build_topic
from coordinator.services.steps import advance
from coordinator.services.steps.dispatch import Dispatch
from coordinator.services.steps.refused_claims import refusal_of_claim
from coordinator.services.steps.step_specs import StepSpecs
from coordinator.services.steps.told import tell_step
from coordinator.storage.connection import AsyncConnection
from coordinator.storage.database import after_commit
from coordinator.storage.steps import attempts as stored_attempts
from coordinator.storage.steps import steps as stored_steps
from coordinator.storage.steps.queue import begin_next
from pipelines_schema.contract import StepSpec

MAX_NOTED_REFUSALS = 10_000
CLAIM_GRACE_SECONDS = 60.0
"""What a worker without leases gets beyond the step's timeout, to fetch and report."""


OnBegin = Callable[[AsyncConnection, Step], Awaitable[None]]
"""Part of the transaction in which a step begins."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Begun:
    step: Step
    build: Build | None = None
    """As it stands since; None where that was not read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FreeSlot:
    """Of an agent's process that polls, or reports on a step and asks for another."""

    agent: WaitingAgent
    instance: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HandedOver:
    """A step that begins with the answer to a completion, or to a poll."""

    begun: _Begun
    spec: StepSpec
    slot: FreeSlot


@dataclass(slots=True)
class Runner:
    core: Core
    dispatch: Dispatch
    specs: StepSpecs
    on_begin: Sequence[OnBegin] = ()
    _refused: set[tuple[str, str]] = field(default_factory=set)
    """Token and step of refused reports that the audit log has."""

    # Getting a step

    async def accept(self, principal: Principal, step_id: str, epoch: int) -> StepSpec:
        """The agent takes its offer. Repeated, it is answered the same. Raises StaleEpoch."""

        async def accept(connection: AsyncConnection) -> _Begun:
            await stored_steps.lock_step(connection, step_id)
            step = await self.find(connection, principal, step_id)
            if step.epoch != epoch or step.holder != principal.holder:
                raise self.core.generations.stale(step, epoch)
            if step.state is StepState.RUNNING:
                return _Begun(step=step)
            if step.state is not StepState.OFFERED:
                raise StaleEpoch
            lease = self.core.settings.lease_seconds
            return await self._begin(connection, step, StepEvent.ACCEPT, principal, lease)

        begun = await self.core.database.write(accept, committed=self._begun, locking=True)
        return await self._spec(begun.step, principal, begun.build)

    async def claim(self, principal: Principal, step_id: str) -> str:
        """The bash script of a ready step; getting it is the claim.

        Repeated by the claimant it is the same script. Raises Conflict for any other step.
        """

        async def claim(connection: AsyncConnection) -> _Begun:
            step = await self.find(connection, principal, step_id)
            if step.definition.own_command:
                raise Conflict(
                    f"step {step.name!r} runs an image by its own command: it needs an agent on "
                    "BuildKit"
                )
            if step.state is StepState.RUNNING and step.holder == principal.holder:
                return _Begun(step=step)
            if step.written.build is not None:
                raise Conflict(f"step {step.name!r} {FOR_BUILDKIT}", needs=list(step.needs))
            if step.written.services:
                raise Conflict(
                    f"step {step.name!r} has `services`: it needs an agent on BuildKit, which runs "
                    "them",
                    needs=list(step.needs),
                )
            if step.written.privileged:
                raise Conflict(
                    f"step {step.name!r} is `privileged`: it needs an agent that allows it",
                    needs=list(step.needs),
                )
            if step.written.inputs is not None:
                raise Conflict(
                    f"step {step.name!r} has `inputs`: it needs an agent, which gives it these "
                    "files alone"
                )
            lease = float(step.written.timeout_seconds) + CLAIM_GRACE_SECONDS
            if step.state is StepState.OFFERED and step.holder == principal.holder:
                return await begin(connection, step, StepEvent.ACCEPT, lease)
            if step.state is not StepState.READY:
                raise await refusal_of_claim(self.core, connection, step)
            if principal.agent_id and self.dispatch.is_paused(principal.agent_id):
                raise Conflict("this agent is paused: it takes no new steps")
            given = await stored_steps.hand_out(
                connection, step_id, to=StepState.READY, holder=principal.holder
            )
            if given is None:
                raise StaleEpoch("another worker was quicker")
            step = await self.find(connection, principal, step_id)
            return await begin(connection, step, StepEvent.CLAIM, lease)

        async def begin(
            connection: AsyncConnection, step: Step, event: StepEvent, lease: float
        ) -> _Begun:
            begun = await self._begin(connection, step, event, principal, lease)
            await Deed(self.core, principal, begun.step).record(connection, "step.claimed")
            return begun

        begun = await self.core.database.write(claim, committed=self._begun)
        return bash_script(
            await self._spec(begun.step, principal, begun.build), self.core.public_url
        )

    async def _begin(
        self,
        connection: AsyncConnection,
        step: Step,
        event: StepEvent,
        principal: Principal,
        lease_seconds: float,
    ) -> _Begun:
        attempt = self._new_attempt(step, principal.holder, step.attempt + 1)
        await self._insert(connection, attempt)
        step = await advance.move_step(
            self.core,
            connection,
            step,
            event,
            attempt=attempt.number,
            holder=principal.holder,
            lease_seconds=lease_seconds,
            exit_code=None,
            reason=None,
            message=None,
            images=None,
        )
        build = await advance.begin_build(self.core, connection, step.build_id)
        for hook in self.on_begin:
            await hook(connection, step)
        return _Begun(step=step, build=build)

    async def _insert(self, connection: AsyncConnection, attempt: Attempt) -> None:
        await stored_attempts.insert_attempt(connection, attempt)
        after_commit(connection, partial(self.core.logs.begin, attempt.id))

    def _begun(self, begun: _Begun) -> None:
        self.dispatch.begin(begun.step)
        self._tell_begun(begun.step)

    def _new_attempt(
        self, step: Step, holder: str, number: int, given_with: str | None = None
    ) -> Attempt:
        return Attempt(
            step_id=step.id,
            epoch=step.epoch,
            number=number,
            state=AttemptState.RUNNING,
            holder=holder,
            exit_code=None,
            reason=None,
            log_bytes=None,
            log_sha256=None,
            started_at=self.core.now(),
            finished_at=None,
            given_with=given_with,
        )

    # With an answer

    async def hand_over(
        self,
        connection: AsyncConnection,
        slot: FreeSlot,
        *,
        after: Attempt,
        build: Build | None = None,
        only_of_it: bool = False,
    ) -> HandedOver | None:
        """The step whose turn it is at the slot that a completion frees, if it is of that build
        where it may be `only_of_it`. `after` is the attempt that ended, and `build` its build as it
        is now, where that is known."""
        queue = await self.dispatch.choose(connection, slot.agent)
        if queue is None:
            return None
        return await self.begin_next(
            connection, queue, slot, given_with=after.id, build=build, only_of_it=only_of_it
        )

    async def begin_next(
        self,
        connection: AsyncConnection,
        queue: Queue,
        slot: FreeSlot,
        *,
        given_with: str,
        build: Build | None = None,
        only_of_it: bool = False,
    ) -> HandedOver | None:
        """The queue's next step, handed out and accepted. `given_with` says what its spec is the
        answer to."""
        holder = holder_of(slot.agent.agent_id)
        step = await begin_next(
            connection,
            queue,
            holder,
            lease_seconds=self.core.settings.lease_seconds,
            now=self.core.now(),
            build_id=build.id if build and only_of_it else None,
        )
        if step is None:
            return None
        attempt = self._new_attempt(step, holder, step.attempt, given_with)
        await self._insert(connection, attempt)
        await tell_step(self.core, connection, step, StepState.READY)
        if build is None or step.build_id != build.id:
            build = await advance.begin_build(self.core, connection, step.build_id)
        for hook in self.on_begin:
            await hook(connection, step)
        spec = await self.specs.read(connection, step, build)
        return HandedOver(begun=_Begun(step=step), spec=spec, slot=slot)

    def handed_over(self, given: HandedOver) -> None:
        """Once that is committed: it is told with the answer to a completion."""
        self.dispatch.hand_over(given.begun.step, given.slot.instance)
        self._tell_begun(given.begun.step)

    def begun_with_poll(self, given: HandedOver) -> None:
        """Once that is committed: it is told with the answer to a poll."""
        self.dispatch.give(given.begun.step, given.slot.agent, given.spec)
        self._tell_begun(given.begun.step)

    def _tell_begun(self, step: Step) -> None:
        self.core.meter.step_began(step, self.core.now())
        self.core.news.publish(build_topic(step.build_id))

    async def given_with(self, principal: Principal, attempt: Attempt) -> StepSpec | None:
        """What the completion of that attempt was answered with, for as long as it runs."""

        async def read(connection: AsyncConnection) -> StepSpec | None:
            given = await stored_attempts.handed_over_with(connection, attempt)
            if given is None or given.holder != principal.holder:
                return None
            step = await stored_steps.find_step(connection, given.step_id)
            if step is None or step.epoch != given.epoch or step.state is not StepState.RUNNING:
                return None
            return await self.specs.read(connection, step)

        return await self.core.database.read(read)

    async def spec(self, principal: Principal, step_id: str) -> StepSpec:
        """The spec once more, for the holder of the lease."""
        step = await self.core.database.read(
            lambda connection: self.find(connection, principal, step_id)
        )
        if step.state is not StepState.RUNNING:
            raise Conflict("only a running step has a spec: poll for it, or GET its script")
        if not principal.holds(step_id, step.epoch, step.holder or ""):
            await self._note_refusal(principal, step_id)
            raise NotTheHolder("only the holder of a running step's lease gets its spec")
        return await self._spec(step, principal)

    async def find(self, connection: AsyncConnection, principal: Principal, step_id: str) -> Step:
        step = await stored_steps.find_step(connection, step_id)
        if step is None or not principal.sees(step.account_id):
            raise NotFound("step not found")
        return step

    async def _spec(self, step: Step, principal: Principal, build: Build | None = None) -> StepSpec:
        """Logins to registries are for agents alone: a worker's script could read its own spec."""
        spec = await self.core.database.read(
            lambda connection: self.specs.read(connection, step, build)
        )
        if principal.kind is PrincipalKind.AGENT:
            return spec
        return spec.model_copy(update={"registries": []})

    # Speaking for a step

    async def attempt(
        self, principal: Principal, step_id: str, epoch: int | None
    ) -> tuple[Step, Attempt]:
        """The attempt that the principal speaks for: who holds its hand-out, and nobody else.

        Agents must name the epoch; a person may leave it out and means the current one.
        Raises StaleEpoch, NotTheHolder, NotFound, Invalid.
        """
        try:
            return await self.core.database.read(
                lambda connection: self.attempt_in(connection, principal, step_id, epoch)
            )
        except NotTheHolder:
            await self._note_refusal(principal, step_id)
            raise

    async def _note_refusal(self, principal: Principal, step_id: str) -> None:
        """A person's in the audit log, once for each step and token: a loop doesn't fill it."""
        if principal.kind is not PrincipalKind.PERSON:
            return
        tried = (principal.token_id, step_id)
        if tried in self._refused:
            return
        if len(self._refused) >= MAX_NOTED_REFUSALS:
            self._refused.clear()
        self._refused.add(tried)

        async def note(connection: AsyncConnection) -> None:
            step = await self.find(connection, principal, step_id)
            await Deed(self.core, principal, step).record(
                connection, "step.report_refused", holder=step.holder
            )

        await self.core.database.write(note)

    async def attempt_in(
        self,
        connection: AsyncConnection,
        principal: Principal,
        step_id: str,
        epoch: int | None,
    ) -> tuple[Step, Attempt]:
        wanted = principal.epoch if principal.kind is PrincipalKind.STEP else epoch
        found = await stored_attempts.find_step_and_attempt(connection, step_id, wanted)
        if (
            found is None
            and principal.kind is PrincipalKind.AGENT
            and self.core.generations.current
        ):
            # Of after the backup: its agent is to stop, not to ask on.
            raise self.core.generations.stale(None, wanted)
        if found is None or not principal.sees(found[0].account_id):
            raise NotFound("step not found")
        step, attempt = found
        if principal.kind is PrincipalKind.STEP:
            if principal.step_id != step_id:
                raise NotFound("step not found")
            if epoch not in (None, principal.epoch):
                raise StaleEpoch
        elif principal.kind is not PrincipalKind.AGENT:
            principal.require(Right.BUILD)
        elif epoch is None:
            raise Invalid("an agent names the epoch of its hand-out: ?epoch=N")
        if attempt is None:
            if wanted is None:
                raise Conflict(f"step {step.name!r} is not running: GET its script to claim it")
            raise self.core.generations.stale(step, wanted)
        if not principal.holds(step_id, attempt.epoch, attempt.holder):
            if principal.kind is PrincipalKind.AGENT:
                raise self.core.generations.stale(step, attempt.epoch)
            raise NotTheHolder(
                f"step {step.name!r} is another worker's: only who holds its hand-out reports on it"
            )
        return step, attempt
