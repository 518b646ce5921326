"""What is reported on a step: its completion, and what follows from it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial

import structlog

from coordinator.domain.errors import Conflict, Invalid, LogIncomplete
from coordinator.domain.lifecycle import FINISHED_BUILD, SHOWN_AS, StepState, advance_step
from coordinator.domain.model import Attempt, AttemptState, Step, attempt_id
from coordinator.domain.people.permissions import Principal, PrincipalKind
from coordinator.domain.steps.image_parts import is_to_be_split
from coordinator.domain.steps.late_reports import is_late, may_be_reported_on
from coordinator.domain.steps.missing_outputs import missing_outputs
from coordinator.domain.steps.verdict import AttemptEnd, Verdict
from coordinator.object_ports import LogDigest
from coordinator.services.audit import Deed
from coordinator.services.core import Core
from coordinator.services.images.image_builds import built_images
from coordinator.services.logs.folding import Folding
from coordinator.services.logs.logs import EMPTY, Logs
from coordinator.services.news import build_topic, log_topic
from coordinator.services.outputs.results import Results
from coordinator.services.steps import advance, attempt_ends, caches, reuse
from coordinator.services.steps.checked_report import CheckedReport, storable
from coordinator.services.steps.dispatch import Dispatch
from coordinator.services.steps.generating import Generating, ToBeRead
from coordinator.services.steps.handing_over import HandingOver, NotHandedOver
from coordinator.services.steps.runner import FreeSlot, HandedOver, Runner
from coordinator.services.steps.splitting import Splitting
from coordinator.storage.builds import builds as stored
from coordinator.storage.connection import AsyncConnection
from coordinator.storage.database import isolate
from coordinator.storage.outputs import artifacts as stored_artifacts
from coordinator.storage.steps import attempts as stored_attempts
from coordinator.storage.steps.attempts import NotSilent
from coordinator.storage.steps.steps import lock_step
from pipelines_schema.contract import (
    CompleteRequest,
    CompleteResponse,
    Completion,
    CompletionReason,
)
from pipelines_schema.log_frames import Frame, Stream
from pipelines_schema.step_outputs import OutputsError, check_outputs

log = structlog.get_logger()


@dataclass(slots=True)
class Reports:
    core: Core
    dispatch: Dispatch
    logs: Logs
    runner: Runner
    generating: Generating
    splitting: Splitting
    results: Results
    folding: Folding

    async def complete(
        self, principal: Principal, step_id: str, request: CompleteRequest
    ) -> CompleteResponse:
        """End an attempt. The same completion again is answered the same.

        Raises StaleEpoch, Conflict (contradicts an earlier one), LogIncomplete, NotFound.
        """
        epoch = request.epoch
        if epoch is None or not self._surely_runs(principal, step_id, request):
            step, attempt = await self.runner.attempt(principal, step_id, epoch)
            if not may_be_reported_on(step, attempt):
                await self._keep_log(attempt)
                return await self._answer_again(principal, step, attempt, request)
            if request.logs:
                await self._store_logs(attempt, request.logs)
            epoch = attempt.epoch
        report = await self._check(principal, step_id, epoch, request)
        try:
            finished = await self._save(report)
        except _EndedMeanwhile:
            step, attempt = await self.runner.attempt(principal, step_id, epoch)
            return await self._answer_again(principal, step, attempt, request)
        return CompleteResponse(
            success=True,
            step_status=SHOWN_AS[advance_step(StepState.RUNNING, finished.verdict.event)],
            build_complete=finished.followed.build.state in FINISHED_BUILD,
            next=finished.given.spec if finished.given else None,
        )

    async def _check(
        self, principal: Principal, step_id: str, epoch: int, request: CompleteRequest
    ) -> CheckedReport:
        """Raises LogIncomplete."""
        log_id = attempt_id(step_id, epoch)
        assumed = not request.log_bytes and self.core.logs.is_untouched(log_id)
        digest, problem = (EMPTY, None) if assumed else await self._close_log(log_id, request)
        outputs, unfit = _checked(request.outputs)
        message = "\n".join(filter(None, [problem, unfit, storable(request.message)])) or None
        reason = CompletionReason.OUTPUTS if unfit else request.reason
        return CheckedReport(
            principal=principal,
            step_id=step_id,
            epoch=epoch,
            request=request,
            end=AttemptEnd(
                status=Completion.FAILED if problem or unfit else request.status,
                exit_code=request.exit_code,
                reason=CompletionReason.ENGINE if problem else reason,
            ),
            log=digest,
            log_assumed=assumed,
            message=message,
            outputs=outputs,
        )

    async def _save(self, report: CheckedReport) -> _Finished:
        """Raises _EndedMeanwhile."""
        while True:
            try:
                return await self._save_as_read(report)
            except NotSilent:
                # Another coordinator has taken lines of it: looking finds them.
                await self.core.logs.digest(report.log_id)
                seen = await self._check(
                    report.principal, report.step_id, report.epoch, report.request
                )
                report = replace(
                    report, log=seen.log, log_assumed=False, end=seen.end, message=seen.message
                )
            except ToBeRead as asked:
                generated = await self.generating.read(asked.step, asked.attempt)
                report = replace(report, generated=generated)
            except _ReportsToBeRead as asked:
                told = await self.results.of_attempt(asked.step, asked.attempt)
                report = report.with_reports(told)

    async def _save_as_read(self, report: CheckedReport) -> _Finished:
        """Raises _EndedMeanwhile, NotSilent, ToBeRead, _ReportsToBeRead."""
        slot = self._handing_over.freed_slot(report)
        try:
            finished = await self._write(report, slot)
        except NotHandedOver as fault:
            log.error("handing a step over failed", after=report.log_id, exc_info=fault.__cause__)
            return await self._write(report, None)
        if slot is not None and finished.given is None and self.core.database.is_shared:
            given = await self._handing_over.apart(report, slot, finished.attempt)
            finished = replace(finished, given=given)
            if finished.leaves_work:
                self.dispatch.wake()
        return finished

    async def _write(self, report: CheckedReport, slot: FreeSlot | None) -> _Finished:
        return await self.core.database.write(
            partial(self._finish, report=report, slot=slot),
            committed=partial(self._committed, report, slot),
            locking=report.principal.kind is PrincipalKind.AGENT,
        )

    @property
    def _handing_over(self) -> HandingOver:
        return HandingOver(self.core, self.dispatch, self.runner)

    async def _finish(
        self, connection: AsyncConnection, *, report: CheckedReport, slot: FreeSlot | None
    ) -> _Finished:
        await lock_step(connection, report.step_id)
        step, attempt = await self.runner.attempt_in(
            connection, report.principal, report.step_id, report.epoch
        )
        if not may_be_reported_on(step, attempt):
            raise _EndedMeanwhile
        if report.has_unread(step):
            raise _ReportsToBeRead(step, attempt)
        images = built_images(step, report.request)
        if is_late(step, attempt):
            isolate(connection)
            step = await attempt_ends.resume(self.core, connection, step, attempt)
        if is_to_be_split(step, report.request):
            isolate(connection)
            if report.log_assumed:
                raise NotSilent(report.log_id)
            verdict, followed = await self.splitting.split(
                connection, step, attempt, report.end.exit_code, report.log, report.message
            )
            return await self._handed_on(connection, report, slot, attempt, verdict, followed)
        if step.written.generates is not None and report.end.status is Completion.SUCCESS:
            isolate(connection)
            report = await self._generate(connection, step, attempt, report)
        verdict, followed = await attempt_ends.end_attempt(
            self.core,
            connection,
            step,
            attempt,
            report.end,
            report.log,
            await self._message(connection, report, step),
            images,
            report.outputs,
            log_assumed=report.log_assumed,
        )
        if verdict.attempt is AttemptState.SUCCEEDED:
            await caches.keep_clean(self.core.keys, connection, step, attempt)
            if step.written.inputs is not None:
                isolate(connection)
                digest = report.request.image_digest
                await reuse.keep(connection, report.principal, step, attempt, digest)
        if report.principal.kind is not PrincipalKind.AGENT:
            await Deed(self.core, report.principal, step).record(
                connection, "step.completed", status=report.end.status.value, epoch=report.epoch
            )
        return await self._handed_on(connection, report, slot, attempt, verdict, followed)

    async def _handed_on(
        self,
        connection: AsyncConnection,
        report: CheckedReport,
        slot: FreeSlot | None,
        attempt: Attempt,
        verdict: Verdict,
        followed: advance.Followed,
    ) -> _Finished:
        """With the next step, where the agent asked for one."""
        given = None
        if slot is not None:
            given = await self._handing_over.with_the_end(
                connection, report, slot, attempt, followed.build
            )
        return _Finished(attempt=attempt, verdict=verdict, followed=followed, given=given)

    async def _message(
        self, connection: AsyncConnection, report: CheckedReport, step: Step
    ) -> str | None:
        """With what a worker without an agent named, or the step declares, and nobody uploaded."""
        if report.principal.kind is PrincipalKind.AGENT or (
            report.end.status is not Completion.SUCCESS
        ):
            return report.message
        named = report.request.output_paths
        paths = [*step.written.output_paths] if named is None else named
        if not paths:
            return report.message
        stored_names = await stored_artifacts.artifact_names(
            connection, report.step_id, report.epoch
        )
        missing = storable(missing_outputs(paths, stored_names))
        return "\n".join(filter(None, [report.message, missing])) or None

    async def _generate(
        self, connection: AsyncConnection, step: Step, attempt: Attempt, report: CheckedReport
    ) -> CheckedReport:
        """Add what the step has generated. One that was asked to end has come to nothing: what it
        would begin is unwanted. Raises ToBeRead."""
        if step.cancel_requested_by is not None:
            return report.failed(None)
        fault = await self.generating.add(connection, step, attempt, report.generated)
        return report if fault is None else report.failed(fault)

    def _committed(self, report: CheckedReport, slot: FreeSlot | None, finished: _Finished) -> None:
        self.dispatch.ended(report.step_id, report.epoch)
        if finished.given is not None:
            self.runner.handed_over(finished.given)
        self.core.news.publish(build_topic(finished.followed.build.id))
        self.core.news.publish(log_topic(report.log_id))
        is_over = slot is None or finished.given is not None or not self.core.database.is_shared
        if self.dispatch.limits_projects or (is_over and finished.leaves_work):
            self.dispatch.wake()
        if report.log.size:  # of an empty log nothing is stored that could be folded
            self.folding.soon(report.log_id)

    def _surely_runs(self, principal: Principal, step_id: str, request: CompleteRequest) -> bool:
        """Then the transaction alone looks whether it still does."""
        if principal.kind is not PrincipalKind.AGENT or request.logs:
            return False
        return self.dispatch.surely_runs(step_id, request.epoch, principal.holder)

    async def _keep_log(self, attempt: Attempt) -> None:
        """Of an attempt that was lost and whose step goes on without it: what came of it is all."""
        if attempt.state is not AttemptState.LOST or attempt.log_bytes is not None:
            return
        digest = await self.core.logs.digest(attempt.id)
        await self.core.database.write(
            lambda connection: stored_attempts.set_log(
                connection, attempt, digest.size, digest.sha256
            )
        )
        if digest.size:
            self.folding.soon(attempt.id)

    async def _close_log(
        self, log_id: str, request: CompleteRequest
    ) -> tuple[LogDigest, str | None]:
        """The log's digest, and what is wrong where it isn't the log that was sent."""
        try:
            digest = await self.logs.check_whole(log_id, request.log_bytes, request.log_sha256)
        except Invalid as error:
            log.error("log differs", attempt=log_id, error=error.message)
            return await self.core.logs.digest(log_id), error.message
        return digest, None

    async def _answer_again(
        self, principal: Principal, step: Step, attempt: Attempt, request: CompleteRequest
    ) -> CompleteResponse:
        said = {
            AttemptState.SUCCEEDED: (Completion.SUCCESS,),
            AttemptState.FAILED: (Completion.FAILED,),
            AttemptState.CANCELLED: (Completion.FAILED,),
            AttemptState.LOST: (Completion.FAILED,)
            if request.reason is CompletionReason.LOST
            else (),
        }[attempt.state]
        if _another_log(attempt, request) or _came_to_nothing(step, attempt):
            said = (*said, Completion.SUCCESS)  # the coordinator alone has failed it
        same_code = request.exit_code is None or request.exit_code == attempt.exit_code
        if request.status not in said or not same_code:
            if attempt.state is AttemptState.LOST or step.epoch != attempt.epoch:
                raise self.core.generations.stale(step, attempt.epoch)
            code = "" if attempt.exit_code is None else f", exit code {attempt.exit_code}"
            raise Conflict(f"this attempt was completed as {attempt.state.value} already{code}")
        build = await self.core.database.read(
            lambda connection: stored.find_build(connection, step.build_id)
        )
        return CompleteResponse(
            success=True,
            step_status=SHOWN_AS[step.state],
            build_complete=build is not None and build.state in FINISHED_BUILD,
            next=await self.runner.given_with(principal, attempt) if request.next else None,
        )

    async def _store_logs(self, attempt: Attempt, text: str) -> None:
        """003's `logs`: used where the worker sent none by the log protocol."""
        data = text.encode("utf-8", "replace")
        now_ms = int(time.time() * 1000)
        size = await self.core.logs.size(attempt.id)
        if size not in (0, len(data)):
            return
        try:
            frames = [Frame(stream=Stream.STDOUT, time_ms=now_ms, data=data)]
            await self.logs.append(attempt, 0, frames)
        except LogIncomplete:
            return  # sent already, by this completion's first try or by the log protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class _Finished:
    attempt: Attempt
    """As it was."""
    verdict: Verdict
    followed: advance.Followed
    given: HandedOver | None

    @property
    def leaves_work(self) -> bool:
        """Whether there is more to hand out than before, or a slot more to hand it to."""
        return self.given is None or self.followed.ready > 1


