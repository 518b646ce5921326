"""A build that has ended, as a trace: the build, its steps, what each waited for, their attempts.

Names of attributes are those of OpenTelemetry's conventions for CI/CD, where they have one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta

from coordinator.domain.lifecycle import BuildState, StepState
from coordinator.domain.model import Attempt, AttemptState, Build, Step
from pipelines_schema.spans import Span, Value, span_of, trace_of_build

_BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)


def spans_of(
    build: Build, project: str, steps: Sequence[Step], attempts: Mapping[str, Sequence[Attempt]]
) -> Iterator[Span]:
    """`project` as account/project; the attempts by step, in their order."""
    trace_id, root = trace_of_build(build.id), span_of("build", build.id)
    ended = build.finished_at or build.updated_at
    yield Span(
        name=f"{project} {build.workflow_name} #{build.number}",
        trace_id=trace_id,
        span_id=root,
        parent_id=None,
        began_ns=_ns(build.created_at),
        ended_ns=_ns(ended),
        failed=build.state is BuildState.FAILED,
        attributes=_without_none(
            {
                "cicd.pipeline.name": build.workflow_name,
                "cicd.pipeline.run.id": build.id,
                "cicd.pipeline.result": build.state.value,
                "vcs.ref.head.name": build.branch or build.tag,
                "vcs.ref.head.revision": build.commit_hash,
                "pushrod.project": project,
                "pushrod.build.number": build.number,
                "pushrod.build.event": build.event,
                "pushrod.build.reason": build.reason,
            }
        ),
    )
    ends = {step.name: step.finished_at for step in steps}
    for step in steps:
        known = [end for name in step.depends_on if (end := ends.get(name)) is not None]
        free_at = max([build.created_at, *known])
        yield from _of_step(trace_id, root, step, attempts.get(step.id, ()), free_at, ended)


def _of_step(
    trace_id: str,
    root: str,
    step: Step,
    attempts: Sequence[Attempt],
    free_at: datetime,
    build_ended: datetime,
) -> Iterator[Span]:
    """`free_at`: when the last of what it depends on had ended."""
    own = span_of("step", step.id)
    ended = max(step.finished_at or build_ended, free_at)
    yield Span(
        name=step.name,
        trace_id=trace_id,
        span_id=own,
        parent_id=root,
        began_ns=_ns(free_at),
        ended_ns=_ns(ended),
        failed=step.state is StepState.FAILED,
        attributes=_without_none(
            {
                "cicd.pipeline.task.name": step.name,
                "cicd.pipeline.task.run.id": step.id,
                "cicd.pipeline.task.run.result": step.state.value,
                "pushrod.step.reason": step.reason,
                "pushrod.step.exit_code": step.exit_code,
            }
        ),
    )
    waits_from = free_at
    for attempt in attempts:
        if attempt.started_at > waits_from:
            yield _part("wait", trace_id, own, attempt, waits_from, attempt.started_at)
        finished = attempt.finished_at or ended
        yield _part("attempt", trace_id, own, attempt, attempt.started_at, finished)
        waits_from = finished


def _part(
    what: str, trace_id: str, parent: str, attempt: Attempt, began: datetime, ended: datetime
) -> Span:
    is_attempt = what == "attempt"
    return Span(
        name=f"{what} {attempt.number}",
        trace_id=trace_id,
        span_id=span_of(what, attempt.id),
        parent_id=parent,
        began_ns=_ns(began),
        ended_ns=_ns(ended),
        failed=is_attempt and attempt.state in (AttemptState.FAILED, AttemptState.LOST),
        attributes=_without_none(
            {
                "pushrod.attempt": attempt.number,
                "pushrod.attempt.id": attempt.id,
                "cicd.worker.id": attempt.holder if is_attempt else None,
                "pushrod.attempt.state": attempt.state.value if is_attempt else None,
                "pushrod.attempt.reason": attempt.reason if is_attempt else None,
            }
        ),
    )


def _without_none(values: Mapping[str, Value | None]) -> Mapping[str, Value]:
    return {name: value for name, value in values.items() if value is not None}


def _ns(moment: datetime) -> int:
    return (moment - _BEGINNING) // timedelta(microseconds=1) * 1000
