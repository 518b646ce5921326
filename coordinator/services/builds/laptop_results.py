"""Results that somebody sends whose laptop has run the steps (ADR 69).

They become a build that no agent has run, in a scope of its own: on no branch, of no commit, told
to nobody. It is stored by one transaction, once all of it has come.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial

from coordinator.domain.builds.quotas import no_bytes_left
from coordinator.domain.errors import Conflict, Forbidden, Invalid, TooLarge
from coordinator.domain.lifecycle import BuildState
from coordinator.domain.model import Attempt, AttemptState, Build, Project
from coordinator.domain.people.permissions import Principal, PrincipalKind, Right
from coordinator.domain.steps.reuse import files_digest, key_of
from coordinator.domain.steps.reuse_scopes import (
    LAPTOP,
    OTHERS,
    SENT_FROM_A_LAPTOP,
    readable_from,
)
from coordinator.object_ports import Arrived, BlobDiffers
from coordinator.services.audit import Deed
from coordinator.services.builds.deletions import Deletions
from coordinator.services.builds.sent_body import SentBody
from coordinator.services.builds.sent_logs import receive_log
from coordinator.services.builds.sent_results import EPOCH, SentResult, packed_lists, read_results
from coordinator.services.core import Core, new_id
from coordinator.services.logs.folding import Folding
from coordinator.services.news import build_topic
from coordinator.services.outputs.results import Results
from coordinator.services.projects.archived import check_takes_builds
from coordinator.storage.builds import builds as stored_builds
from coordinator.storage.builds.deletions import doom_blobs, doom_log
from coordinator.storage.connection import AsyncConnection
from coordinator.storage.outputs import artifacts as stored_artifacts
from coordinator.storage.outputs.output_values import mark_build
from coordinator.storage.projects import projects as stored_projects
from coordinator.storage.projects.stored_bytes import stored_bytes
from coordinator.storage.steps import attempts as stored_attempts
from coordinator.storage.steps import step_inputs as stored
from coordinator.storage.steps.step_inputs import StepInputs
from pipelines_schema.contract_laptop import RunTaken, SentRun

_SCOPES = readable_from(OTHERS)
"""Those who may take what is sent take these."""


@dataclass(slots=True, kw_only=True)
class _Come:
    """What is stored of it outside of the database."""

    arrived: Arrived
    blobs: set[str] = field(default_factory=set)
    logs: set[str] = field(default_factory=set)

    async def blob(self, sha256: str) -> None:
        self.blobs.add(sha256)
        await self.arrived(sha256)


@dataclass(frozen=True, slots=True)
class LaptopResults:
    core: Core
    results: Results
    folding: Folding
    deletions: Deletions
    machine: str = field(default_factory=lambda: os.uname().machine)

    async def take(
        self, principal: Principal, project: Project, run: SentRun, body: SentBody
    ) -> RunTaken:
        """All of the run or nothing; what there is an equal result of already is passed over, so
        that it may be sent again.

        Raises Forbidden, Invalid, TooLarge, Conflict for an archived project.
        """
        principal.require(Right.BUILD)
        if principal.kind is not PrincipalKind.PERSON:
            raise Forbidden("only people send what their laptops have run")
        check_takes_builds(project)
        if run.machine != self.machine:
            raise Invalid(
                f"it ran on a machine of the kind {run.machine!r}; this coordinator takes results "
                f"of {self.machine!r} alone"
            )
        build = self._build(principal, project, run)
        sent, lists = await asyncio.to_thread(lambda: (read_results(build, run), packed_lists(run)))
        known = await self.core.database.read(
            lambda connection: self._known(connection, project, sent)
        )
        new = [one for one in sent if one.name not in known]
        await self._check_room(project, new)
        async with self._coming(project.account_id) as come:
            await self._receive(sent, known, body, come)

            async def save(
                connection: AsyncConnection,
            ) -> tuple[Build | None, Mapping[str, StepInputs]]:
                """Others may have sent the same meanwhile."""
                known = await self._known(connection, project, new)
                kept = [one for one in new if one.name not in known]
                return await self._save(connection, principal, project, build, kept, lists), known

            saved, meanwhile = await self.core.database.write(save)
            kept = [one for one in new if one.name not in meanwhile]
            come.blobs -= {file.sha256 for one in kept for file in one.artifacts}
            come.logs -= {one.step.attempt_id for one in kept}
        known = {**known, **meanwhile}
        if saved is not None:
            self.core.news.publish(build_topic(saved.id))
        await self._read_reports(kept, known)
        return RunTaken(
            build_id=None if saved is None else saved.id,
            build_number=None if saved is None else saved.number,
            taken=[one.name for one in kept],
            known=sorted(known),
        )

    def _build(self, principal: Principal, project: Project, run: SentRun) -> Build:
        """As yet without its number."""
        now = self.core.now()
        return Build(
            id=new_id(),
            project_id=project.id,
            account_id=project.account_id,
            workflow_id=None,
            workflow_name=run.workflow,
            number=0,
            state=BuildState.SUCCEEDED,
            event=SENT_FROM_A_LAPTOP,
            version=1,
            started_by=principal.name,
            created_at=now,
            updated_at=now,
            started_at=now,
            finished_at=now,
        )

    async def _known(
        self, connection: AsyncConnection, project: Project, sent: Sequence[SentResult]
    ) -> Mapping[str, StepInputs]:
        """By the names of those that have an equal result already."""
        found = {}
        for one in sent:
            key = key_of(one.parts)
            result = key and await stored.find_result(connection, project.id, key, _SCOPES)
            if result:
                found[one.name] = result.inputs
        return found

    async def _check_room(self, project: Project, new: Sequence[SentResult]) -> None:
        """Raises TooLarge."""
        settings = self.core.settings
        for one in new:
            if one.log.size > settings.max_log_bytes:
                raise TooLarge(f"a log may hold {settings.max_log_bytes} bytes")
            if any(file.size > settings.max_artifact_bytes for file in one.artifacts):
                raise TooLarge(f"an artifact may have {settings.max_artifact_bytes} bytes")
        there = await self.core.database.read(
            lambda connection: stored_bytes(connection, project.id)
        )
        coming = sum(one.log.size + sum(file.size for file in one.artifacts) for one in new)
        if there + coming > settings.project_max_stored_bytes:
            raise TooLarge(no_bytes_left(there, settings.project_max_stored_bytes))

    @asynccontextmanager
    async def _coming(self, account_id: str) -> AsyncIterator[_Come]:
        """What is left in it at the end goes."""
        try:
            async with self.core.blob_claims.arriving(account_id) as arrived:
                come = _Come(arrived=arrived)
                try:
                    with self.folding.sparing(come.logs):
                        yield come
                finally:
                    await self.core.database.write(partial(_doom, account_id=account_id, come=come))
        finally:  # once nothing is claimed any more
            self.deletions.wake()

    async def _receive(
        self,
        sent: Sequence[SentResult],
        known: Collection[str],
        body: SentBody,
        come: _Come,
    ) -> None:
        """Raises Invalid."""
        for one in sent:
            log_id = one.step.attempt_id
            is_new = one.name not in known
            if is_new:
                come.logs.add(log_id)
            await receive_log(self.core.logs if is_new else None, log_id, one.log, body)
            for file in one.artifacts:
                await self._receive_file(
                    one, file.sha256, file.size, body, come if is_new else None
                )
        await body.check_end()

    async def _receive_file(
        self, one: SentResult, sha256: str, size: int, body: SentBody, come: _Come | None
    ) -> None:
        """Raises Invalid."""
        if come is None:
            async for _ in body.slices(size):
                pass
            return
        try:
            await self.core.blobs.put(
                one.step.account_id,
                body.slices(size),
                max_bytes=size,
                sha256=sha256,
                arrived=come.blob,
            )
        except BlobDiffers as error:
            raise Invalid(f"a file of step {one.name!r} arrived with another sha256") from error

    async def _save(
        self,
        connection: AsyncConnection,
        principal: Principal,
        project: Project,
        build: Build,
        new: Sequence[SentResult],
        lists: Mapping[str, bytes],
    ) -> Build | None:
        """Raises Conflict."""
        if not new:
            return None
        number = await stored_projects.next_build_number(connection, project.id)
        if number is None:
            check_takes_builds(await stored_projects.find_project(connection, project.id))
            raise Conflict("this project was deleted")
        build = replace(build, number=number)
        await stored_builds.insert_build(connection, build, [one.step for one in new])
        for one in new:
            await self._save_attempt(connection, principal, build, one)
        if any(one.outputs for one in new):
            await mark_build(connection, build.id)
        named = {one.step.definition.input_files or "" for one in new}
        its_lists = {digest: lists[digest] for digest in named}
        await stored.keep_lists(connection, project.id, its_lists, build.created_at)
        rows = [_inputs(build, one, principal.name) for one in new]
        await stored.insert_inputs(connection, rows)
        names = ", ".join(one.name for one in new)
        await Deed(self.core, principal, build).record(connection, "results.sent", steps=names)
        return build

    async def _save_attempt(
        self, connection: AsyncConnection, principal: Principal, build: Build, one: SentResult
    ) -> None:
        attempt = _attempt(one, principal, build)
        await stored_attempts.insert_attempt(connection, attempt)
        await stored_attempts.end_attempt(
            connection,
            attempt,
            state=AttemptState.SUCCEEDED,
            exit_code=0,
            reason=None,
            log_bytes=one.log.size,
            log_sha256=one.log.sha256,
            outputs=one.outputs,
            now=build.created_at,
        )
        if one.artifacts:
            await stored_artifacts.save_artifacts(connection, one.artifacts)
        if one.entries:
            await stored_artifacts.save_entries(connection, one.entries)

    async def _read_reports(
        self, kept: Sequence[SentResult], known: Mapping[str, StepInputs]
    ) -> None:
        """Also of what was sent before, by one who was cut off here."""
        ids = [one.step.id for one in kept]
        ids += [one.step_id for one in known.values() if one.scope == LAPTOP]
        for step_id in ids:
            found = await self.core.database.read(
                partial(stored_attempts.find_step_and_attempt, step_id=step_id, epoch=EPOCH)
            )
            if found is not None and found[1] is not None:
                await self.results.of_attempt(found[0], found[1])
        for one in kept:
            self.folding.soon(one.step.attempt_id)


async def _doom(connection: AsyncConnection, account_id: str, come: _Come) -> None:
    for log_id in sorted(come.logs):
        await doom_log(connection, account_id, log_id)
    if come.blobs:
        await doom_blobs(connection, account_id, come.blobs)


def _attempt(one: SentResult, principal: Principal, build: Build) -> Attempt:
    return Attempt(
        step_id=one.step.id,
        epoch=EPOCH,
        number=1,
        state=AttemptState.RUNNING,
        holder=principal.holder,
        exit_code=None,
        reason=None,
        log_bytes=None,
        log_sha256=None,
        started_at=build.created_at,
        finished_at=None,
    )


def _inputs(build: Build, one: SentResult, sender: str) -> StepInputs:
    return StepInputs(
        step_id=one.step.id,
        project_id=build.project_id,
        build_number=build.number,
        workflow=build.workflow_name,
        name=one.name,
        scope=LAPTOP,
        key=key_of(one.parts),
        parts=one.parts,
        files=one.step.definition.input_files,
        laptop_of=sender,
        epoch=EPOCH,
        left_files=files_digest(one.artifacts, one.entries),
    )
