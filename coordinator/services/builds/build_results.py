"""What the steps of a build have reported, beside what other builds did."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from coordinator.domain.errors import NotFound
from coordinator.domain.model import Project
from coordinator.domain.people.permissions import Principal
from coordinator.domain.results.stored import StepResults, StoredTest, TestHistory
from coordinator.domain.results.values import Result
from coordinator.services.builds.builds import Builds
from coordinator.storage.connection import AsyncConnection
from coordinator.storage.outputs import result_comparisons as compared
from coordinator.storage.outputs import results as stored

MAX_KEYS = 5000
"""Of flaky or newly failing tests that are listed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedResults:
    """Of one step, in its last attempt that reported."""

    step_name: str
    results: StepResults
    before: StepResults | None
    """In the build that newly failing tests are told by: see `_before`."""
    newly_failing: int
    flaky: int
    coverage_before: StepResults | None
    """In the newest earlier build of the default branch, where both measured something."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TestsAsked:
    """Which tests of a build; each that is given narrows it down."""

    __test__ = False

    step: str | None = None
    result: Result | None = None
    flaky: bool = False
    newly_failing: bool = False
    slowest_first: bool = False
    limit: int
    offset: int = 0


@dataclass(frozen=True, slots=True)
class BuildResults:
    builds: Builds

    async def of_build(
        self, principal: Principal, project_id: str | None, build_id: str
    ) -> Sequence[ComparedResults]:
        """In the order of the steps. Raises NotFound."""
        build, _ = await self.builds.get(principal, project_id, build_id)
        default = await self._default_branch(build.project_id)

        async def read(connection: AsyncConnection) -> Sequence[ComparedResults]:
            found = await stored.results_of_build(connection, build_id)
            return [
                await _compared(connection, name, results, default)
                for name, results in found.items()
            ]

        return await self.builds.core.database.read(read)

    async def tests(
        self, principal: Principal, project_id: str | None, build_id: str, asked: TestsAsked
    ) -> tuple[Sequence[StoredTest], int]:
        """Some of the tests, and how many there are. Raises NotFound."""
        build, _ = await self.builds.get(principal, project_id, build_id)
        default = await self._default_branch(build.project_id)

        async def read(connection: AsyncConnection) -> tuple[Sequence[StoredTest], int]:
            found = await stored.results_of_build(connection, build_id)
            if asked.step is not None:
                if asked.step not in found:
                    raise NotFound(f"no step {asked.step} of the build has reported")
                found = {asked.step: found[asked.step]}
            wanted = stored.Wanted(
                results=() if asked.result is None else (asked.result,),
                slowest_first=asked.slowest_first,
            )
            if asked.flaky or asked.newly_failing:
                keys = await _keys(connection, list(found.values()), asked, default)
                wanted = replace(wanted, keys=sorted(keys)[:MAX_KEYS])
            of = {results.tests_id: name for name, results in found.items()}
            tests, total = await stored.tests_of(
                connection, of, wanted, limit=asked.limit, offset=asked.offset
            )
            return await _marked(connection, found, tests, default), total

        return await self.builds.core.database.read(read)

    async def history(
        self, principal: Principal, project: Project, name: str, limit: int
    ) -> Sequence[TestHistory]:
        """Of the tests of that name; the principal was seen to see the project."""
        return await self.builds.core.database.read(
            lambda connection: compared.histories(connection, project.id, name, limit=limit)
        )

    async def _default_branch(self, project_id: str) -> str | None:
        return await self.builds.core.repositories.default_branch(project_id)


async def _compared(
    connection: AsyncConnection, name: str, results: StepResults, default: str | None
) -> ComparedResults:
    before = await _before(connection, results, default)
    new: set[str] = set()
    flaky: set[str] = set()
    if results.failed:
        new = await _newly_failing(connection, results, before)
    if results.tests:
        equal = await compared.equal_attempts(connection, results)
        flaky = await compared.flaky_keys(connection, results.tests_id, equal, None)
    coverage = None
    if results.lines is not None and default is not None:
        coverage = await compared.earlier_results(connection, results, default)
    return ComparedResults(
        step_name=name,
        results=results,
        before=before,
        newly_failing=len(new),
        flaky=len(flaky),
        coverage_before=coverage if coverage is not None and coverage.lines else None,
    )


async def _before(
    connection: AsyncConnection, results: StepResults, default: str | None
) -> StepResults | None:
    """In the newest earlier build of its branch; where there is none, of the default branch."""
    for branch in dict.fromkeys([results.branch, default]):
        if branch is not None:
            found = await compared.earlier_results(connection, results, branch)
            if found is not None:
                return found
    return None


async def _newly_failing(
    connection: AsyncConnection, results: StepResults, before: StepResults | None
) -> set[str]:
    """None where there is nothing to compare with."""
    if before is None or before.tests is None:
        return set()
    failed = await compared.failed_keys(connection, results.tests_id)
    return failed - await compared.failed_keys(connection, before.tests_id)


async def _keys(
    connection: AsyncConnection,
    found: Sequence[StepResults],
    asked: TestsAsked,
    default: str | None,
) -> set[str]:
    """Of the tests that are as they are asked for."""
    keys: set[str] = set()
    for results in found:
        chosen: set[str] | None = None
        if asked.flaky:
            equal = await compared.equal_attempts(connection, results)
            chosen = await compared.flaky_keys(connection, results.tests_id, equal, None)
        if asked.newly_failing:
            before = await _before(connection, results, default)
            new = await _newly_failing(connection, results, before)
            chosen = new if chosen is None else chosen & new
        keys |= chosen or set()
    return keys


async def _marked(
    connection: AsyncConnection,
    found: Mapping[str, StepResults],
    tests: Sequence[StoredTest],
    default: str | None,
) -> Sequence[StoredTest]:
    """With what other builds say of them."""
    flaky: set[str] = set()
    new: set[str] = set()
    for name in dict.fromkeys(one.step_name for one in tests):
        results = found[name]
        keys = [one.key for one in tests if one.step_name == name]
        equal = await compared.equal_attempts(connection, results)
        flaky |= await compared.flaky_keys(connection, results.tests_id, equal, keys)
        failed = [
            one.key for one in tests if one.step_name == name and one.test.result is Result.FAILED
        ]
        before = await _before(connection, results, default) if failed else None
        if before is not None and before.tests is not None:
            new.update(
                set(failed) - await compared.failed_keys(connection, before.tests_id, failed)
            )
    return [
        replace(
            one,
            test=replace(one.test, flaky=one.key in flaky),
            newly_failing=one.key in new,
        )
        for one in tests
    ]
