"""What the steps of a build have reported: tests, coverage, summaries."""

from __future__ import annotations

from typing import Any

from aiohttp import web
from pydantic import Field

from coordinator.api.http.context import BUILD_RESULTS, project_of
from coordinator.api.http.fields import (
    Body,
    Instant,
    PageQuery,
    Pagination,
    QueryBool,
    Shown,
)
from coordinator.api.http.operations import add_operations, operation
from coordinator.domain.people.permissions import Principal, Right
from coordinator.domain.results.stored import PastResult, StoredTest, TestHistory
from coordinator.domain.results.values import Counts, Coverage, Result
from coordinator.services.builds.build_results import ComparedResults, TestsAsked

ANY_PROJECT = "-"
MAX_HISTORY = 100
BUILD = "/api/projects/{project_id}/builds/{build_id}"


class CountsShown(Shown):
    tests: int
    failed: int
    skipped: int
    seconds: float = Field(description="What the tests took, added up")


class CoverageShown(Shown):
    percent: float = Field(description="Of the lines, to hundredths")
    lines: int
    lines_covered: int
    branches: int
    branches_covered: int
    change: float | None = Field(
        None, description="In percentage points, against the default branch's build `comparedWith`"
    )
    compared_with: int | None = Field(None, description="The number of a build")


class StepResultsShown(Shown):
    step: str
    step_id: str
    tests: CountsShown | None = None
    sentence: str | None = Field(None, description="`3 of 1,204 tests failed: …`")
    newly_failing: int | None = Field(
        None, description="Failed tests that did not fail in the build `comparedWith`"
    )
    compared_with: int | None = Field(None, description="The number of a build")
    flaky: int | None = Field(None, description="Tests with different results for equal inputs")
    coverage: CoverageShown | None = None
    summary: list[Any] | None = Field(
        None,
        description="A tree: texts, and elements of `tag`, `children`, and some of `href`, `align`",
    )
    warnings: list[str] = Field([], description="Reports that are missing or could not be read")


class BuildResultsShown(Shown):
    steps: list[StepResultsShown]


class TestShown(Shown):
    __test__ = False

    step: str
    suite: str
    name: str
    result: Result
    seconds: float
    flaky: bool
    newly_failing: bool
    message: str | None = None
    details: str | None = Field(None, description="Of a failed test, shortened in its middle")
    file: str | None = Field(None, description="As its tool names it")
    line: int | None = None


class TestList(Shown):
    __test__ = False

    tests: list[TestShown]
    pagination: Pagination


class TestsQuery(PageQuery):
    __test__ = False

    step: str | None = Field(None, max_length=1000, description="Only this step's")
    result: Result | None = Field(None, description="Only those of this result")
    flaky: QueryBool = Field(
        False, description="Only those with different results for equal inputs"
    )
    newly_failing: QueryBool = Field(False, description="Only those that did not fail before")
    slowest: QueryBool = Field(False, description="The slowest first, else as they were reported")


class HistoryQuery(Body):
    name: str = Field(max_length=1000, description="The test's name, whole")
    limit: int = Field(20, ge=1, le=MAX_HISTORY, strict=False, description="Results of each")


class PastResultShown(Shown):
    build_id: str
    build_number: int
    branch: str | None = None
    result: Result
    seconds: float
    message: str | None = None
    at: Instant


class TestHistoryShown(Shown):
    __test__ = False

    workflow: str
    step: str
    suite: str
    name: str
    results: list[PastResultShown] = Field(description="The newest first")


def add_routes(app: web.Application) -> None:
    add_operations(app, [get_results, list_tests, get_history])


@operation(
    "GET",
    BUILD + "/results",
    tag="Builds",
    summary="Get what the steps of a build have reported",
    right=Right.READ,
    errors={404: "Build not found"},
)
async def get_results(request: web.Request, principal: Principal) -> BuildResultsShown:
    """Counts of tests, coverage and summaries, of each step whose `reports` were read."""
    found = await request.app[BUILD_RESULTS].of_build(principal, *_build_of(request))
    return BuildResultsShown(steps=[_step_shown(one) for one in found])


