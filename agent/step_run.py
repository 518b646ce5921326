"""One step, from the accepted offer to the acknowledged report.

`StepRun.run` reads as the story: carry out (source, inputs, script) while the log is shipped, write
the end to the journal, store the outputs, report. After kill -9 the same story goes on from what
the journal has.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from dataclasses import replace

from structlog.contextvars import bound_contextvars

from agent.artifact_errors import ArtifactError
from agent.artifacts import store_artifacts
from agent.carried import in_thread, to_its_end
from agent.coordinator_errors import (
    CallRefusedError,
    CoordinatorUnavailableError,
    CredentialRefusedError,
    StaleLeaseError,
    WrongOffsetError,
)
from agent.engines.end_request import EndRequest
from agent.engines.protocol import EngineUnavailable
from agent.journal_entries import Entry, Phase, Report
from agent.lease import Term, boot_clock
from agent.log_shipper import LogShipper, LogSpool
from agent.retries import pause_after
from agent.step_execution import StepExecution
from agent.step_reports import (
    CANCELLED,
    LEASE_OVER,
    LOST,
    REFUSED,
    STOPPED,
    TORN,
    completion,
    failure,
    with_trouble,
    without_secrets,
)
from agent.step_requests import confidential
from agent.workshop import Workshop
from pipelines_schema.contract import CompleteRequest, CompletionReason, LeaseRef
from pipelines_schema.log_frames import Stream

logger = logging.getLogger(__name__)

LATE_SECONDS = 2.0
ENGINE_SECONDS = 15.0
"""Beyond a script's grace: what an engine may take to end it and to hand over its log."""
MAX_REWINDS = 5
"""A coordinator that asks for the log so often never gets what it wants."""


