"""Asks the coordinator for work: one poll held at a time, that says what this agent is."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from agent.coordinator_client import CoordinatorClient
from agent.coordinator_errors import CoordinatorError, CredentialRefusedError
from agent.disks import DiskSpace
from agent.engines.protocol import Engine
from agent.intake import Intake
from agent.kept_artifacts import KeptArtifacts
from agent.lease import LeaseTable, boot_clock
from agent.retries import keep_trying, pause_until
from agent.settings import AgentSettings
from agent.sources import Sources
from agent.step_run import StepRun
from pipelines_schema.contract import Capability, PollRequest, PollResponse
from pipelines_schema.platforms import part_capabilities

logger = logging.getLogger(__name__)

SUPERSEDED_POLL_SECONDS = 2.0
IMAGE_CAPABILITIES = [
    Capability.IMAGE_BUILDS.value,
    Capability.IMAGE_OPTIONS.value,
    Capability.OWN_COMMANDS.value,
    Capability.HEALTH_CHECKS.value,
]
"""An engine that builds images runs them, too."""
QUICK_ANSWER_SECONDS = 0.2
"""A poll that is answered sooner, with nothing in the answer, is followed by a pause."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sent:
    at: float
    """By the boot clock."""
    credential: str


class Polling:
    """`go_on` in a task of its own; `again` when what the poll says is no longer true."""

    def __init__(
        self,
        *,
        settings: AgentSettings,
        instance: str,
        client: CoordinatorClient,
        engine: Engine,
        sources: Sources,
        kept: KeptArtifacts,
        intake: Intake,
        leases: LeaseTable[StepRun],
        sign_in_again: Callable[[str], Awaitable[None]],
        obey: Callable[[PollResponse], None],
        drain: Callable[[], None],
    ) -> None:
        """`obey` is told by the answer which leases are cancelled and which are lost."""
        self._settings = settings
        self._instance = instance
        self._client = client
        self._engine = engine
        self._sources = sources
        self._kept = kept
        self._intake = intake
        self._leases = leases
        self._sign_in_again = sign_in_again
        self._obey = obey
        self._drain = drain
        self._seen = ""
        self._poll_again = asyncio.Event()
        self.superseded: set[asyncio.Task[None]] = set()
        """What still listens to an earlier poll; whoever ends `go_on` ends these, too."""

    def again(self) -> None:
        self._poll_again.set()

    async def go_on(self) -> None:
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
        disk = await asyncio.to_thread(self._look_at_disk)
        sent = _Sent(at=boot_clock(), credential=self._client.credential)
        try:
            answer = await self._poll_until_stale(self._poll_request(disk), sent)
        except CredentialRefusedError as error:
            await self._sign_in_again(error.credential)
            return
        if answer is not None:
            await self._follow(answer, sent)

    async def _poll_until_stale(self, request: PollRequest, sent: _Sent) -> PollResponse | None:
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
        hearing = asyncio.create_task(self._hear_out(polling, sent))
        self.superseded.add(hearing)
        hearing.add_done_callback(self.superseded.discard)
        return None

    async def _hear_out(self, polling: asyncio.Task[PollResponse], sent: _Sent) -> None:
        """Take what a superseded poll still brings."""
        try:
            async with asyncio.timeout(SUPERSEDED_POLL_SECONDS):
                answer = await polling
        except TimeoutError:
            return
        except CoordinatorError as error:
            logger.info("a superseded poll failed: %s", error)
            return
        await self._take_begun(answer, sent)
        self._obey(answer)
        if answer.offers:
            await self._intake.take_offers(answer.offers)
        if answer.offers or answer.begun:
            self._poll_again.set()

    def _look_at_disk(self) -> DiskSpace:
        """Blocking. Raises OSError."""
        self._kept.make_room()
        return self._intake.disk()

    def _poll_request(self, disk: DiskSpace) -> PollRequest:
        """On the event loop, so that no step begins or ends between two of its fields."""
        return PollRequest(
            labels=dict(self._settings.labels),
            free=self._intake.free_slots(disk),
            leases=[*self._leases.refs(), *self._intake.in_hand(), *self._intake.over()],
            disk={
                "freeBytes": disk.free,
                "totalBytes": disk.total,
                "floorBytes": self._settings.min_free_bytes,
            },
            capabilities=[
                Capability.USERS.value,
                Capability.SHELLS.value,
                Capability.INPUTS.value,
                Capability.SERVICES.value,
                *([Capability.PRIVILEGED.value] if self._engine.allows_privileged else ()),
                *(IMAGE_CAPABILITIES if self._engine.builds_images else ()),
                *part_capabilities(self._engine.platforms),
            ],
            warm=self._sources.warm(),
            seen=self._seen,
            instance=self._instance,
            takes_begun=self._intake.takes_begun,
            declined=self._intake.declined(),
        )

    async def _take_begun(self, answer: PollResponse, sent: _Sent) -> None:
        """Before the answer is obeyed, which may have a cancel of what it brings."""
        await self._intake.take_begun(answer.begun, sent.at + answer.held_seconds, sent.credential)

    async def _follow(self, answer: PollResponse, sent: _Sent) -> None:
        seconds = boot_clock() - sent.at
        self._seen = answer.seen
        await self._take_begun(answer, sent)
        self._obey(answer)
        if answer.drain and self._settings.by_itself:
            self._drain()
        if answer.offers:
            # Accepted before the next poll, which then says what is really held and free.
            await self._intake.take_offers(answer.offers)
        elif seconds < QUICK_ANSWER_SECONDS and not (answer.begun or answer.cancels or answer.lost):
            await pause_until(self._poll_again, QUICK_ANSWER_SECONDS)
