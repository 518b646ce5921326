"""A build's whole log, laid out: every step's in order, each attempt below a heading. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from coordinator.domain.model import Attempt, Build, Step
from pipelines_schema import Problem

Part = tuple[str, Attempt | None, str]
"""Heading, the attempt whose log stands below it, and what is said after that."""


def parts_of(
    build: Build, steps: Sequence[Step], attempts: Mapping[str, Sequence[Attempt]]
) -> Iterator[Part]:
    """`attempts` are by step, in the order they were tried."""
    if not steps:
        yield f"build {build.state.value}", None, _why(build)
    for step in steps:
        yield from _parts_of(step, attempts.get(step.id, ()))


def _parts_of(step: Step, attempts: Sequence[Attempt]) -> Iterator[Part]:
    if not attempts:
        reason = f" ({step.reason})" if step.reason else ""
        yield f"step {step.name}: {step.state.value}{reason}", None, step.message or ""
    for attempt in attempts:
        number = f", attempt {attempt.number}" if len(attempts) > 1 else ""
        last = attempt is attempts[-1]
        yield (
            f"step {step.name}{number}: {attempt.state.value}{_how(attempt)}",
            attempt,
            step.message or "" if last else "",
        )


def _how(attempt: Attempt) -> str:
    if attempt.reason is not None:
        return f" ({attempt.reason})"
    return f" (exit code {attempt.exit_code})" if attempt.exit_code else ""


def _why(build: Build) -> str:
    """A build without steps failed before it had any: that is all that there is to read."""
    problems: Sequence[Mapping[str, Any]] = build.problems
    lines = [build.reason or "", *(str(Problem.from_json(dict(one))) for one in problems)]
    return "\n".join(filter(None, lines))
