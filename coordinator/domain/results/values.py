"""What was read of a step's reports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Result(StrEnum):
    PASSED = "passed"
    FAILED = "failed"
    """Also what its report calls an error."""
    SKIPPED = "skipped"


class ReportKind(StrEnum):
    JUNIT = "junit"
    COVERAGE = "coverage"
    SUMMARY = "summary"


@dataclass(frozen=True, slots=True, kw_only=True)
class TestResult:
    """One test of a step; its suite and name are what it is known by."""

    __test__ = False  # pytest takes it for a test of its own

    suite: str
    """The class or the file of the test, as its tool says it; may be empty."""
    name: str
    result: Result
    milliseconds: int
    flaky: bool = False
    """Its report says itself that it both failed and passed."""
    message: str | None = None
    """One line or a few: why it failed, or was skipped."""
    details: str | None = None
    """Of a failed test: where and how, shortened in its middle."""
    file: str | None = None
    line: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    tests: int
    failed: int
    skipped: int
    milliseconds: int
    """What the tests took, added up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    lines: int
    lines_covered: int
    branches: int = 0
    branches_covered: int = 0

    @property
    def percent(self) -> float | None:
        """Of the lines; None where there are none."""
        return 100 * self.lines_covered / self.lines if self.lines else None


Summary = Sequence[Mapping[str, Any] | str]
"""A tree of elements, as `summary` makes it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadResults:
    """All that a step has reported."""

    counts: Counts | None = None
    """None: it reports no tests."""
    tests: Sequence[bytes] = ()
    """The tests in portions, each as `packed` makes it: nobody waits while many are unpacked."""
    failed: Sequence[str] = ()
    """Names of the first failed tests, for a sentence."""
    coverage: Coverage | None = None
    summary: Summary | None = None
    warnings: Sequence[str] = ()
