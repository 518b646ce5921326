"""What reads text that outsiders wrote. Pure, and never called in the coordinator's own process:
`coordinator.reading` does so in one that can be ended, and gives each the `watch`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipelines_schema import (
    Circumstances,
    ConditionFault,
    Generator,
    Included,
    Parsed,
    ParsedModules,
    Place,
    PullRequestFacts,
    Watch,
    Workflow,
    holds,
    parse_generated,
    parse_modules,
    parse_workflow,
    triggered_by_pull_request,
    triggered_by_push,
    workflow_from_json,
)
from pipelines_schema.changed_files import with_changes_answered

if TYPE_CHECKING:
    from coordinator.domain.image_builds import Bases, ImagePlan, ImageRequest, Mirrors


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A step's condition, to be answered for one build."""

    expression: str
    circumstances: Circumstances
    late: bool = False
    """It asks for outputs, which are not known yet: only which files differ is answered now."""


Answer = bool | str | ConditionFault
"""Text: the condition that is left to be answered later."""


def read_workflow(
    watch: Watch, content: bytes, file: str, included: Included | None = None
) -> Parsed:
    return parse_workflow(content, file, watch, included)


def read_api_workflow(watch: Watch, name: str, steps: Sequence[Mapping[str, Any]]) -> Parsed:
    return workflow_from_json(name, steps, watch)


def read_generated(watch: Watch, content: bytes, file: str, generator: Generator) -> Parsed:
    return parse_generated(content, file, generator, watch)


def answer_all(watch: Watch, questions: Sequence[Question]) -> list[Answer]:
    """For the watch, the place of a question is its index, as a line from 0."""
    return [_answer(watch, index, question) for index, question in enumerate(questions)]


def _answer(watch: Watch, index: int, question: Question) -> Answer:
    try:
        with watch(Place(index, 0)):
            if question.late:
                return _without_changes(question)
            return holds(question.expression, question.circumstances)
    except ConditionFault as fault:
        return fault


def _without_changes(question: Question) -> str:
    left, fault = with_changes_answered(question.expression, question.circumstances.changed)
    if fault is not None:
        raise ConditionFault(fault)
    return left


def named_paths(
    watch: Watch, content: bytes, file: str, workflows: Mapping[str, Workflow | None]
) -> list[str]:
    """Which paths a file of modules names, to be looked up before it is read."""
    asked: list[str] = []

    def note(path: str) -> bool:
        asked.append(path)
        return True

    parse_modules(content, file, workflows, note)
    return asked


def read_modules(
    watch: Watch,
    content: bytes,
    file: str,
    workflows: Mapping[str, Workflow | None],
    folders: frozenset[str],
) -> ParsedModules:
    return parse_modules(content, file, workflows, folders.__contains__)


def has_build_script(watch: Watch, package_json: bytes) -> bool:
    """False for what is no JSON object."""
    try:
        manifest = json.loads(package_json)
    except (ValueError, RecursionError):
        return False
    scripts = manifest.get("scripts") if isinstance(manifest, dict) else None
    return isinstance(scripts, dict) and isinstance(scripts.get("build"), str)


def is_started_by_push(
    watch: Watch, workflow: Workflow, branch: str, changed: Sequence[str]
) -> bool:
    """Thousands of paths by dozens of patterns: ten seconds where somebody means it."""
    return triggered_by_push(workflow, branch, changed)


def is_started_by_pull_request(
    watch: Watch, workflow: Workflow, facts: PullRequestFacts, changed: Sequence[str]
) -> bool:
    return triggered_by_pull_request(workflow, facts, changed)


def read_image_plan(
    watch: Watch, request: ImageRequest, account_slug: str, bases: Bases, mirrors: Mirrors
) -> ImagePlan:
    """Raises RefusedSources."""
    # A quarter of what this module takes to load: every other text is read without it.
    from coordinator.domain.image_builds import plan_image

    return plan_image(request, account=account_slug, bases=bases, mirrors=mirrors)
