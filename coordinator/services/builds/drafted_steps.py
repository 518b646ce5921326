"""The steps of a workflow as those of a build, not yet saved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from coordinator.domain.builds.roll_up import settle, step_view, turn_of
from coordinator.domain.lifecycle import StepState
from coordinator.domain.model import Project, Step
from coordinator.domain.reading import Answer
from coordinator.domain.step_definition import StepDefinition
from coordinator.services.core import new_id
from pipelines_schema import ConditionFault, Problem, Workflow, expanded_steps, step_environment
from pipelines_schema import Step as WorkflowStep
from pipelines_schema.contract import Capability
from pipelines_schema.platforms import platform_need

CONDITION_FALSE = "condition false"


def drafted(
    workflow: Workflow,
    project: Project,
    build_id: str,
    now: datetime,
    answers: Mapping[int, Answer],
    *,
    first: int = 0,
    input_files: Mapping[tuple[str, ...], str] | None = None,
) -> tuple[list[Step], list[Problem]]:
    """The steps, from position `first` on, and what is wrong with their conditions. `answers` are
    by the place among the steps; `input_files` the digests by the patterns."""
    steps: list[Step] = []
    problems: dict[Problem, None] = {}
    for position, step in enumerate(expanded_steps(workflow.steps)):
        runs = _answer(step, position, answers)
        if isinstance(runs, ConditionFault):
            problems[_condition_problem(workflow, step, runs)] = None
            continue
        if isinstance(runs, str):
            step = replace(step, when=step.when and replace(step.when, expression=runs))
        definition = StepDefinition(
            written=replace(step, env=step_environment(workflow, step)),
            condition_false=not runs,
            workflow_env=dict(workflow.env) if step.generates is not None else {},
            input_files=None if step.inputs is None else (input_files or {}).get(step.inputs),
        )
        steps.append(fresh(definition, first + position, project, build_id, now))
    return steps, list(problems)


def _answer(step: WorkflowStep, position: int, answers: Mapping[int, Answer]) -> Answer:
    if step.when is None:
        return True
    return answers.get(position, True) if step.when.outputs else answers[position]


def _condition_problem(workflow: Workflow, step: WorkflowStep, fault: ConditionFault) -> Problem:
    when = step.when
    return Problem(
        message=f"`when` of step `{step.name}` {fault}",
        file=(when.file if when else None) or workflow.file,
        line=when.line if when and when.line else None,
        column=when.column if when and when.column else None,
    )


def settled(steps: Sequence[Step], now: datetime) -> list[Step]:
    """The steps of a new build: what a false condition leaves out is skipped from the start."""
    settlement = settle([step_view(step) for step in steps])
    result = []
    for step in steps:
        if step.id in settlement.skipped:
            reason = settlement.skipped[step.id]
            step = replace(step, state=StepState.SKIPPED, reason=reason, finished_at=now)
        elif step.id in settlement.unblocked:
            state = turn_of(step.written)
            at = None if state is StepState.RESOLVING else now
            step = replace(step, state=state, ready_at=at)
        result.append(step)
    return result


def needs_of(definition: StepDefinition) -> list[str]:
    """Capabilities that an agent must have for it."""
    written = definition.written
    asked = {
        Capability.IMAGE_BUILDS: written.build is not None,
        Capability.IMAGE_OPTIONS: written.build is not None and not written.build.is_plain,
        Capability.IMAGE_PARTS: bool(definition.parts) or definition.part_of is not None,
        Capability.USERS: written.user is not None,
        Capability.SERVICES: bool(written.services),
        Capability.PRIVILEGED: written.wants_privileges,
        Capability.INPUTS: written.inputs is not None,
        Capability.SHELLS: written.workdir is not None or written.shell is not None,
    }
    needs = [capability.value for capability, needed in asked.items() if needed]
    if definition.part_of is not None and written.build is not None:
        needs += map(platform_need, written.build.platforms)
    return needs


def fresh(
    definition: StepDefinition, position: int, project: Project, build_id: str, now: datetime
) -> Step:
    written = definition.written
    ready = not written.depends_on
    state = turn_of(written) if ready else StepState.BLOCKED
    skipped = definition.condition_false
    return Step(
        id=new_id(),
        build_id=build_id,
        project_id=project.id,
        account_id=project.account_id,
        position=position,
        name=written.name,
        state=StepState.SKIPPED if skipped else state,
        reason=CONDITION_FALSE if skipped else None,
        finished_at=now if skipped else None,
        definition=definition,
        depends_on=list(written.depends_on),
        labels=dict(written.agents),
        epoch=0,
        attempt=0,
        lost_count=0,
        needs=needs_of(definition),
        holder=None,
        lease_seconds=None,
        ready_at=now if ready and not skipped else None,
    )
