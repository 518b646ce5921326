"""Results in a sentence."""

from __future__ import annotations

from collections.abc import Sequence

from coordinator.domain.results.texts import one_line
from coordinator.domain.results.values import Counts

_NAMED = 3
_NAME_CHARACTERS = 80


def failed_tests(counts: Counts | None, names: Sequence[str]) -> str | None:
    """`3 of 1,204 tests failed: test_x, test_y, test_z`; None where none failed."""
    if counts is None or not counts.failed:
        return None
    shown = [one_line(name, _NAME_CHARACTERS) for name in names[:_NAMED]]
    if counts.failed > len(shown):
        shown.append("…")
    tests = "test" if counts.tests == 1 else "tests"
    return f"{counts.failed:,} of {counts.tests:,} {tests} failed: {', '.join(shown)}"
