"""One step, from the accepted offer to the acknowledged report.

`StepRun.run` reads as the story: carry out (source, inputs, script) while the log is shipped, write
the end to the journal, store the outputs, report. After kill -9 the same story goes on from what
the journal has.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from agent import descriptors
from agent.artifacts import ArtifactError, fetch_artifacts, store_artifacts
from agent.carried import in_thread, to_its_end
from agent.coordinator_client import (
    CallRefusedError,
    CoordinatorClient,
    CoordinatorUnavailableError,
    CredentialRefusedError,
    StaleLeaseError,
    WrongOffsetError,
)
from agent.engines.protocol import (
    Engine,
    EngineUnavailable,
    Outcome,
    OutputSink,
    StepResult,
    TagNotSettledError,
)
from agent.journal import Journal
from agent.journal_entries import Entry, Phase, Report
from agent.lease import Term, boot_clock
from agent.log_shipper import LogShipper, LogSpool
from agent.masking import MaskingSink, masked
from agent.retries import keep_trying, pause_after
from agent.source_trees import SourceError
from agent.sources import LentSource, Sources
from agent.step_parts import StepParts
from agent.step_reports import (
    CANCELLED,
    LEASE_OVER,
    LOST,
    REFUSED,
    STOPPED,
    TORN,
    failure,
    joined,
    report_of,
    with_trouble,
)
from agent.step_requests import confidential, image_request_of, request_of
from agent.watchdog import Watchdog
from pipelines_schema.contract import (
    CompleteRequest,
    CompletionReason,
    LeaseRef,
    NextStep,
    StepSpec,
)
from pipelines_schema.log_frames import Stream

logger = logging.getLogger(__name__)

LATE_SECONDS = 2.0
MAX_REWINDS = 5
"""A coordinator that asks for the log so often never gets what it wants."""

BYPASSED = b"cache: bypassed (clean build)\n"
"""First line of the log of a step that would have used caches."""


class SourceTooLate(Exception):
    """The step's time was over before its source was here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Workshop:
    """What every step run of an agent works with."""

    client: CoordinatorClient
    engine: Engine
    journal: Journal
    sources: Sources
    watchdog: Watchdog | None
    """For an engine that ends no attempt at its term itself."""
    engine_lost: Callable[[], None]
    """Called when the engine went away under a step: no new work until it is back."""
    sign_in_again: Callable[[str], Awaitable[None]]
    """Called with the agent's own credential when that is refused; returns when there is a new
    one, or soon."""
    wants_next: Callable[[], NextStep | None]
    """Whether the slot of a step that is over may be given another at once."""
    take_next: Callable[[StepSpec, float, str], Awaitable[bool]]
    """Begin a step that came with the answer to a completion, which was sent then (boot clock) and
    with that credential; whether it has begun."""


