"""Somebody answers a gate: the build goes on, or the step fails."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from coordinator.domain.errors import Conflict, Forbidden, Invalid, NotFound
from coordinator.domain.gate_answer import GateAnswer
from coordinator.domain.lifecycle import FINISHED_STEP, StepEvent, StepState
from coordinator.domain.model import Build, Step
from coordinator.domain.people.permissions import Principal
from coordinator.domain.steps.gates import RIGHT_OF, approval_by, approver_of
from coordinator.services.audit import Deed
from coordinator.services.core import Core
from coordinator.services.news import build_topic
from coordinator.services.steps import advance
from coordinator.services.steps.dispatch import Dispatch
from coordinator.storage.builds import builds as stored
from coordinator.storage.connection import AsyncConnection
from coordinator.storage.outputs.output_values import mark_build
from coordinator.storage.steps import steps as stored_steps
from pipelines_schema import Gate, default_params, param_problems
from pipelines_schema.step_outputs import OutputsError, check_outputs

Answering = Callable[[Gate], GateAnswer]
"""Raises Invalid."""


@dataclass(frozen=True, slots=True)
class Gates:
    core: Core
    dispatch: Dispatch

    async def approve(
        self, principal: Principal, step_id: str, given: Mapping[str, str]
    ) -> tuple[Build, Step]:
        """The step succeeds, with its parameters as outputs.

        Raises NotFound; Forbidden for one without the role; Conflict for a step that doesn't wait
        for an answer, telling who was quicker; Invalid for wrong parameters.
        """

        def answer(gate: Gate) -> GateAnswer:
            params = _checked(gate, given)
            return GateAnswer(approved=True, by=principal.name, params=params)

        return await self._answer(principal, step_id, answer)

    async def reject(self, principal: Principal, step_id: str) -> tuple[Build, Step]:
        """The step fails. Raises as `approve` does."""
        rejected = GateAnswer(approved=False, by=principal.name)
        return await self._answer(principal, step_id, lambda gate: rejected)

    async def _answer(
        self, principal: Principal, step_id: str, answer: Answering
    ) -> tuple[Build, Step]:
        core = self.core

        async def save(connection: AsyncConnection) -> tuple[Build, Step]:
            step, build = await _find(connection, principal, step_id)
            gate = _gate(step)
            _check_may_answer(principal, gate, build)
            given = answer(gate)
            if not await stored_steps.keep_answer(connection, step.id, given):
                raise _refusal(step)
            step = await advance.move_step(
                core,
                connection,
                replace(step, answer=given),
                StepEvent.SUCCEED if given.approved else StepEvent.FAIL,
                reason=given.reason,
            )
            if given.params:
                await mark_build(connection, build.id)
            await advance.follow_end(core, connection, step)
            how = "step.approved" if given.approved else "step.rejected"
            named = {"name": step.name, **({"params": given.params} if given.params else {})}
            await Deed(core, principal, step).record(connection, how, **named)
            return build, step

        def committed(answered: tuple[Build, Step]) -> None:
            core.news.publish(build_topic(answered[0].id))
            self.dispatch.wake()

        return await core.database.write(save, committed=committed)


async def _find(
    connection: AsyncConnection, principal: Principal, step_id: str
) -> tuple[Step, Build]:
    step = await stored_steps.find_step(connection, step_id)
    if step is None or not principal.sees(step.account_id):
        raise NotFound("step not found")
    build = await stored.find_build(connection, step.build_id)
    if build is None:
        raise NotFound("build not found")
    return step, build


def _gate(step: Step) -> Gate:
    if step.written.approve is None:
        raise Conflict(f"step `{step.name}` asks for no approval: it has no `approve`")
    return step.written.approve


def _check_may_answer(principal: Principal, gate: Gate, build: Build) -> None:
    role = approver_of(gate, of_fork=build.of_fork)
    if RIGHT_OF[role] in principal.rights:
        return
    why = ", for outsiders wrote the workflow" if role is not gate.by else ""
    raise Forbidden(f"this step waits for {approval_by(role)}{why}: your role may not give it")


def _checked(gate: Gate, given: Mapping[str, str]) -> Mapping[str, str]:
    problems = param_problems(gate.params, given)
    if problems:
        raise Invalid(
            "the parameters are not those of the step",
            details=[
                {"path": f"params.{name}", "message": message} for name, message in problems.items()
            ],
        )
    params = {**default_params(gate.params), **given}
    try:
        check_outputs(params)
    except OutputsError as error:
        raise Invalid(str(error)) from error
    return params


def _refusal(step: Step) -> Conflict:
    if step.answer is not None and step.finished_at is not None:
        at = step.finished_at.isoformat(timespec="seconds")
        return Conflict(f"step `{step.name}` was {step.answer.reason} at {at}")
    if step.state is StepState.BLOCKED:
        return Conflict(f"step `{step.name}` does not wait for an answer yet")
    if step.state in FINISHED_STEP:
        return Conflict(f"step `{step.name}` has ended already: {step.reason or step.state.value}")
    return Conflict(f"step `{step.name}` was answered by somebody else just now")
