"""The agent: a step run per slot, beside the poll and the renewals; drain and stop."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Awaitable, Callable

from agent import descriptors
from agent.cache_keys import CacheKeys
from agent.coordinator_client import CoordinatorClient
from agent.coordinator_errors import CoordinatorError
from agent.data_folder import sole_user
from agent.engines.protocol import Engine, EngineInfo, EngineUnavailable
from agent.intake import Intake
from agent.journal import Journal
from agent.journal_entries import Entry
from agent.kept_artifacts import KeptArtifacts
from agent.lease import LeaseTable, Term
from agent.polling import Polling
from agent.renewals import Renewals
from agent.retries import keep_trying
from agent.settings import AgentSettings
from agent.sign_in import SignIn
from agent.sources import Sources
from agent.step_run import StepRun
from agent.watchdog import Watchdog
from agent.workshop import Workshop
from pipelines_schema.contract import GoodbyeRequest, PollResponse, RenewResponse
from pipelines_schema.spans import Emit

logger = logging.getLogger(__name__)


class Agent:
    """`run` once; `begin_drain` and `cancel_all` at any time, from the event loop."""

    def __init__(
        self,
        settings: AgentSettings,
        engine: Engine,
        *,
        revive_engine: Callable[[], Awaitable[None]] | None = None,
        emit: Emit | None = None,
    ) -> None:
        """`revive_engine` is tried when the engine went away; it raises EngineUnavailable."""
        self._settings = settings
        self._engine = engine
        self._slots = min(settings.slots, descriptors.slots_allowed(descriptors.descriptor_limit()))
        self._instance = uuid.uuid4().hex
        self._revive_engine = revive_engine
        self._engine_lost = asyncio.Event()
        self._client = CoordinatorClient(
            settings.url,
            poll_timeout_seconds=settings.poll_timeout_seconds,
            socket=settings.socket,
        )
        self._sign_in = SignIn(
            settings, self._client, instance=self._instance, end_scripts=self._end_scripts
        )
        self._sources = Sources(
            settings.data_dir / "sources", settings.repositories, keep_days=settings.keep_days
        )
        guarded = settings.by_itself and not engine.ends_at_term
        self._watchdog = Watchdog() if guarded else None
        self._leases: LeaseTable[StepRun] = LeaseTable()
        journal = Journal(settings.data_dir / "attempts")
        self._intake = Intake(
            settings=settings,
            slots=self._slots,
            instance=self._instance,
            client=self._client,
            journal=journal,
            leases=self._leases,
            is_open=lambda: not (self._draining.is_set() or self._engine_lost.is_set()),
            is_still_good=self._sign_in.is_still_good,
            start=self._start_attempt,
            accepted=self._look_again_if_ending,
        )
        self._renewals = Renewals(
            client=self._client,
            instance=self._instance,
            leases=self._leases,
            sign_in_again=self._sign_in.again,
            obey=self._obey,
        )
        self._workshop = Workshop(
            client=self._client,
            engine=engine,
            journal=journal,
            sources=self._sources,
            kept=KeptArtifacts(
                settings.data_dir / "artifacts", min_free_bytes=settings.min_free_bytes
            ),
            cache_keys=CacheKeys((settings.lasting_dir or settings.data_dir) / "cache-keys"),
            watchdog=self._watchdog,
            engine_lost=self._note_engine_lost,
            sign_in_again=self._sign_in.again,
            wants_next=self._intake.wants_next,
            take_next=self._intake.take_next,
            emit=emit,
        )
        self._polling = Polling(
            settings=settings,
            instance=self._instance,
            client=self._client,
            engine=engine,
            sources=self._sources,
            kept=self._workshop.kept,
            intake=self._intake,
            leases=self._leases,
            sign_in_again=self._sign_in.again,
            obey=self._obey,
            drain=self.begin_drain,
        )
        self._tasks: set[asyncio.Task[None]] = set()
        self._draining = asyncio.Event()
        self._cancelling = False
        self._finished = asyncio.Event()
        self.signed_in = asyncio.Event()
        """Set once there is a credential, before the first poll."""

    async def run(self) -> None:
        """Work until drained, or for as many steps as the settings want. Raises
        AlreadyRunningError, RegistrationRefusedError and EngineUnavailable before the first
        poll."""
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
        """Have the running steps end, report them lost and end soon, also if nobody listens.

        Called again it kills them: no more grace.
        """
        self.begin_drain()
        grace_seconds = 0.0
        for work in self._leases:
            if self._cancelling:
                work.kill()
            else:
                work.stop()
                grace_seconds = max(grace_seconds, work.grace_seconds)
        self._cancelling = True
        seconds = grace_seconds + self._settings.cancel_report_seconds
        asyncio.get_running_loop().call_later(seconds, self._finished.set)

    async def _prepare(self) -> None:
        info = await self._engine.check()
        logger.info("engine %s %s at %s", info.name, info.version, info.address)
        for note in info.notes:
            logger.warning("engine: %s", note)
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
                    group.create_task(self._polling.go_on()),
                    group.create_task(self._renewals.go_on()),
                    group.create_task(self._mend_engine_for_ever()),
                ]
                await self._finished.wait()
                for task in tasks:
                    task.cancel()
        finally:
            # What could not be reported in time stays in the journal for the next start.
            left = self._tasks | self._polling.superseded
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
        self._renewals.begin()
        task = asyncio.create_task(self._run_to_end(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _start_attempt(self, entry: Entry, term: Term | None) -> None:
        self._start(StepRun(workshop=self._workshop, entry=entry, resumed=False, term=term))

    async def _run_to_end(self, work: StepRun) -> None:
        try:
            await work.run()
        except Exception:
            # The journal still has it: the next start tries again.
            logger.exception("step %s, epoch %d", work.lease.step_id, work.lease.epoch)
        finally:
            self._leases.release(work.lease)
            if not work.handed_over or self._is_ending:
                self._look_again()

    def _look_again(self) -> None:
        """Something changed that the poll should say, or that lets the agent end."""
        self._polling.again()
        if self._is_ending and self._intake.idle:
            self._finished.set()

    def _look_again_if_ending(self) -> None:
        if self._is_ending:
            self._look_again()

    @property
    def _is_ending(self) -> bool:
        """It takes no more work, ever. Unlike a drain, steps enough leave those be that run for as
        long as nobody stops them."""
        return self._draining.is_set() or self._intake.is_over

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
        await asyncio.gather(self._intake.none_accepting.wait(), *scripts)

    # --- what the coordinator says

    def _obey(self, answer: PollResponse | RenewResponse) -> None:
        for lease in answer.cancels:
            if work := self._leases.find(lease):
                work.cancel()
        because = answer.lost_because or "it is not this agent's any more"
        for lease in answer.lost:
            if work := self._leases.find(lease):
                logger.warning("attempt %s-%s is ended: %s", lease.step_id, lease.epoch, because)
                work.abandon()
