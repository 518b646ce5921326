"""How an agent comes by its steps: the offers of a poll, and what an answered report brings."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence

from agent import descriptors
from agent.carried import in_thread
from agent.coordinator_client import CoordinatorClient
from agent.coordinator_errors import CoordinatorError, StaleLeaseError
from agent.disks import DiskSpace, shortest
from agent.journal import Journal
from agent.journal_entries import Entry
from agent.lease import LeaseTable, Term, boot_clock
from agent.retries import keep_trying
from agent.settings import AgentSettings, is_safe_name
from agent.step_run import StepRun
from pipelines_schema.contract import (
    CompleteRequest,
    Completion,
    CompletionReason,
    LeaseRef,
    NextStep,
    Offer,
    StepSpec,
)

logger = logging.getLogger(__name__)

POLLED_KNOWN = 1000
"""Far more than come between two answers of which one is late."""


class Intake:
    """Accepts a step, writes it into the journal, and has it started."""

    def __init__(
        self,
        *,
        settings: AgentSettings,
        slots: int,
        instance: str,
        client: CoordinatorClient,
        journal: Journal,
        leases: LeaseTable[StepRun],
        is_open: Callable[[], bool],
        is_still_good: Callable[[str], bool],
        start: Callable[[Entry, Term | None], None],
        accepted: Callable[[], None],
    ) -> None:
        """`is_open`: whether work is wanted at all; `is_still_good`: of a credential; `start` must
        not wait; `accepted` is called after each offer, whatever became of it."""
        self._settings = settings
        self._slots = slots
        self._instance = instance
        self._client = client
        self._journal = journal
        self._leases = leases
        self._is_open = is_open
        self._is_still_good = is_still_good
        self._start = start
        self._accepted = accepted
        self._accepting = 0
        self._begun = 0
        self._polled: OrderedDict[LeaseRef, bool] = OrderedDict()
        """What answers to polls brought last, which may come once more, and whether it was taken:
        what was not goes to somebody else, so it is never begun later, either."""
        self._declined: list[LeaseRef] = []
        self.takes_begun = True
        self._over: list[LeaseRef] = []
        self._in_hand: set[LeaseRef] = set()
        self.none_accepting = asyncio.Event()
        """Set while no offer is on its way to becoming a step."""
        self.none_accepting.set()

    @property
    def idle(self) -> bool:
        """Nothing is held, nor on its way to be."""
        return not self._leases and not self._accepting

    @property
    def is_over(self) -> bool:
        """As many steps as were wanted have been begun: there will be no more."""
        return self._left() == 0

    def _left(self) -> int:
        """How many steps may still be begun."""
        most = self._settings.max_steps
        return sys.maxsize if most is None else max(0, most - self._begun)

    def disk(self) -> DiskSpace:
        """Of the data folder or of the engine's, whichever is shorter of room. Raises OSError."""
        engine = self._settings.engine_dir
        return shortest([self._settings.data_dir, *([engine] if engine else [])])

    def _takes_work(self, disk: DiskSpace | None) -> bool:
        """Without a disk: it was looked at already."""
        if not self._is_open():
            return False
        if disk is not None and disk.free < self._settings.min_free_bytes:
            logger.warning("only %d bytes are free at %s: no new work", disk.free, disk.folder)
            return False
        return True

    def free_slots(self, disk: DiskSpace | None) -> int:
        if not self._takes_work(disk):
            return 0
        return max(0, min(self._slots - self._busy(), self._left() - self._accepting))

    def _busy(self) -> int:
        return sum(work.has_slot for work in self._leases) + self._accepting

    async def take_offers(self, offers: Sequence[Offer]) -> None:
        """Those that there are no slots for any more are declined."""
        free = self.free_slots(None)
        self._declined += [
            LeaseRef(step_id=offer.step_id, epoch=offer.epoch) for offer in offers[free:]
        ]
        await asyncio.gather(*[self._take(offer) for offer in offers[:free]])

    async def _take(self, offer: Offer) -> None:
        """Accept an offer and start it; one that is no longer ours is forgotten."""
        lease = LeaseRef(step_id=offer.step_id, epoch=offer.epoch)
        if lease in self._leases or not is_safe_name(offer.step_id):
            return
        credential = self._client.credential
        with self._one_more_accepting():
            if not await self._earlier_attempts_over(offer):
                return
            sent_at = boot_clock()
            spec = await self._accept(lease, offer.accept_within_seconds)
            if spec is not None:
                await self._begin(spec, sent_at, credential)

    def in_hand(self) -> list[LeaseRef]:
        """What came begun and is not in the lease table yet: to be named like what is."""
        return list(self._in_hand)

    def over(self) -> list[LeaseRef]:
        """What came once more since this was asked last, and is done with here: to be named once,
        else it would come with each further answer, should the coordinator not know that."""
        over, self._over = self._over, []
        return over

    def declined(self) -> list[LeaseRef]:
        """Since this was asked last; one that comes again is declined again."""
        declined, self._declined = self._declined, []
        return declined

    async def take_begun(
        self, begun: Sequence[StepSpec | LeaseRef], sent_at: float, credential: str
    ) -> None:
        """Begin what came with the answer to a poll, by that credential; their leases count from
        `sent_at`. From one that can't be understood on, steps are accepted: the coordinator is
        newer than this agent, and would give it that one again and again."""
        specs = [one for one in begun if isinstance(one, StepSpec)]
        for lease in (one for one in begun if not isinstance(one, StepSpec)):
            logger.error("step %s is not understood: is this agent too old?", lease.step_id)
            self._declined.append(lease)
            self.takes_begun = False
        await asyncio.gather(*[self._take_begun(spec, sent_at, credential) for spec in specs])

    async def _take_begun(self, spec: StepSpec, sent_at: float, credential: str) -> None:
        lease = LeaseRef(step_id=spec.step_id, epoch=spec.epoch)
        if lease in self._leases or lease in self._in_hand:
            return
        if self._polled.get(lease):
            self._over.append(lease)
            return
        has_begun = lease not in self._polled and self._may_take(spec)
        self._polled[lease] = has_begun
        if len(self._polled) > POLLED_KNOWN:
            self._polled.popitem(last=False)
        if has_begun:
            self._in_hand.add(lease)
            with self._one_more_accepting():
                try:
                    has_begun = await self._begin(spec, sent_at, credential)
                finally:
                    self._in_hand.discard(lease)
        if not has_begun:
            self._polled[lease] = False
            self._declined.append(lease)

    def _may_take(self, spec: StepSpec) -> bool:
        return is_safe_name(spec.step_id) and self.free_slots(None) > 0

    @contextlib.contextmanager
    def _one_more_accepting(self) -> Iterator[None]:
        self._accepting += 1
        self.none_accepting.clear()
        try:
            yield
        finally:
            self._accepting -= 1
            if not self._accepting:
                self.none_accepting.set()
            self._accepted()

    def wants_next(self) -> NextStep | None:
        """Asked for with a report: the step it is on still counts as busy.

        Not while another result is late: it counts until its step is begun anew, and that step may
        be the one that would be handed over.
        """
        if any(work.late for work in self._leases):
            return None
        is_wanted = self._busy() <= self._slots and self._left() > self._accepting
        if not is_wanted or not self._takes_work(self.disk()):
            return None
        return NextStep(instance=self._instance)

    async def take_next(self, spec: StepSpec, sent_at: float, credential: str) -> bool:
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
            entry = await in_thread(self._journal.begin, spec)
        except OSError as error:
            logger.error("step %s can't be begun: %s", spec.step_id, error)
            await self._refuse(spec, error)
            return False
        if not self._is_still_good(credential):
            await in_thread(self._journal.forget, entry)
            return False
        # From here to `start` nothing waits: either `Agent._end_scripts` sees it, or it saw the
        # refusal.
        self._begun += 1
        term = Term(lease_seconds=spec.lease_seconds, sent_at=sent_at)
        self._start(entry, term if spec.ends_with_lease else None)
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
