"""`changed("glob", …)` of a condition: whether one of these files differs."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from pipelines_schema.patterns import path_pattern_problem, pattern_matches
from pipelines_schema.problem import shown

FUNCTION = "changed"
_HINT = 'write `changed("src/**")`'


class Changes:
    """The function, for one build. Whoever calls it looks for a `fault` afterwards."""

    def __init__(self, files: Collection[str] | None) -> None:
        """`files` are those that differ; None where there is nothing to compare with."""
        self._files = files
        self.fault: str | None = None
        """What is wrong with the arguments of a call, as in `the condition {fault}`."""

    def __call__(self, *patterns: object) -> bool:
        named = [pattern for pattern in patterns if isinstance(pattern, str)]
        if not patterns or len(named) < len(patterns):
            self.fault = f"calls `changed` without a file, or with what is no text: {_HINT}"
            return False
        for pattern in named:
            problem = path_pattern_problem(pattern)
            if problem is not None:
                self.fault = f"asks `changed` for {shown(pattern)}, which {problem}"
                return False
        return self._files is None or any(picked(named, file) for file in self._files)


def picked(patterns: Sequence[str], file: str) -> bool:
    """From the first pattern to the last, each takes what it matches in, or with `!` out again;
    where all begin with `!`, they leave out of everything."""
    result = all(pattern.startswith("!") for pattern in patterns)
    for pattern in patterns:
        takes_out = pattern.startswith("!")
        if result == takes_out and pattern_matches(pattern[takes_out:], file):
            result = not takes_out
    return result


def asks_for_changes(expression: str) -> bool:
    """Whether it may; also where it only names the word."""
    return FUNCTION in expression
