"""Lists of patterns in a workflow's `on`, with every mistake noted."""

from __future__ import annotations

from collections.abc import Callable

from pipelines_schema.fields import Field, Reading
from pipelines_schema.limits import MAX_BRANCH_PATTERNS
from pipelines_schema.nodes import ListNode
from pipelines_schema.patterns import branch_pattern_problem, path_pattern_problem
from pipelines_schema.problem import shown

_BRANCHES_HINT = 'write a list of branches or patterns, such as `[main, "release/*"]`'


def read_branches(reading: Reading, entry: Field | None) -> tuple[str, ...] | None:
    if entry is None:
        return None
    return read_patterns(reading, entry, "branch", _BRANCHES_HINT, branch_pattern_problem)


def read_paths(reading: Reading, entry: Field | None) -> tuple[str, ...] | None:
    hint = 'write a list of paths or patterns, such as `["src/**"]`'
    return (
        None if entry is None else read_patterns(reading, entry, "path", hint, path_pattern_problem)
    )


def read_patterns(
    reading: Reading,
    entry: Field,
    what: str,
    hint: str,
    problem: Callable[[str], str | None],
) -> tuple[str, ...]:
    if isinstance(entry.value, ListNode) and not entry.value.items:
        reading.add(entry.place, f"{entry.label} is empty, so nothing would start this: {hint}")
    patterns: list[str] = []
    for place, pattern in reading.texts(entry, hint, MAX_BRANCH_PATTERNS, one_allowed=True):
        fault = problem(pattern)
        if fault is not None:
            reading.add(place, f"the {what} {shown(pattern)} {fault}")
        patterns.append(pattern)
    return tuple(patterns)