class _ReportsToBeRead(Exception):
    """The step reports, and nobody has looked at that."""

    def __init__(self, step: Step, attempt: Attempt) -> None:
        super().__init__(step.id)
        self.step, self.attempt = step, attempt


class _EndedMeanwhile(Exception):
    """Another completion, a cancel or the end of the lease came first."""


def _another_log(attempt: Attempt, request: CompleteRequest) -> bool:
    """The attempt was failed because its log is not the one that the request speaks of."""
    return attempt.state is AttemptState.FAILED and (
        request.log_bytes not in (None, attempt.log_bytes)
        or request.log_sha256 not in (None, attempt.log_sha256)
    )


def _came_to_nothing(step: Step, attempt: Attempt) -> bool:
    """The script may have succeeded: what it left could not be used, or was not wanted any more."""
    if attempt.state is AttemptState.CANCELLED:
        return step.written.generates is not None
    unfit = attempt.reason == CompletionReason.OUTPUTS.value
    return attempt.state is AttemptState.FAILED and unfit


def _checked(outputs: Mapping[str, str]) -> tuple[Mapping[str, str], str | None]:
    """Those to be stored, and what is wrong where they can't be."""
    try:
        check_outputs(outputs)
    except OutputsError as error:
        return {}, str(error)
    return outputs, None
