"""Why a build has not gone on yet, for the dialects that show a build as a whole."""

from __future__ import annotations

from collections.abc import Sequence

from aiohttp import web

from coordinator.api.http.context import DISPATCH
from coordinator.domain.lifecycle import FINISHED_BUILD, BuildState, StepState
from coordinator.domain.model import Build, Step

COULD_GO_ON = frozenset(
    {
        *(StepState.WAITING, StepState.IN_LINE, StepState.DELAYED),
        *(StepState.READY, StepState.OFFERED),
    }
)


def waits_for(request: web.Request, build: Build, steps: Sequence[Step]) -> str | None:
    """What the first step that could run waits for; None while one runs, and of an ended build."""
    if build.state in FINISHED_BUILD or any(step.state is StepState.RUNNING for step in steps):
        return None
    held = build.state is BuildState.HELD or build.in_line
    wanted = {StepState.BLOCKED} if held else COULD_GO_ON
    first = next((step for step in steps if step.state in wanted), None)
    return request.app[DISPATCH].explain(first, build, ()) if first is not None else None
