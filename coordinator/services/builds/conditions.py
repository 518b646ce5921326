"""The conditions of a build's steps, answered before the transaction that saves it."""

from __future__ import annotations

from collections.abc import Mapping

from coordinator.domain.model import Project
from coordinator.domain.reading import Answer, answer_all
from coordinator.ports import NotRead
from coordinator.services.builds.drafts import Origin, conditions
from coordinator.services.core import Core
from pipelines_schema import ConditionFault, Workflow


async def answers(
    core: Core, project: Project, workflow: Workflow, origin: Origin
) -> Mapping[int, Answer]:
    """Whether each step with a condition runs, by its position in the build."""
    asked = conditions(workflow, origin)
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
