"""What is reported on a step: its completion, and what follows from it."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field

import structlog

from coordinator.domain.errors import Conflict, Invalid, LogIncomplete, StaleEpoch
from coordinator.domain.lifecycle import FINISHED_BUILD, SHOWN_AS, BuildState
from coordinator.domain.model import Attempt, AttemptState, Step
from coordinator.domain.people.permissions import Principal
from coordinator.domain.steps.late_reports import is_late, may_be_reported_on
from coordinator.domain.steps.verdict import AttemptEnd
from coordinator.ports import LogDigest
from coordinator.services.core import Core
from coordinator.services.images.image_builds import built_images
from coordinator.services.logs.logs import Logs
from coordinator.services.news import build_topic, log_topic
from coordinator.services.steps import advance, caches
from coordinator.services.steps.dispatch import Dispatch
from coordinator.services.steps.runner import Runner
from coordinator.storage.builds import builds as stored
from coordinator.storage.connection import AsyncConnection
from pipelines_schema.contract import (
    CompleteRequest,
    CompleteResponse,
    Completion,
    CompletionReason,
)
from pipelines_schema.log_frames import Frame, Stream

log = structlog.get_logger()


@dataclass(slots=True)
class Reports:
    core: Core
    dispatch: Dispatch
    logs: Logs
    runner: Runner
    _closing: set[asyncio.Task[None]] = field(default_factory=set)

    async def complete(
        self, principal: Principal, step_id: str, request: CompleteRequest
    ) -> CompleteResponse:
        """End an attempt. The same completion again is answered the same.

        Raises StaleEpoch, Conflict (contradicts an earlier one), LogIncomplete, NotFound.
        """
        step, attempt = await self.runner.attempt(principal, step_id, request.epoch)
        if not may_be_reported_on(step, attempt):
            await self._keep_log(attempt)
            return await self._answer_again(step, attempt, request)
        if request.logs:
            await self._store_logs(attempt, request.logs)
        digest, problem = await self._close_log(attempt, request)
        end = AttemptEnd(
            status=Completion.FAILED if problem else request.status,
            exit_code=request.exit_code,
            reason=CompletionReason.ENGINE if problem else request.reason,
        )
        message = "\n".join(filter(None, [problem, _storable(request.message)])) or None
        images = built_images(step, request)

        async def finish(connection: AsyncConnection) -> tuple[Step, BuildState]:
            step, attempt = await self.runner.attempt_in(
                connection, principal, step_id, request.epoch
            )
            if not may_be_reported_on(step, attempt):
                raise _EndedMeanwhile
            if is_late(step, attempt):
                step = await advance.resume(self.core, connection, step, attempt)
            verdict, followed = await advance.end_attempt(
                self.core, connection, step, attempt, end, digest, message, images
            )
            if verdict.attempt is AttemptState.SUCCEEDED:
                await caches.keep_clean(connection, step, attempt)
            return await self.runner.find(connection, principal, step_id), followed.build.state

        def committed(result: tuple[Step, BuildState]) -> None:
            self.dispatch.ended(step_id, attempt.epoch)
            self.core.news.publish(build_topic(step.build_id))
            self.core.news.publish(log_topic(attempt.id))
            self.dispatch.wake()
            if digest.size:  # of an empty log nothing is stored that could be folded
                self._fold_log(attempt)

        try:
            ended, state = await self.core.database.write(finish, committed=committed)
        except _EndedMeanwhile:
            step, attempt = await self.runner.attempt(principal, step_id, attempt.epoch)
            return await self._answer_again(step, attempt, request)
        return CompleteResponse(
            success=True,
            step_status=SHOWN_AS[ended.state],
            build_complete=state in FINISHED_BUILD,
        )

    async def _keep_log(self, attempt: Attempt) -> None:
        """Of an attempt that was lost and whose step goes on without it: what came of it is all."""
        if attempt.state is not AttemptState.LOST or attempt.log_bytes is not None:
            return
        digest = await self.core.logs.digest(attempt.id)
        await self.core.database.write(
            lambda connection: stored.set_log(connection, attempt, digest.size, digest.sha256)
        )
        if digest.size:
            self._fold_log(attempt)

    async def _close_log(
        self, attempt: Attempt, request: CompleteRequest
    ) -> tuple[LogDigest, str | None]:
        """The log's digest, and what is wrong where it isn't the log that was sent."""
        try:
            digest = await self.logs.check_whole(attempt, request.log_bytes, request.log_sha256)
        except Invalid as error:
            log.error("log differs", attempt=attempt.id, error=error.message)
            return await self.core.logs.digest(attempt.id), error.message
        return digest, None

    async def _answer_again(
        self, step: Step, attempt: Attempt, request: CompleteRequest
    ) -> CompleteResponse:
        said = {
            AttemptState.SUCCEEDED: (Completion.SUCCESS,),
            AttemptState.FAILED: (Completion.FAILED,),
            AttemptState.CANCELLED: (Completion.FAILED,),
            AttemptState.LOST: (Completion.FAILED,)
            if request.reason is CompletionReason.LOST
            else (),
        }[attempt.state]
        if _another_log(attempt, request):
            said = (*said, Completion.SUCCESS)  # it was failed for its log alone
        same_code = request.exit_code is None or request.exit_code == attempt.exit_code
        if request.status not in said or not same_code:
            if attempt.state is AttemptState.LOST or step.epoch != attempt.epoch:
                raise StaleEpoch
            code = "" if attempt.exit_code is None else f", exit code {attempt.exit_code}"
            raise Conflict(f"this attempt was completed as {attempt.state.value} already{code}")
        build = await self.core.database.read(
            lambda connection: stored.find_build(connection, step.build_id)
        )
        return CompleteResponse(
            success=True,
            step_status=SHOWN_AS[step.state],
            build_complete=build is not None and build.state in FINISHED_BUILD,
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

    def _fold_log(self, attempt: Attempt) -> None:
        task = asyncio.create_task(self._fold(attempt), name=f"fold {attempt.id}")
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def _fold(self, attempt: Attempt) -> None:
        try:
            await self.core.logs.close(attempt.id)
        except Exception:  # a task root: the chunks stay readable as they are
            log.exception("folding a log failed", attempt=attempt.id)

    async def drain(self) -> None:
        if self._closing:
            await asyncio.wait(self._closing, timeout=10)


class _EndedMeanwhile(Exception):
    """Another completion, a cancel or the end of the lease came first."""


def _another_log(attempt: Attempt, request: CompleteRequest) -> bool:
    """The attempt was failed because its log is not the one that the request speaks of."""
    return attempt.state is AttemptState.FAILED and (
        request.log_bytes not in (None, attempt.log_bytes)
        or request.log_sha256 not in (None, attempt.log_sha256)
    )


def _storable(text: str | None) -> str | None:
    """NUL and half surrogate pairs, which no database stores, are replaced."""
    if text is None:
        return None
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode()
