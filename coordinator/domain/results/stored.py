"""What an attempt of a step has reported, as it is kept, and what it is compared with."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from coordinator.domain.model import Build, Step
from coordinator.domain.results.values import Counts, Coverage, ReadResults, Summary, TestResult


@dataclass(frozen=True, slots=True, kw_only=True)
class StepResults:
    step_id: str
    epoch: int
    build_id: str
    project_id: str
    build_number: int
    series: str
    """The steps of one name and workflow, of all builds of the project."""
    inputs: str
    """The same for the attempts whose results should be the same: see `inputs_of`."""
    branch: str | None
    """None where its code was not the branch's: of a tag, a pull request, a fork."""
    tests_id: int = 0
    """Whose tests are its own; a retry's that took the step over has the same."""
    taken_over: bool = False
    whole: bool = False
    """All of its tests are written."""
    tests: int | None = None
    """None: it reports no tests."""
    failed: int | None = None
    skipped: int | None = None
    milliseconds: int | None = None
    sentence: str | None = None
    """`3 of 1,204 tests failed: …`; None where none failed."""
    lines: int | None = None
    """None: it reports no coverage."""
    lines_covered: int | None = None
    branches: int | None = None
    branches_covered: int | None = None
    summary: Summary | None = None
    warnings: Sequence[str] = ()
    created_at: datetime

    def with_totals(self, read: ReadResults) -> StepResults:
        counts, coverage = read.counts, read.coverage
        results = self
        if counts is not None:
            results = replace(
                results,
                tests=counts.tests,
                failed=counts.failed,
                skipped=counts.skipped,
                milliseconds=counts.milliseconds,
            )
        if coverage is not None:
            results = replace(
                results,
                lines=coverage.lines,
                lines_covered=coverage.lines_covered,
                branches=coverage.branches,
                branches_covered=coverage.branches_covered,
            )
        return results

    @property
    def counts(self) -> Counts | None:
        if self.tests is None:
            return None
        return Counts(
            tests=self.tests,
            failed=self.failed or 0,
            skipped=self.skipped or 0,
            milliseconds=self.milliseconds or 0,
        )

    @property
    def coverage(self) -> Coverage | None:
        if self.lines is None:
            return None
        return Coverage(
            lines=self.lines,
            lines_covered=self.lines_covered or 0,
            branches=self.branches or 0,
            branches_covered=self.branches_covered or 0,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredTest:
    """A test of a build, with what other builds say of it."""

    step_name: str
    key: str
    test: TestResult
    newly_failing: bool = False
    """It failed, and did not in the build that the step is compared with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PastResult:
    """One line of a test's history."""

    build_id: str
    build_number: int
    branch: str | None
    test: TestResult
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class TestHistory:
    """Of the test of one suite and name in one step of one workflow."""

    __test__ = False

    workflow_name: str
    step_name: str
    suite: str
    name: str
    past: Sequence[PastResult]
    """The newest first."""


def begun_results(step: Step, build: Build, now: datetime) -> StepResults:
    """Of the step's present attempt, of which nothing was read yet."""
    return StepResults(
        step_id=step.id,
        epoch=step.epoch,
        build_id=build.id,
        project_id=build.project_id,
        build_number=build.number,
        series=series_of(build.workflow_name, step.name),
        inputs=inputs_of(step, build),
        branch=build.branch if build.pull_request is None and not build.of_fork else None,
        created_at=now,
    )


def series_of(workflow_name: str, step_name: str) -> str:
    return _digest(workflow_name, step_name)


def inputs_of(step: Step, build: Build) -> str:
    """What the same results are expected of: commit, parameters, and the step as it is written.

    Without a commit nothing outside of the build is known to be equal.
    """
    written = {**step.written.to_json(), "retries": None, "timeoutSeconds": None}
    return _digest(
        build.commit_hash or build.id,
        build.workflow_name,
        json.dumps(build.params or {}, sort_keys=True),
        json.dumps(written, sort_keys=True),
    )


def key_of_test(project_id: str, workflow_name: str, step_name: str, test: TestResult) -> str:
    return _digest(project_id, workflow_name, step_name, test.suite, test.name)


def _digest(*parts: str) -> str:
    text = json.dumps(parts).encode()
    return hashlib.sha256(text).hexdigest()[:32]