@operation(
    "GET",
    BUILD + "/tests",
    tag="Builds",
    summary="List the tests of a build",
    right=Right.READ,
    errors={404: "Build not found, or the step has not reported"},
)
async def list_tests(request: web.Request, principal: Principal, query: TestsQuery) -> TestList:
    """Of the last attempt of each step that reported."""
    limit, offset = query.page
    asked = TestsAsked(
        step=query.step,
        result=query.result,
        flaky=query.flaky,
        newly_failing=query.newly_failing,
        slowest_first=query.slowest,
        limit=limit,
        offset=offset,
    )
    tests, total = await request.app[BUILD_RESULTS].tests(principal, *_build_of(request), asked)
    return TestList(
        tests=[_test_shown(one) for one in tests],
        pagination=Pagination.of(total, query.page, len(tests)),
    )


@operation(
    "GET",
    "/api/projects/{project_id}/tests/history",
    tag="Projects",
    summary="Get how the tests of a name ended in a project's builds",
    right=Right.READ,
    errors={404: "Project not found"},
)
async def get_history(
    request: web.Request, principal: Principal, query: HistoryQuery
) -> list[TestHistoryShown]:
    """One entry for each workflow, step and suite that has a test of this name, 20 at most."""
    project = await project_of(request, principal)
    found = await request.app[BUILD_RESULTS].history(principal, project, query.name, query.limit)
    return [_history_shown(one) for one in found]


def _build_of(request: web.Request) -> tuple[str | None, str]:
    project_id = request.match_info["project_id"]
    return None if project_id == ANY_PROJECT else project_id, request.match_info["build_id"]


def _step_shown(one: ComparedResults) -> StepResultsShown:
    results, counts = one.results, one.results.counts
    compared = one.before if counts is not None else None
    return StepResultsShown(
        step=one.step_name,
        step_id=results.step_id,
        tests=None if counts is None else _counts_shown(counts),
        sentence=results.sentence,
        newly_failing=None if compared is None else one.newly_failing,
        compared_with=None if compared is None else compared.build_number,
        flaky=None if counts is None else one.flaky,
        coverage=_coverage_shown(one),
        summary=None if results.summary is None else list(results.summary),
        warnings=list(results.warnings),
    )


def _counts_shown(counts: Counts) -> CountsShown:
    return CountsShown(
        tests=counts.tests,
        failed=counts.failed,
        skipped=counts.skipped,
        seconds=counts.milliseconds / 1000,
    )


def _coverage_shown(one: ComparedResults) -> CoverageShown | None:
    coverage = one.results.coverage
    percent = None if coverage is None else _percent(coverage)
    if coverage is None or percent is None:
        return None
    before = one.coverage_before
    percent_before = None if before is None or not before.coverage else _percent(before.coverage)
    return CoverageShown(
        percent=percent,
        lines=coverage.lines,
        lines_covered=coverage.lines_covered,
        branches=coverage.branches,
        branches_covered=coverage.branches_covered,
        change=None if percent_before is None else round(percent - percent_before, 2),
        compared_with=None if before is None else before.build_number,
    )


def _percent(coverage: Coverage) -> float | None:
    """Rounded down: what is not all is not 100."""
    if not coverage.lines:
        return None
    return (coverage.lines_covered * 10_000 // coverage.lines) / 100


def _test_shown(one: StoredTest) -> TestShown:
    test = one.test
    return TestShown(
        step=one.step_name,
        suite=test.suite,
        name=test.name,
        result=test.result,
        seconds=test.milliseconds / 1000,
        flaky=test.flaky,
        newly_failing=one.newly_failing,
        message=test.message,
        details=test.details,
        file=test.file,
        line=test.line,
    )


def _history_shown(one: TestHistory) -> TestHistoryShown:
    return TestHistoryShown(
        workflow=one.workflow_name,
        step=one.step_name,
        suite=one.suite,
        name=one.name,
        results=[_past_shown(past) for past in one.past],
    )


def _past_shown(past: PastResult) -> PastResultShown:
    return PastResultShown(
        build_id=past.build_id,
        build_number=past.build_number,
        branch=past.branch,
        result=past.test.result,
        seconds=past.test.milliseconds / 1000,
        message=past.test.message,
        at=past.at,
    )
