"""What a build's log says besides the steps' own output: how steps and the build ended. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from coordinator.domain.lifecycle import SHOWN_AS, BuildState, StepState
from coordinator.domain.logs.build_log import Level, Line
from coordinator.domain.model import Build, Step

Event = tuple[Line, Mapping[str, str]]
"""A line and what is known about it besides."""
_LEVELS = {
    StepState.SUCCEEDED: Level.INFO,
    StepState.SKIPPED: Level.INFO,
    StepState.CANCELLED: Level.WARN,
    StepState.FAILED: Level.ERROR,
}


def event_of_step(step: Step) -> Event:
    """Of one that has ended: `step test failed: exit code 1`."""
    said = [text for text in (step.reason, step.message) if text]
    how = "was " if step.state in (StepState.CANCELLED, StepState.SKIPPED) else ""
    text = f"step {step.name} {how}{step.state.value}" + (f": {' · '.join(said)}" if said else "")
    metadata = {"step": step.name, "event": "step", "status": SHOWN_AS[step.state].value}
    if step.exit_code is not None:
        metadata["exit_code"] = str(step.exit_code)
    time = step.finished_at
    assert time is not None, "it has ended"  # noqa: S101
    return Line(text=text, level=_LEVELS[step.state], time=time, end=0), metadata


def events_of_build(build: Build) -> Sequence[Event]:
    """Of one that has finished: the mistakes of its workflow, if it has any, and its end."""
    time = build.finished_at
    assert time is not None, "it has finished"  # noqa: S101
    problems = [problem_text(problem) for problem in build.problems]
    said = f": {build.reason}" if build.reason else ""
    how = "was " if build.state is BuildState.CANCELLED else ""
    end = f"build {how}{build.state.value}{said}"
    level = {BuildState.SUCCEEDED: Level.INFO, BuildState.CANCELLED: Level.WARN}
    levels = [*([Level.ERROR] * len(problems)), level.get(build.state, Level.ERROR)]
    return [
        (Line(text=text, level=level, time=time, end=0), {"event": "build"})
        for text, level in zip([*problems, end], levels, strict=True)
    ]


def problem_text(problem: Mapping[str, object]) -> str:
    place = ":".join(str(problem[key]) for key in ("file", "line", "column") if key in problem)
    return f"{place}: {problem['message']}" if place else str(problem["message"])