class StepRun:
    """One attempt. `run` once; `cancel`, `stop` and `abandon` at any time, from the event loop."""

    def __init__(
        self, *, workshop: Workshop, entry: Entry, resumed: bool, term: Term | None = None
    ) -> None:
        """Without a term the script runs to its end, whatever becomes of its lease."""
        self._workshop = workshop
        self._entry = entry
        self._term = term
        self.resumed = resumed
        """Left by an earlier process: it needs no slot, since its script runs no more."""
        self._execution: asyncio.Task[Report] | None = None
        self._ends_as: Report | None = None
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

    def cancel(self) -> None:
        """The coordinator wants it cancelled: kill the script, report what there is."""
        self._end_as(CANCELLED)

    def stop(self) -> None:
        """The agent is stopping: kill the script, report it lost so that it is run elsewhere."""
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

    def _end_as(self, report: Report) -> None:
        if self._ends_as is None and self._entry.report is None:
            self._ends_as = report
            if self._execution is not None:
                self._execution.cancel()

    async def run(self) -> None:
        """Return when the coordinator has the report, or the attempt is not ours any more."""
        self._whole = asyncio.current_task()
        try:
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
        execution = self._execution = asyncio.create_task(self._execute(spool))
        guards = [asyncio.create_task(self._guard_disk(spool))]
        if self._term is not None:
            guards.append(asyncio.create_task(self._guard_term(self._term)))
        try:
            if self._ends_as is not None:
                execution.cancel()
            await asyncio.wait({execution})
            return self._outcome(execution)
        finally:
            for guard in guards:
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

    async def _guard_disk(self, spool: LogSpool) -> None:
        await spool.failed.wait()
        failed = spool.failure or OSError()
        message = f"The agent's disk takes no more, so the step was ended: {failed}"
        self._end_as(self._lacking(failed) or failure(CompletionReason.ENGINE, message))

    def _outcome(self, execution: asyncio.Task[Report]) -> Report:
        if execution.cancelled():
            if self._ends_as is None:
                raise asyncio.CancelledError
            return self._ends_as
        return execution.result()

    async def _execute(self, spool: LogSpool) -> Report:
        spec = self._entry.spec
        workshop = self._workshop
        gone = [name for name in spec.secret_names if name not in spec.secrets]
        if gone:
            names = ", ".join(gone)
            message = f"The project has no secret {names} any more: `pushrod secret set` it again."
            return failure(CompletionReason.SECRETS, message)
        if spec.refused is not None:
            return failure(CompletionReason.IMAGE, spec.refused)
        try:
            async with contextlib.AsyncExitStack() as resources:
                source = await self._lent_source(spec, spool)
                if source is not None:
                    resources.callback(source.release)
                await fetch_artifacts(workshop.client, spec, self._entry.inputs)
                result = await self._run_in_engine(spec, source, spool)
                if result.outcome is Outcome.ENGINE_LOST:
                    workshop.engine_lost()
                report = report_of(result)
                hidden = confidential(spec)
                if report.message and hidden:
                    return replace(report, message=masked(report.message, hidden))
                return report
        except SourceTooLate as error:
            return failure(CompletionReason.TIMEOUT, str(error))
        except (SourceError, ArtifactError) as error:
            return self._lacking(error) or failure(CompletionReason.SOURCE, str(error))
        except EngineUnavailable as error:
            return failure(CompletionReason.ENGINE, str(error))
        except StaleLeaseError:
            raise
        except Exception as error:
            if lacking := self._lacking(error):
                return lacking
            logger.exception("attempt %s failed in the agent", self._entry.attempt_id)
            return failure(CompletionReason.ENGINE, f"The agent failed: {error!r}")

    def _lacking(self, error: Exception) -> Report | None:
        """The report, if descriptors ran out: no new work until the engine is seen to answer."""
        if not descriptors.are_lacking(error):
            return None
        self._workshop.engine_lost()
        return replace(LOST, message=descriptors.LACKING)

    async def _run_in_engine(
        self, spec: StepSpec, source: LentSource | None, spool: LogSpool
    ) -> StepResult:
        if spec.clean and (spec.cache_dirs or spec.build):
            spool.write(Stream.STDOUT, BYPASSED)
        hidden = confidential(spec)
        if not hidden:
            return await self._ask_engine(spec, source, spool)
        output = MaskingSink(spool, hidden)
        try:
            return await self._ask_engine(spec, source, output)
        finally:
            output.end()

    async def _ask_engine(
        self, spec: StepSpec, source: LentSource | None, output: OutputSink
    ) -> StepResult:
        engine = self._workshop.engine
        if spec.build is None:
            wanted = request_of(self._entry, source, self._term, self._settle_image)
            return await engine.run(wanted, output)
        request = image_request_of(self._entry, spec.build, source, self._settle_tag)
        return await engine.build_image(request, output)

    async def _settle_tag(self, tag: str, digest: str) -> str:
        """Raises TagNotSettledError, StaleLeaseError, CredentialRefusedError."""
        try:
            return await self._settle_image(digest, tag)
        except CallRefusedError as error:
            raise TagNotSettledError(error.message) from error

    async def _settle_image(self, digest: str, tag: str | None = None) -> str:
        """Ask for as long as it takes: the lease ends it. Raises CallRefusedError, StaleLeaseError,
        CredentialRefusedError."""
        answer = await keep_trying(
            lambda: self._workshop.client.settle_image(self._entry.spec, digest, tag),
            lambda error: logger.info("settling an image of %s: %s", self._entry.attempt_id, error),
        )
        return answer.digest

    async def _lent_source(self, spec: StepSpec, spool: LogSpool) -> LentSource | None:
        """Raises SourceError, SourceTooLate."""
        if spec.source is None:
            return None
        parts = StepParts(
            self._workshop.client,
            spec,
            lambda line: spool.write(Stream.STDOUT, f"{line}\n".encode()),
        )
        try:
            async with asyncio.timeout(spec.timeout_seconds) as limit:
                return await self._workshop.sources.prepare(
                    spec.project_id, spec.source, spec.token, parts
                )
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise SourceTooLate(
                f"The source was not here after {spec.timeout_seconds:g} s, the step's timeout."
            ) from error

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
                report = self._lacking(error) or with_trouble(
                    report, CompletionReason.OUTPUTS, str(error)
                )
        self._entry = self._entry.with_report(report, Phase.STORED)
        await in_thread(self._write_down, self._entry)

    async def _send_outputs(self) -> None:
        journal, entry = self._workshop.journal, self._entry
        await store_artifacts(
            self._workshop.client,
            entry.spec,
            entry.outputs,
            already_sent=journal.sent(entry),
            mark_sent=lambda name: journal.mark_sent(entry, name),
        )

    def _write_down(self, entry: Entry, frames: bytes | None = None) -> None:
        try:
            self._workshop.journal.record(entry, frames)
        except OSError as error:
            # Only a restart would need it; the report itself still goes out from memory.
            logger.warning("journal of attempt %s: %s", entry.attempt_id, error)

    def _completion(self, report: Report, spool: LogSpool, shipper: LogShipper) -> CompleteRequest:
        if shipper.refusal is not None:
            message = f"The coordinator did not take the whole log: {shipper.refusal}"
            report = with_trouble(report, CompletionReason.ENGINE, message)
        if self._torn is not None:
            report = replace(report, message=joined(report.message, self._torn))
        whole = shipper.refusal is None and self._torn is None
        return CompleteRequest(
            status=report.status,
            exit_code=report.exit_code,
            epoch=self._entry.spec.epoch,
            log_bytes=spool.text_bytes if whole else None,
            log_sha256=spool.sha256 if whole else None,
            reason=report.reason,
            message=report.message_to_send,
            images=list(report.images) or None,
            next=None if self.resumed else self._workshop.wants_next(),
        )

    async def _complete(self, request: CompleteRequest) -> None:
        client, sent_at = self._workshop.client, boot_clock()
        credential = client.credential
        answer = await client.complete(self._entry.spec.step_id, request)
        if answer.next is not None:
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
