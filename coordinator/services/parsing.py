"""What outsiders wrote, as it reads; text that breaks a limit reads as one with a mistake."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from coordinator.domain import reading
from coordinator.ports import NotRead, Readings, WorkflowFile
from pipelines_schema import (
    Generator,
    Included,
    Parsed,
    ParsedModules,
    Problem,
    PullRequestFacts,
    Workflow,
    triggered_by_pull_request,
    triggered_by_push,
)


async def parsed_workflow(
    readings: Readings, account: str, file: WorkflowFile, included: Included | None = None
) -> Parsed:
    """One that includes files is answered with their names where `included` is None."""
    try:
        return await readings.run(account, reading.read_workflow, file.content, file.path, included)
    except NotRead as error:
        return Parsed(workflow=None, problems=(_problem(error, file.path),))


async def parsed_generated(
    readings: Readings, account: str, file: WorkflowFile, generator: Generator
) -> Parsed:
    """What a step has generated, as a workflow."""
    try:
        return await readings.run(
            account, reading.read_generated, file.content, file.path, generator
        )
    except NotRead as error:
        return Parsed(workflow=None, problems=(_problem(error, file.path),))


async def parsed_api_workflow(
    readings: Readings, account: str, name: str, steps: Sequence[Mapping[str, Any]]
) -> Parsed:
    try:
        return await readings.run(account, reading.read_api_workflow, name, steps)
    except NotRead as error:
        return Parsed(workflow=None, problems=(_problem(error, None),))


async def started_by_push(
    readings: Readings, account: str, workflow: Workflow, branch: str, changed: Sequence[str] | None
) -> bool | Parsed:
    """Whether it is, or why that can't be known."""
    if changed is None or not triggered_by_push(workflow, branch):
        return triggered_by_push(workflow, branch)
    try:
        return await readings.run(account, reading.is_started_by_push, workflow, branch, changed)
    except NotRead as error:
        return _unmatched(error, workflow)


async def started_by_pull_request(
    readings: Readings,
    account: str,
    workflow: Workflow,
    facts: PullRequestFacts,
    changed: Sequence[str] | None,
) -> bool | Parsed:
    """Whether it is, or why that can't be known."""
    if changed is None or not triggered_by_pull_request(workflow, facts):
        return triggered_by_pull_request(workflow, facts)
    try:
        return await readings.run(
            account, reading.is_started_by_pull_request, workflow, facts, changed
        )
    except NotRead as error:
        return _unmatched(error, workflow)


def _unmatched(error: NotRead, workflow: Workflow) -> Parsed:
    message = f"which of the changed files `paths` matches {error.reason}"
    problem = Problem(message=message, file=workflow.file)
    return Parsed(workflow=None, problems=(problem,))


async def named_paths(
    readings: Readings, account: str, file: WorkflowFile, workflows: Mapping[str, Workflow | None]
) -> list[str]:
    """Empty where it can't be read, which `parsed_modules` will tell."""
    try:
        return await readings.run(account, reading.named_paths, file.content, file.path, workflows)
    except NotRead:
        return []


async def parsed_modules(
    readings: Readings,
    account: str,
    file: WorkflowFile,
    workflows: Mapping[str, Workflow | None],
    folders: frozenset[str],
) -> ParsedModules:
    try:
        return await readings.run(
            account, reading.read_modules, file.content, file.path, workflows, folders
        )
    except NotRead as error:
        return ParsedModules(modules=(), problems=(_problem(error, file.path),))


def _problem(error: NotRead, file: str | None) -> Problem:
    """`file` is None for what came over the API, where places are paths."""
    place = error.place
    message = f"{'this text' if place is None else '`when`'} {error.reason}"
    if place is None:
        return Problem(message=message, file=file, path="steps" if file is None else None)
    if file is None:
        return Problem(message=message, path=place.path)
    file = place.file or file
    return Problem(message=message, file=file, line=place.line, column=place.column)
