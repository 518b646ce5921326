"""The agent: one held poll, a step run per slot, leases kept alive, drain and stop."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from agent import descriptors
from agent.carried import in_thread
from agent.coordinator_client import (
    CoordinatorClient,
    CoordinatorError,
    CredentialRefusedError,
    StaleLeaseError,
)
from agent.engines.protocol import Engine, EngineInfo, EngineUnavailable
from agent.journal import Journal
from agent.lease import (
    LONGEST_TICK_SECONDS,
    LeaseTable,
    Term,
    boot_clock,
    renew_every_seconds,
    renewal_wait_seconds,
)
from agent.retries import keep_trying, pause_until
from agent.settings import AgentSettings, is_safe_name
from agent.sign_in import SignIn
from agent.sources import Sources
from agent.step_run import StepRun, Workshop
from agent.watchdog import Watchdog
from pipelines_schema.contract import (
    LEASE_SECONDS,
    Capability,
    CompleteRequest,
    Completion,
    CompletionReason,
    GoodbyeRequest,
    LeaseRef,
    NextStep,
    Offer,
    PollRequest,
    PollResponse,
    RenewRequest,
    StepSpec,
)

logger = logging.getLogger(__name__)

SUPERSEDED_POLL_SECONDS = 2.0
IMAGE_CAPABILITIES = [Capability.IMAGE_BUILDS.value, Capability.OWN_COMMANDS.value]
"""An engine that builds images runs them, too."""
QUICK_ANSWER_SECONDS = 0.2
"""A poll that is answered sooner, with nothing in the answer, is followed by a pause."""


class AlreadyRunningError(Exception):
    """Another agent process uses the data folder."""


class Agent:
    """`run` once; `begin_drain` and `cancel_all` at any time, from the event loop."""

    def __init__(
        self,
        settings: AgentSettings,
        engine: Engine,
        *,
        revive_engine: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """`revive_engine` is tried when the engine went away; it raises EngineUnavailable."""
        self._settings = settings
        self._engine = engine
        self._slots = min(settings.slots, descriptors.slots_allowed(descriptors.descriptor_limit()))
        self._instance = uuid.uuid4().hex
        self._revive_engine = revive_engine
        self._engine_lost = asyncio.Event()
        self._client = CoordinatorClient(
            settings.url, poll_timeout_seconds=settings.poll_timeout_seconds
        )
        self._sign_in = SignIn(
            settings, self._client, instance=self._instance, end_scripts=self._end_scripts
        )
        self._sources = Sources(settings.data_dir / "sources")
        guarded = settings.may_be_killed and not engine.ends_at_term
        self._watchdog = Watchdog() if guarded else None
        self._workshop = Workshop(
            client=self._client,
            engine=engine,
            journal=Journal(settings.data_dir / "attempts"),
            sources=self._sources,
            watchdog=self._watchdog,
            engine_lost=self._note_engine_lost,
            sign_in_again=self._sign_in.again,
            wants_next=self._wants_next,
            take_next=self._take_next,
        )
        self._leases: LeaseTable[StepRun] = LeaseTable()
        self._tasks: set[asyncio.Task[None]] = set()
        self._superseded: set[asyncio.Task[None]] = set()
        self._accepting = 0
        self._none_accepting = asyncio.Event()
        self._none_accepting.set()
        self._renewed_at = -float("inf")
        """When the renewal was sent that was answered last."""
        self._seen = ""
        self._poll_again = asyncio.Event()
        self._lease_held = asyncio.Event()
        self._draining = asyncio.Event()
        self._finished = asyncio.Event()
        self.signed_in = asyncio.Event()
        """Set once there is a credential, before the first poll."""

    async def run(self) -> None:
        """Work until drained. Raises AlreadyRunningError, RegistrationRefusedError and
        EngineUnavailable before the first poll."""
        with sole_user(self._settings.data_dir):
            async with self._client:
                await self._prepare()
                try:
                    if await self._sign_in.first(self._draining):
                        self.signed_in.set()
                        await self._work()
                        await self._say_goodbye()
                finally:
                    if self._watchdog is not None:
                        await asyncio.to_thread(self._watchdog.close)
                    await self._engine.close()
                    self._workshop.journal.close()

    def begin_drain(self) -> None:
        """Take no more work; `run` returns when the running steps have been reported.

        What runs for as long as nobody stops it is given back, to run elsewhere.
        """
        if not self._draining.is_set():
            logger.info("draining: %d steps are still running", len(self._leases))
            for work in self._leases:
                if work.is_endless:
                    work.stop()
        self._draining.set()
        self._look_again()

    def cancel_all(self) -> None:
        """Kill the running steps, report them lost and end soon, also if nobody listens."""
        self.begin_drain()
        for work in self._leases:
            work.stop()
        seconds = self._settings.cancel_report_seconds
        asyncio.get_running_loop().call_later(seconds, self._finished.set)

    async def _prepare(self) -> None:
        info = await self._engine.check()
        logger.info("engine %s %s at %s", info.name, info.version, info.address)
        await asyncio.to_thread(self._workshop.journal.open)
        await asyncio.to_thread(self._sources.open)
        if self._slots < self._settings.slots:
            logger.warning(
                "%d descriptors are enough for %d steps at a time, not for %d: see `ulimit -n`",
                descriptors.descriptor_limit(),
                self._slots,
                self._settings.slots,
            )

    async def _work(self) -> None:
        entries = await asyncio.to_thread(self._workshop.journal.entries)
        for entry in entries:
            logger.info("attempt %s is left of before (%s)", entry.attempt_id, entry.phase)
            self._start(StepRun(workshop=self._workshop, entry=entry, resumed=True))
        self._look_again()
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(self._poll_for_ever()),
                    group.create_task(self._renew_for_ever()),
                    group.create_task(self._mend_engine_for_ever()),
                ]
                await self._finished.wait()
                for task in tasks:
                    task.cancel()
        finally:
            # What could not be reported in time stays in the journal for the next start.
            left = self._tasks | self._superseded
            for task in left:
                task.cancel()
            if left:
                await asyncio.wait(left)

    async def _say_goodbye(self) -> None:
        """What this process held is lost at once, but for what the next one reports."""
        left = await asyncio.to_thread(self._workshop.journal.entries)
        leases = [entry.lease for entry in left]
        try:
            await self._client.goodbye(GoodbyeRequest(instance=self._instance, leases=leases))
        except CoordinatorError as error:
            # One that is older than this call, or away, learns it by the leases' end.
            logger.info("no goodbye: %s", error)

    # --- step runs

    def _start(self, work: StepRun) -> None:
        self._leases.hold(work.lease, work)
        self._lease_held.set()
        task = asyncio.create_task(self._run_to_end(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run_to_end(self, work: StepRun) -> None:
        try:
            await work.run()
        except Exception:
            # The journal still has it: the next start tries again.
            logger.exception("step %s, epoch %d", work.lease.step_id, work.lease.epoch)
        finally:
            self._leases.release(work.lease)
            if not work.handed_over or self._draining.is_set():
                self._look_again()

    def _look_again(self) -> None:
        """Something changed that the poll should say, or that lets the agent end."""
        self._poll_again.set()
        if self._draining.is_set() and not self._leases and not self._accepting:
            self._finished.set()

    # --- the engine

    def _note_engine_lost(self) -> None:
        """Until it answers again no work is asked for, so that no step is lost twice to it."""
        self._engine_lost.set()
        self._look_again()

    async def _mend_engine_for_ever(self) -> None:
        while True:
            await self._engine_lost.wait()
            info = await keep_trying(
                self._revived,
                lambda error: logger.warning("the engine is away: %s", error),
                on=EngineUnavailable,
            )
            logger.info("engine %s is back at %s", info.name, info.address)
            self._engine_lost.clear()
            self._look_again()

    async def _revived(self) -> EngineInfo:
        if self._revive_engine is not None:
            await self._revive_engine()
        return await self._engine.check()

    async def _end_scripts(self) -> None:
        """The credential is refused: end what runs under it. Their reports stay due, for the
        credential may be good again before there is another.

        A step that is being accepted is waited for: it begins no script now (`is_still_good`), but
        the coordinator must have it as running before it hears that it is lost.
        """
        for work in self._leases:
            work.refuse()
        scripts = [work.script_over.wait() for work in self._leases]
        await asyncio.gather(self._none_accepting.wait(), *scripts)

    # --- leases

    async def _renew_for_ever(self) -> None:
        """Keep the leases, apart from the poll, which may starve behind a proxy."""
        while True:
            await self._lease_held.wait()
            if not self._leases:
                self._lease_held.clear()
                continue
            wait = renewal_wait_seconds(
                last_renewed=self._renewed_at, every=self._renew_every_seconds(), now=boot_clock()
            )
            if wait > 0:
                # No longer: meanwhile a step with a shorter lease may begin.
                await asyncio.sleep(min(wait, LONGEST_TICK_SECONDS))
                continue
            await keep_trying(
                self._renew,
                lambda error: logger.warning("leases not renewed: %s", error),
                on=CoordinatorError,
                pause=lambda seconds: asyncio.sleep(min(seconds, self._renew_every_seconds() / 2)),
            )

    async def _renew(self) -> None:
        """Renew what is held now. Raises CoordinatorError."""
        request = RenewRequest(leases=self._leases.refs(), instance=self._instance)
        sent_at = boot_clock()
        if not request.leases:
            return
        try:
            answer = await self._client.renew(request, seconds=self._renew_every_seconds())
        except CredentialRefusedError as error:
            await self._sign_in.again(error.credential)
            return
        self._renewed_at = sent_at
        self._obey(answer.cancels, answer.lost)
        self._prolong(request.leases, sent_at)

    def _renew_every_seconds(self) -> float:
        shortest = min((work.lease_seconds for work in self._leases), default=LEASE_SECONDS)
        return renew_every_seconds(shortest)

    def _prolong(self, leases: Sequence[LeaseRef], sent_at: float) -> None:
        """For those that were named in what was sent then: what began since has its own term."""
        for lease in leases:
            if work := self._leases.find(lease):
                work.renew(sent_at=sent_at)

    def _obey(self, cancels: list[LeaseRef], lost: list[LeaseRef]) -> None:
        for lease in cancels:
            if work := self._leases.find(lease):
                work.cancel()
        for lease in lost:
            if work := self._leases.find(lease):
                work.abandon()

    # --- polling

    async def _poll_for_ever(self) -> None:
        while True:
            # No pause is cut short by a free slot: a coordinator that is away needs no more calls.
            await keep_trying(
                self._poll,
                lambda error: logger.warning("poll: %s", error),
                on=CoordinatorError,
            )

    async def _poll(self) -> None:
        """Ask once, and do what is answered. Raises CoordinatorError."""
        self._poll_again.clear()
        started = time.monotonic()
        try:
            answer = await self._poll_until_stale(await asyncio.to_thread(self._poll_request))
        except CredentialRefusedError as error:
            await self._sign_in.again(error.credential)
            return
        if answer is not None:
            await self._follow(answer, time.monotonic() - started)

    async def _poll_until_stale(self, request: PollRequest) -> PollResponse | None:
        """The answer, or None if what the poll says of this agent is no longer true.

        A poll that is no longer true is not broken off, since its answer may be on the way with
        offers: the next poll makes the coordinator answer it, and `_hear_out` reads that.
        """
        polling = asyncio.create_task(self._client.poll(request))
        waking = asyncio.create_task(self._poll_again.wait())
        try:
            await asyncio.wait({polling, waking}, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            polling.cancel()
            raise
        finally:
            waking.cancel()
        if polling.done():
            return polling.result()
        hearing = asyncio.create_task(self._hear_out(polling))
        self._superseded.add(hearing)
        hearing.add_done_callback(self._superseded.discard)
        return None

    async def _hear_out(self, polling: asyncio.Task[PollResponse]) -> None:
        """Take what a superseded poll still brings."""
        try:
            async with asyncio.timeout(SUPERSEDED_POLL_SECONDS):
                answer = await polling
        except TimeoutError:
            return
        except CoordinatorError as error:
            logger.info("a superseded poll failed: %s", error)
            return
        self._obey(answer.cancels, answer.lost)
        if answer.offers:
            await self._take_offers(answer.offers)
            self._poll_again.set()

    def _poll_request(self) -> PollRequest:
        disk = os.statvfs(self._settings.data_dir)
        free_bytes = disk.f_bavail * disk.f_frsize
        return PollRequest(
            labels=dict(self._settings.labels),
            free=self._free_slots(free_bytes),
            leases=self._leases.refs(),
            disk={"freeBytes": free_bytes, "totalBytes": disk.f_blocks * disk.f_frsize},
            capabilities=IMAGE_CAPABILITIES if self._engine.builds_images else [],
            warm=self._sources.warm(),
            seen=self._seen,
            instance=self._instance,
        )

    def _takes_work(self, free_bytes: int) -> bool:
        if self._draining.is_set() or self._engine_lost.is_set():
            return False
        if free_bytes < self._settings.min_free_bytes:
            logger.warning("only %d bytes are free in the data folder: no new work", free_bytes)
            return False
        return True

    def _free_slots(self, free_bytes: int) -> int:
        if not self._takes_work(free_bytes):
            return 0
        busy = sum(not work.resumed for work in self._leases) + self._accepting
        return max(0, self._slots - busy)

    async def _follow(self, answer: PollResponse, seconds: float) -> None:
        self._seen = answer.seen
        self._obey(answer.cancels, answer.lost)
        if answer.drain:
            self.begin_drain()
        if answer.offers:
            # Accepted before the next poll, which then says what is really held and free.
            await self._take_offers(answer.offers)
        elif seconds < QUICK_ANSWER_SECONDS and not answer.cancels and not answer.lost:
            await pause_until(self._poll_again, QUICK_ANSWER_SECONDS)

    async def _take_offers(self, offers: Sequence[Offer]) -> None:
        free = self._free_slots(self._settings.min_free_bytes)
        await asyncio.gather(*[self._take(offer) for offer in offers[:free]])

    async def _take(self, offer: Offer) -> None:
        """Accept an offer and start it; one that is no longer ours is forgotten."""
        lease = LeaseRef(step_id=offer.step_id, epoch=offer.epoch)
        if lease in self._leases or not is_safe_name(offer.step_id):
            return
        self._accepting += 1
        self._none_accepting.clear()
        credential = self._client.credential
        try:
            if not await self._earlier_attempts_over(offer):
                return
            sent_at = boot_clock()
            spec = await self._accept(lease, offer.accept_within_seconds)
            if spec is not None:
                await self._begin(spec, sent_at, credential)
        finally:
            self._accepting -= 1
            if not self._accepting:
                self._none_accepting.set()
            self._look_again_if_drained()

    def _wants_next(self) -> NextStep | None:
        """Asked for with a report: the step it is on still counts as busy.

        Not while another result is late: it counts until its step is begun anew, and that step may
        be the one that would be handed over.
        """
        if any(work.late for work in self._leases):
            return None
        disk = os.statvfs(self._settings.data_dir)
        busy = sum(not work.resumed for work in self._leases) + self._accepting
        if busy > self._slots or not self._takes_work(disk.f_bavail * disk.f_frsize):
            return None
        return NextStep(instance=self._instance)

    async def _take_next(self, spec: StepSpec, sent_at: float, credential: str) -> bool:
        lease = LeaseRef(step_id=spec.step_id, epoch=spec.epoch)
        if lease in self._leases or not is_safe_name(spec.step_id):
            return False
        return await self._begin(spec, sent_at, credential)

    async def _earlier_attempts_over(self, offer: Offer) -> bool:
        """Whether they were in half the time that there is to accept. The result of one that was
        taken for lost counts until the step is begun anew, so it is reported first."""
        earlier = [work.over.wait() for work in self._leases if work.lease.step_id == offer.step_id]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(offer.accept_within_seconds / 2):
                await asyncio.gather(*earlier)
                return True
        return False

    def _look_again_if_drained(self) -> None:
        if self._draining.is_set():
            self._look_again()

    async def _accept(self, lease: LeaseRef, seconds: float) -> StepSpec | None:
        """The step, or None if it could not be accepted in time or isn't ours any more."""
        try:
            async with asyncio.timeout(seconds):
                return await keep_trying(
                    lambda: self._client.accept(lease),
                    lambda error: logger.info("accepting step %s: %s", lease.step_id, error),
                )
        except (TimeoutError, StaleLeaseError):
            return None
        except CoordinatorError as error:
            logger.error("accepting step %s: %s", lease.step_id, error)
            return None

    async def _begin(self, spec: StepSpec, sent_at: float, credential: str) -> bool:
        try:
            entry = await in_thread(self._workshop.journal.begin, spec)
        except OSError as error:
            logger.error("step %s can't be begun: %s", spec.step_id, error)
            await self._refuse(spec, error)
            return False
        if not self._sign_in.is_still_good(credential):
            await in_thread(self._workshop.journal.forget, entry)
            return False
        # From here to `_start` nothing waits: either `_end_scripts` sees it, or it saw the refusal.
        term = Term(lease_seconds=spec.lease_seconds, sent_at=sent_at)
        work = StepRun(
            workshop=self._workshop,
            entry=entry,
            resumed=False,
            term=term if spec.ends_with_lease else None,
        )
        self._start(work)
        return True

    async def _refuse(self, spec: StepSpec, error: OSError) -> None:
        lacking = descriptors.are_lacking(error)
        request = CompleteRequest(
            status=Completion.FAILED,
            reason=CompletionReason.LOST if lacking else CompletionReason.ENGINE,
            epoch=spec.epoch,
            message=descriptors.LACKING
            if lacking
            else f"The agent can't write to its disk: {error}",
        )
        try:
            await self._client.complete(spec.step_id, request)
        except CoordinatorError as error:
            logger.error("step %s is left to its lease: %s", spec.step_id, error)


@contextmanager
def sole_user(data_dir: Path) -> Iterator[None]:
    """Make the data folder and hold it. Raises AlreadyRunningError."""
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    data_dir.chmod(0o700)
    with open(data_dir / "agent.lock", "a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise AlreadyRunningError(
                f"another agent uses the data folder {data_dir}; give this one another by --data"
            ) from None
        yield
