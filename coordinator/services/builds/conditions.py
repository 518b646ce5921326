"""The conditions of a build's steps, answered before the transaction that saves it, or, where they
ask for outputs, before the one that lets the step run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from coordinator.domain.model import Build, Project, Step
from coordinator.domain.reading import Answer, Question, answer_all
from coordinator.domain.steps.step_words import ref_of
from coordinator.ports import NotRead
from coordinator.services.builds.changed_files import changed_files
from coordinator.services.builds.drafts import Origin, with_default_params
from coordinator.services.core import Core
from pipelines_schema import (
    Circumstances,
    ConditionFault,
    Workflow,
    expanded_steps,
    step_environment,
)
from pipelines_schema import Step as WorkflowStep
from pipelines_schema.cel_outputs import values_named
from pipelines_schema.changed_files import asks_for_changes
from pipelines_schema.expressions import substituted


async def answers(
    core: Core, project: Project, workflow: Workflow, origin: Origin
) -> Mapping[int, Answer]:
    """Whether each step with a condition runs, by its position in the build."""
    changed = None
    if any(step.when and asks_for_changes(step.when.expression) for step in workflow.steps):
        changed = await changed_files(core, project, workflow, origin)
    asked = _questions(workflow, origin, changed)
    if not asked:
        return {}
    questions = list(asked.values())
    try:
        given = await core.readings.run(project.account_id, answer_all, questions)
    except NotRead as error:
        given = _unanswered(len(asked), error)
    return dict(zip(asked, given, strict=True))


def _unanswered(count: int, error: NotRead) -> list[Answer]:
    """The fault stands at the one that was being evaluated, if it was that one's alone."""
    if error.place is None:
        fault = ConditionFault(f"can't be worked out: with the other steps' it {error.reason}")
        return [fault, *[True] * (count - 1)]
    given: list[Answer] = [True] * count
    given[error.place.line] = ConditionFault(error.reason)
    return given


async def late_answers(
    core: Core, build: Build, steps: Sequence[Step], outputs: Mapping[str, Mapping[str, str]]
) -> Mapping[str, Answer]:
    """Whether each of the steps runs, by its id, now that what its condition asks for is known:
    `outputs` by the names of the build's steps."""
    questions = {step.id: _late_question(build, step, outputs) for step in steps}
    if not questions:
        return {}
    try:
        given = await core.readings.run(build.account_id, answer_all, list(questions.values()))
    except NotRead as error:
        if len(steps) > 1:  # one that takes too long must not fail the others
            alone = [await late_answers(core, build, [step], outputs) for step in steps]
            return {step_id: answer for one in alone for step_id, answer in one.items()}
        given = [ConditionFault(error.reason)]
    return dict(zip(questions, given, strict=True))


def _late_question(build: Build, step: Step, outputs: Mapping[str, Mapping[str, str]]) -> Question:
    written, when = step.written, step.written.when
    if when is None:
        raise ValueError(f"step {step.id} has no condition")
    known = _circumstances(written, Origin.of_retry(build), written.env)
    asked = values_named(when.outputs, outputs)
    return Question(expression=when.expression, circumstances=replace(known, outputs=asked))


def _questions(
    workflow: Workflow, origin: Origin, changed: Sequence[str] | None
) -> dict[int, Question]:
    """What is to be answered before the workflow can be drafted, by the step's position."""
    origin = with_default_params(workflow, origin)
    return {
        position: Question(
            expression=step.when.expression,
            circumstances=replace(
                _circumstances(step, origin, step_environment(workflow, step)), changed=changed
            ),
            late=bool(step.when.outputs),
        )
        for position, step in enumerate(expanded_steps(workflow.steps))
        if step.when is not None
        and (not step.when.outputs or asks_for_changes(step.when.expression))
    }


def _circumstances(step: WorkflowStep, origin: Origin, env: Mapping[str, str]) -> Circumstances:
    pull = origin.pull_request
    known = {f"params.{name}": value for name, value in (origin.params or {}).items()}
    known["sha"] = origin.commit_hash or ""
    return Circumstances(
        event=origin.event,
        branch=origin.branch or "",
        tag=origin.tag or "",
        message=origin.commit_message or "",
        author=origin.commit_author or "",
        ref=ref_of(pull, origin.tag, origin.branch) or "",
        labels=pull.labels if pull else (),
        draft=pull is not None and pull.draft,
        params=origin.params or {},
        matrix=step.matrix_values,
        env={name: substituted(value, known) for name, value in env.items()},
    )
