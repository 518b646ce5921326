"""A step's reports, read and stored before the step ends: nobody waits for it but its own agent.

The tests are written in portions, so that no transaction holds others up. Until all of it is there
nobody sees it; an agent that reports again finds what was written, or has it read anew.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import structlog

from coordinator.domain.model import Artifact, Attempt, Build, Step
from coordinator.domain.results.file_choice import Chosen, chosen_files
from coordinator.domain.results.limits import MAX_WARNINGS
from coordinator.domain.results.packing import unpacked
from coordinator.domain.results.stored import StepResults, begun_results
from coordinator.domain.results.values import ReadResults
from coordinator.domain.results.words import failed_tests
from coordinator.ports import NotRead, ReportReader
from coordinator.services.core import Core
from coordinator.services.locks import Locks
from coordinator.services.projects.secrets import open_secrets
from coordinator.storage.builds import builds as stored_builds
from coordinator.storage.connection import AsyncConnection
from coordinator.storage.outputs import artifacts as stored_artifacts
from coordinator.storage.outputs import results as stored
from coordinator.storage.trouble import tell_fault
from pipelines_schema import StepReports

log = structlog.get_logger()

NOT_READ = "reports: they could not be read, by a fault of the coordinator's: see its log"


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What is said of a step's reports where its end is told."""

    sentence: str | None = None
    """`3 of 1,204 tests failed: …`"""
    warnings: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    build: Build
    artifacts: Sequence[Artifact]
    secrets: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Results:
    core: Core
    reader: ReportReader
    _reading: Locks = field(default_factory=Locks)

    async def of_attempt(self, step: Step, attempt: Attempt) -> Told:
        """Read what the attempt has reported, unless that was done. Raises nothing: whatever is
        wrong with reports, the step's own result counts."""
        reports = step.written.reports
        if reports is None:
            return Told()
        try:
            async with self._reading.of(attempt.id):
                results = await self._stored(attempt)
                if results is None:
                    results = await self._read(replace(step, epoch=attempt.epoch), reports)
        except Exception as error:  # a root: the completion goes on without it
            tell_fault(log, "reading reports failed", error, attempt=attempt.id)
            return Told(warnings=[NOT_READ])
        return Told(sentence=results.sentence, warnings=results.warnings)

    async def _stored(self, attempt: Attempt) -> StepResults | None:
        async def find(connection: AsyncConnection) -> StepResults | None:
            return await stored.find_results(connection, attempt.step_id, attempt.epoch)

        results = await self.core.database.read(find)
        return results if results is not None and results.whole else None

    async def _read(self, step: Step, reports: StepReports) -> StepResults:
        found = await self._find(step)
        chosen = chosen_files(reports, found.artifacts)
        read = await self._reader_says(step, chosen, list(found.secrets.values()))
        results = replace(
            begun_results(step, found.build, self.core.now()).with_totals(read),
            sentence=failed_tests(read.counts, read.failed),
            summary=read.summary,
            warnings=_few([*chosen.warnings, *read.warnings]),
        )
        await self._save(step, found.build, results, read.tests)
        return results

    async def _find(self, step: Step) -> _Found:
        """Raises LookupError."""

        async def look(connection: AsyncConnection) -> _Found:
            build = await stored_builds.find_build(connection, step.build_id)
            if build is None:
                raise LookupError(f"no build {step.build_id}")
            names = () if build.of_fork else step.written.secrets
            return _Found(
                build=build,
                artifacts=await stored_artifacts.artifacts_of(connection, step.id, step.epoch),
                secrets=await open_secrets(self.core, connection, step, names, build),
            )

        return await self.core.database.read(look)

    async def _reader_says(self, step: Step, chosen: Chosen, secrets: Sequence[str]) -> ReadResults:
        try:
            return await self.reader.read(step.account_id, chosen.files, secrets)
        except NotRead as error:
            return ReadResults(warnings=[f"reports: reading them {error}"])

    async def _save(
        self,
        step: Step,
        build: Build,
        results: StepResults,
        portions: Sequence[bytes],
    ) -> None:
        write = self.core.database.write
        tests_id = await write(lambda connection: stored.begin_results(connection, results))
        results, first = replace(results, tests_id=tests_id), 0
        for packed in portions:
            tests = await asyncio.to_thread(unpacked, packed)
            portion = stored.Portion(
                tests_id=tests_id,
                project_id=step.project_id,
                workflow_name=build.workflow_name,
                step_name=step.name,
                first=first,
                tests=tests,
            )
            first += len(tests)
            await write(partial(stored.add_tests, portion=portion))
        await write(lambda connection: stored.finish_results(connection, results))


def _few(warnings: Sequence[str]) -> Sequence[str]:
    if len(warnings) <= MAX_WARNINGS:
        return warnings
    return [
        *warnings[:MAX_WARNINGS],
        f"reports: and {len(warnings) - MAX_WARNINGS} more like these",
    ]
