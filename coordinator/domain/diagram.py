"""The lifecycle's diagrams for ARCHITECTURE.md, drawn from the tables: `python -m` prints them."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from enum import StrEnum
from typing import TypeVar

from coordinator.domain.lifecycle import (
    BUILD_TABLE,
    FINISHED_BUILD,
    FINISHED_STEP,
    STEP_TABLE,
    BuildState,
    StepState,
)

S = TypeVar("S", bound=StrEnum)
E = TypeVar("E", bound=StrEnum)


def diagrams() -> str:
    """Two Mermaid state diagrams, as Markdown."""
    build = _diagram(BUILD_TABLE, (BuildState.HELD, BuildState.QUEUED), FINISHED_BUILD)
    first = (
        *(StepState.BLOCKED, StepState.RESOLVING, StepState.READY),
        *(StepState.WAITING, StepState.IN_LINE),
    )
    step = _diagram(STEP_TABLE, first, FINISHED_STEP)
    return f"Builds:\n\n{build}\nSteps:\n\n{step}"


def _diagram(table: Mapping[tuple[S, E], S], initial: tuple[S, ...], finished: frozenset[S]) -> str:
    lines = ["```mermaid", "stateDiagram-v2"]
    lines += [f"    [*] --> {state}" for state in initial]
    lines += [f"    {old} --> {new}: {event}" for (old, event), new in table.items()]
    lines += [f"    {state} --> [*]" for state in sorted(finished)]
    return "\n".join([*lines, "```", ""])


if __name__ == "__main__":
    sys.stdout.write(diagrams())