class StepRun:
    """One attempt. `run` once; what ends it may be called at any time, from the event loop."""

    def __init__(
        self, *, workshop: Workshop, entry: Entry, resumed: bool, term: Term | None = None
    ) -> None:
        """Without a term the script runs to its end, whatever becomes of its lease."""
        self._workshop = workshop
        self._entry = entry
        self._term = term
        self.resumed = resumed
        """Left by an earlier process: its script runs no more."""
        self._end_request: EndRequest | None = None
        self._execution: asyncio.Task[Report] | None = None
        self._ends_as: Report | None = None
        self._killed = False
        self._whole: asyncio.Task[None] | None = None
        self._abandoned = False
        self._reporting = False
        self._settled = False
        self._ended_at: float | None = None
        self.handed_over = False
        """Another step came with the answer to its report, and has its slot."""
        self._torn: str | None = None
        self.script_over = asyncio.Event()
        """Set once the script does not run (any more), and will not."""
        self.over = asyncio.Event()
        """Set once nothing is left to be reported, either."""

    @property
    def lease(self) -> LeaseRef:
        return self._entry.lease

    @property
    def lease_seconds(self) -> float:
        return self._entry.spec.lease_seconds

    @property
    def has_slot(self) -> bool:
        """Once another step has its slot, it is held for a moment more, until it is forgotten."""
        return not (self.resumed or self.handed_over)

    @property
    def late(self) -> bool:
        """Its result should have been told by now: it may have been taken for lost."""
        ended = self._ended_at
        return self.resumed or (ended is not None and boot_clock() - ended > LATE_SECONDS)

    @property
    def is_endless(self) -> bool:
        """A program that is not expected to end by itself."""
        return self._entry.spec.own_command

    def renew(self, *, sent_at: float) -> None:
        """The coordinator answered a renewal that was sent then."""
        if self._term is not None:
            self._term.renew(sent_at=sent_at, now=boot_clock())

    @property
    def grace_seconds(self) -> float:
        return self._entry.spec.grace_seconds

    def cancel(self) -> None:
        """The coordinator wants it cancelled: have the script end, report what there is."""
        self._end_gently(CANCELLED)

    def stop(self) -> None:
        """The agent is stopping: have the script end, report it lost, to be run elsewhere."""
        self._end_gently(STOPPED)

    def kill(self) -> None:
        """As `stop`, without grace."""
        self._end_as(STOPPED)

    def refuse(self) -> None:
        """The coordinator refuses the agent's credential: kill the script, it is somebody else's
        soon."""
        self._end_as(REFUSED)

    def abandon(self) -> None:
        """The attempt is not ours any more: kill the script, report nothing, forget it.

        Once it is reported that has no meaning: a coordinator that has just taken the report
        may call the lease lost in its answer to a renewal that was on the way. A report that is on
        the way is not broken off, for its answer may bring another step; it is the last try.
        """
        if self._whole is not None and not (self._abandoned or self._reporting or self._settled):
            self._whole.cancel()
        self._abandoned = True

    def _end_gently(self, report: Report) -> None:
        """Ask the script to end, and kill it when its grace is over; at once if none can be asked:
        there is none yet or no more, or its grace is 0."""
        if self._ends_as is not None or self._entry.report is not None:
            return
        if self._end_request is None or not self._end_request.make():
            self._end_as(report)
            return
        self._ends_as = report
        seconds = self.grace_seconds + ENGINE_SECONDS
        asyncio.get_running_loop().call_later(seconds, self._end_as, report)

    def _end_as(self, report: Report) -> None:
        """Kill the script; the report is the first that it was to end as."""
        if self._entry.report is not None or self._killed:
            return
        self._ends_as = self._ends_as or report
        if self._execution is not None:
            # Once: a second time it would break off the killing.
            self._killed = True
            self._execution.cancel()

    async def run(self) -> None:
        """Return when the coordinator has the report, or the attempt is not ours any more."""
        self._whole = asyncio.current_task()
        spec = self._entry.spec
        ids = {"build": spec.build_id, "step": spec.step_id, "attempt": self._entry.attempt_id}
        try:
            with bound_contextvars(**ids):
                await self._run_unless_abandoned()
        finally:
            self.script_over.set()
            self.over.set()
        self._settled = True
        await in_thread(self._workshop.journal.forget, self._entry)

    async def _run_unless_abandoned(self) -> None:
        try:
            if not self._abandoned:
                await self._run()
        except StaleLeaseError as stale:
            logger.info("attempt %s is not ours any more: %s", self._entry.attempt_id, stale)
        except asyncio.CancelledError:
            # An abandoned attempt ends quietly; the agent's own end leaves the journal as it is.
            if not self._abandoned:
                raise

    async def _run(self) -> None:
        spool = LogSpool(self._entry.spool)
        if self.resumed:
            spool = await asyncio.to_thread(LogSpool.recovered, self._entry.spool)
        shipper = LogShipper(
            client=self._workshop.client,
            spec=self._entry.spec,
            spool=spool,
            resumed=self.resumed,
        )
        self._tell_torn(spool, shipper)
        try:
            await self._carry_through(spool, shipper)
            await self._report(spool, shipper)
        finally:
            spool.close()

    def _tell_torn(self, spool: LogSpool, shipper: LogShipper) -> None:
        """Say in the log what the disk has done to it; how the script ended is still known."""
        written = self._entry.log
        if written is None or written == spool.mark:
            return
        self._torn = TORN.format(left=spool.text_bytes, all=written.text_bytes)
        logger.warning("attempt %s: %s", self._entry.attempt_id, self._torn)
        spool.write(Stream.STDERR, f"\npushrod: {self._torn}\n".encode())
        shipper.torn = True

    async def _carry_through(self, spool: LogSpool, shipper: LogShipper) -> None:
        """All but the report, while the log is on its way; returns when all of it has arrived."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(shipper.ship())
                if self._entry.report is None:
                    report = await self._find_end(spool)
                    self.script_over.set()
                    await self._record_end(spool, report)
                self.script_over.set()
                spool.close()
                with self._workshop.spans(self._entry.spec).of("outputs"):
                    await self._store_outputs()
        except BaseExceptionGroup as failures:
            raise failures.exceptions[0] from None

    async def _find_end(self, spool: LogSpool) -> Report:
        return await (self._find_lost() if self.resumed else self._carry_out(spool))

    async def _find_lost(self) -> Report:
        """The script died with the agent that ran it; make sure that it did."""
        try:
            await self._workshop.engine.reap(self._entry.attempt_id)
        except (EngineUnavailable, OSError) as error:
            logger.warning("reaping attempt %s: %s", self._entry.attempt_id, error)
        return LOST

    async def _carry_out(self, spool: LogSpool) -> Report:
        """Run the script to its end, or until it is to end as something else."""
        work = StepExecution(
            workshop=self._workshop, entry=self._entry, term=self._term, spool=spool
        )
        self._end_request = work.end
        execution = self._execution = asyncio.create_task(work.run())
        spool.on_failure = self._end_for_disk
        guard = None if self._term is None else asyncio.create_task(self._guard_term(self._term))
        try:
            if self._ends_as is not None:
                self._end_as(self._ends_as)
            await asyncio.wait({execution})
            return self._outcome(execution)
        finally:
            spool.on_failure = None
            if guard is not None:
                guard.cancel()
            execution.cancel()
            # The engine kills the script before its task ends, also when we are being cancelled.
            with contextlib.suppress(asyncio.CancelledError, StaleLeaseError):
                await to_its_end(execution)

    async def _guard_term(self, term: Term) -> None:
        watchdog = self._workshop.watchdog
        with watchdog.guarding(term) if watchdog else contextlib.nullcontext():
            await term.over()
        self._end_as(LEASE_OVER)

    def _end_for_disk(self, error: OSError) -> None:
        message = f"The agent's disk takes no more, so the step was ended: {error}"
        self._end_as(
            self._workshop.report_lacking(error) or failure(CompletionReason.ENGINE, message)
        )

    def _outcome(self, execution: asyncio.Task[Report]) -> Report:
        if not execution.cancelled():
            report = execution.result()
            asked = self._end_request is not None and self._end_request.made
            return self._ends_as or report if asked else report
        if self._ends_as is None:
            raise asyncio.CancelledError
        return self._ends_as

    async def _record_end(self, spool: LogSpool, report: Report) -> None:
        """From here on, a restart reports this end instead of a lost attempt."""
        self._ended_at = boot_clock()
        self._entry = await in_thread(self._end_on_disk, spool, report)

    def _end_on_disk(self, spool: LogSpool, report: Report) -> Entry:
        """The entry of the ended script, whose log is on the disk. Blocking."""
        frames = None
        try:
            frames = spool.short_content()
            if frames is None:
                spool.make_last()
        except OSError as error:
            report = failure(CompletionReason.ENGINE, f"The agent can't write the log: {error}")
        entry = replace(self._entry, log=spool.mark).with_report(report, Phase.ENDED)
        self._write_down(entry, frames)
        return entry

    async def _store_outputs(self) -> None:
        report = self._entry.report
        if report is None or self._entry.phase is Phase.STORED or not self._entry.spec.output_paths:
            return
        if report.reason is not CompletionReason.LOST:
            try:
                await self._send_outputs()
            except (ArtifactError, OSError) as error:
                report = self._workshop.report_lacking(error) or without_secrets(
                    with_trouble(report, CompletionReason.OUTPUTS, str(error)),
                    confidential(self._entry.spec),
                )
        self._entry = self._entry.with_report(report, Phase.STORED)
        await in_thread(self._write_down, self._entry)

    async def _send_outputs(self) -> None:
        journal, entry = self._workshop.journal, self._entry
        await store_artifacts(
            self._workshop.client,
            entry.spec,
            entry.outputs,
            kept=self._workshop.kept,
            already_sent=journal.sent(entry),
            mark_sent=lambda names: journal.mark_sent(entry, names),
        )

    def _write_down(self, entry: Entry, frames: bytes | None = None) -> None:
        try:
            self._workshop.journal.record(entry, frames)
        except OSError as error:
            # Only a restart would need it; the report itself still goes out from memory.
            logger.warning("journal of attempt %s: %s", entry.attempt_id, error)

    def _completion(self, report: Report, spool: LogSpool, shipper: LogShipper) -> CompleteRequest:
        return completion(
            report,
            epoch=self._entry.spec.epoch,
            log=(spool.text_bytes, spool.sha256),
            refusal=shipper.refusal,
            torn=self._torn,
            wanted=None if self.resumed else self._workshop.wants_next(),
        )

    async def _complete(self, request: CompleteRequest) -> None:
        client, sent_at = self._workshop.client, boot_clock()
        credential = client.credential
        answer = await client.complete(self._entry.spec.step_id, request)
        if answer.next is not None:
            # Nothing waits between the next one's start and this: no slot is counted twice.
            self.handed_over = await self._workshop.take_next(answer.next, sent_at, credential)

    async def _report(self, spool: LogSpool, shipper: LogShipper) -> None:
        """Complete, for as long as it takes. Raises StaleLeaseError."""
        report = self._entry.report or LOST
        failures = rewinds = refusals = 0
        self._reporting = True
        while not self._abandoned:
            try:
                await self._complete(self._completion(report, spool, shipper))
                return
            except WrongOffsetError as error:
                rewinds += 1
                if rewinds > MAX_REWINDS:
                    shipper.refusal = f"it asked {rewinds} times for more; last: {error}"
                shipper.resume_at(error.offset)
                await shipper.ship()
                if rewinds == 1:
                    continue
            except CredentialRefusedError as error:
                await self._workshop.sign_in_again(error.credential)
            except CallRefusedError as error:
                refusals += 1
                logger.error("completing attempt %s: %s", self._entry.attempt_id, error)
                if refusals > 1:
                    return
                message = f"The coordinator refused the report: {error}"
                report = with_trouble(report, CompletionReason.ENGINE, message)
            except CoordinatorUnavailableError as error:
                logger.info("completing attempt %s: %s", self._entry.attempt_id, error)
            failures += 1
            await pause_after(failures)
