"""Webhooks, from the inbox to builds.

A delivery is committed before its forge is answered, so that no crash, lock or unreachable forge
loses a push; what is still waiting is found in the database at start. The builds of a delivery and
its end are saved in one transaction, so that none is built twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

import structlog

from coordinator.domain.errors import Conflict, NotFound
from coordinator.domain.model import Build, Project
from coordinator.domain.people.permissions import Principal, Right
from coordinator.domain.pushes.deliveries import (
    Delivery,
    DeliveryState,
    ForgeEvent,
    PullRequest,
    retry_delay,
    short_name,
    with_note,
)
from coordinator.domain.pushes.moved_refs import MovedRef
from coordinator.services.audit import Deed
from coordinator.services.builds.forge_source import ForgeSource
from coordinator.services.builds.saved_drafts import save_pushed
from coordinator.services.core import Core, new_id
from coordinator.services.news import wait_for
from coordinator.services.projects.archived import check_takes_builds
from coordinator.services.pushes.begun_pushes import TookProcessesDown
from coordinator.services.pushes.brought_refs import BroughtRefs
from coordinator.services.pushes.failed_deliveries import failed_builds, why_ignored, why_not_built
from coordinator.services.pushes.ingest import Ingest
from coordinator.services.pushes.pull_requests import cancel_waiting, what_is_new
from coordinator.storage.connection import AsyncConnection
from coordinator.storage.projects import projects as stored_projects
from coordinator.storage.pushes import deliveries as stored
from coordinator.storage.trouble import tell_fault

log = structlog.get_logger()

AT_ONCE = 4
"""Projects whose deliveries are processed at the same time; one project's go one by one."""
MAX_WAITING = 200
"""Looked at in one round; the next round sees the rest."""
MAX_COUNTED_PROJECTS = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """A delivery as it was taken in; `new` where it is to be processed now."""

    delivery: Delivery
    new: bool


@dataclass(slots=True)
class Deliveries:
    core: Core
    ingest: Ingest
    forge_source: ForgeSource
    _brought: BroughtRefs = field(init=False)
    _rejected: dict[str, int] = field(default_factory=dict)
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _busy: set[str] = field(default_factory=set)
    _slots: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AT_ONCE))

    def __post_init__(self) -> None:
        self._brought = BroughtRefs(self.core, self.forge_source)

    # What comes in

    def count_rejected(self, project_id: str) -> None:
        """A webhook that was not signed with the project's secret; nothing else is kept of it."""
        if project_id in self._rejected or len(self._rejected) < MAX_COUNTED_PROJECTS:
            self._rejected[project_id] = self._rejected.get(project_id, 0) + 1

    def rejected(self, project_id: str) -> int:
        """Since this coordinator started."""
        return self._rejected.get(project_id, 0)

    async def receive(
        self, project_id: str, forge: str, delivery_id: str, event: ForgeEvent
    ) -> Receipt:
        """Commit a signed delivery to the inbox. Raises NotFound.

        A repeat is given as it stands; one whose processing failed goes into the inbox again.
        """

        async def save(connection: AsyncConnection) -> Receipt:
            project = await stored_projects.find_project(connection, project_id)
            if project is None:
                raise NotFound("project not found")
            known = await stored.find_delivery(connection, project_id, delivery_id)
            if known is not None:
                if known.state is not DeliveryState.FAILED:
                    return Receipt(delivery=known, new=False)
                return Receipt(delivery=await self._again(connection, known), new=True)
            now, reason = self.core.now(), why_ignored(event, project)
            delivery = Delivery(
                id=new_id(),
                project_id=project.id,
                account_id=project.account_id,
                delivery_id=delivery_id,
                forge=forge,
                event=event.kind,
                state=DeliveryState.IGNORED if reason else DeliveryState.RECEIVED,
                reason=with_note(reason, event.note) if reason else None,
                payload=event.to_json(),
                next_try_at=None if reason else now,
                received_at=now,
                finished_at=now if reason else None,
            )
            await stored.insert_delivery(connection, delivery)
            return Receipt(delivery=delivery, new=True)

        return await self.core.database.write(save, committed=lambda _: self._wake.set())

    async def _again(self, connection: AsyncConnection, delivery: Delivery) -> Delivery:
        fresh = replace(
            delivery,
            state=DeliveryState.RECEIVED,
            reason=None,
            attempts=0,
            next_try_at=self.core.now(),
            finished_at=None,
        )
        await stored.update_delivery(
            connection,
            delivery.id,
            state=fresh.state.value,
            reason=None,
            attempts=0,
            next_try_at=fresh.next_try_at,
            finished_at=None,
        )
        return fresh

    async def settled(self, delivery: Delivery, seconds: float) -> Delivery:
        """The delivery once it is processed, or as it is when the time is over."""
        with self.core.news.listen(_topic(delivery.id)) as moved:
            current = await self._current(delivery)
            if current.state is not DeliveryState.RECEIVED or not await wait_for(moved, seconds):
                return current
        return await self._current(delivery)

    async def _current(self, delivery: Delivery) -> Delivery:
        found = await self.core.database.read(
            lambda connection: stored.find_delivery(
                connection, delivery.project_id, delivery.delivery_id
            )
        )
        return found or delivery

    async def list_of(
        self, project: Project, limit: int, offset: int
    ) -> tuple[Sequence[Delivery], int]:
        return await self.core.database.read(
            lambda connection: stored.list_deliveries(
                connection, project.id, limit, offset, self.core.list_marks.known
            )
        )

    async def redeliver(self, principal: Principal, project: Project, delivery_id: str) -> Delivery:
        """Process a delivery once more, by the forge's id or ours; builds are made anew.

        Raises NotFound; Conflict while it is still waiting, and for an archived project.
        """
        principal.require(Right.BUILD)
        check_takes_builds(project)

        async def save(connection: AsyncConnection) -> Delivery:
            known = await stored.find_delivery(connection, project.id, delivery_id)
            if known is None:
                raise NotFound("delivery not found")
            if known.state is DeliveryState.RECEIVED:
                raise Conflict("this delivery is still being processed")
            await Deed(self.core, principal, project).record(
                connection, "delivery.redelivered", delivery=known.delivery_id
            )
            return await self._again(connection, known)

        return await self.core.database.write(save, committed=lambda _: self._wake.set())

    # The background task

    async def run(self) -> None:
        """Process what waits, from before a restart too, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                self._wake.clear()
                due, next_at = await self._due()
                for project_id, deliveries in due.items():
                    self._busy.add(project_id)
                    name = f"deliveries of {project_id}"
                    tasks.create_task(self._process_all(project_id, deliveries), name=name)
                seconds = 3600.0
                if next_at is not None:
                    seconds = max((next_at - self.core.now()).total_seconds(), 0.0)
                await wait_for(self._wake, seconds)

    async def _due(self) -> tuple[Mapping[str, list[Delivery]], datetime | None]:
        """What to begin, by project, and when the next delivery is due."""
        try:
            waiting = await self.core.database.read(
                lambda connection: stored.waiting_deliveries(connection, MAX_WAITING, self._busy)
            )
        except Exception as error:  # a task root: the inbox must outlive a database in trouble
            tell_fault(log, "reading the inbox failed", error)
            await asyncio.sleep(1)
            self._wake.set()
            return {}, None
        now = self.core.now()
        due: dict[str, list[Delivery]] = {}
        next_at: datetime | None = None
        for delivery in waiting:
            if delivery.next_try_at is None or delivery.next_try_at <= now:
                due.setdefault(delivery.project_id, []).append(delivery)
            elif next_at is None or delivery.next_try_at < next_at:
                next_at = delivery.next_try_at
        return due, next_at

    async def _process_all(self, project_id: str, deliveries: Sequence[Delivery]) -> None:
        try:
            async with self._slots:
                for delivery in deliveries:
                    await self._process(delivery)
        except Exception as error:  # a task root: the other projects' deliveries go on
            tell_fault(log, "processing deliveries failed", error, project=project_id)
            await asyncio.sleep(1)
        finally:
            self._busy.discard(project_id)
            self._wake.set()

    async def _process(self, delivery: Delivery) -> None:
        event = ForgeEvent.from_json(delivery.payload)
        project = await self.core.database.read(
            lambda connection: stored_projects.find_project(connection, delivery.project_id)
        )
        if project is None:
            return
        reason = why_ignored(event, project)
        try:
            if reason is not None:
                await self._write_end(delivery, DeliveryState.IGNORED, reason)
            elif event.pull_request is not None:
                await self._build_pull_request(delivery, project, event.pull_request)
            elif event.closed is not None:
                await self._close_pull_request(delivery, project, event.closed)
            else:
                await self._build_push(delivery, project, event)
        except Exception as error:  # a task root: this delivery is tried again, the others go on
            await self._failed(delivery, project, event, error)
        finally:
            self.core.news.publish(_topic(delivery.id))

    async def _build_push(self, delivery: Delivery, project: Project, event: ForgeEvent) -> None:
        wanted = [ref for ref in event.refs if ref.after is not None]
        await self._brought.fetch(project, [ref.ref for ref in wanted])
        here: list[MovedRef] = []
        gone: list[str] = []
        for ref in wanted:
            if await self._brought.has(project, ref.after or ""):
                here.append(MovedRef(ref=ref.ref, old=ref.before, new=ref.after))
            else:
                gone.append(
                    f"{short_name(ref.ref)}: {str(ref.after)[:10]} is no longer at the forge"
                )
        if not here:
            await self._write_end(delivery, DeliveryState.IGNORED, "; ".join(gone))
            return

        async def end(
            connection: AsyncConnection, builds: Sequence[Build], lines: Sequence[str]
        ) -> None:
            await self._end(connection, delivery, builds, [*gone, *lines])

        await self.ingest.build_moved(project, here, also=end)

    async def _build_pull_request(
        self, delivery: Delivery, project: Project, pull: PullRequest
    ) -> None:
        head = await self._brought.head_of(project, pull)
        if head is None:
            reason = f"{pull.head_sha[:10]} is no longer at the forge"
            await self._write_end(delivery, DeliveryState.IGNORED, reason)
            return
        new = await what_is_new(self.core, project.id, head)
        if new is None:
            reason = "nothing was pushed to the pull request since it was built"
            await self._write_end(delivery, DeliveryState.IGNORED, reason)
            return

        async def end(
            connection: AsyncConnection, builds: Sequence[Build], lines: Sequence[str]
        ) -> None:
            await self._end(connection, delivery, builds, lines)

        heard_at = None if delivery.builds else delivery.received_at
        await self.ingest.build_pull_request(project, new, end, heard_at)

    async def _close_pull_request(self, delivery: Delivery, project: Project, number: int) -> None:
        async def save(connection: AsyncConnection) -> None:
            ended = await cancel_waiting(self.core, connection, project.id, number)
            numbers = ", ".join(f"#{build.number}" for build in ended)
            state = DeliveryState.PROCESSED if ended else DeliveryState.IGNORED
            reason = f"pull request {number} was closed: " + (
                f"cancelled {numbers}" if ended else "none of its builds waits"
            )
            await self._save_end(connection, delivery, state, reason, ())

        await self.core.database.write(save)

    # How a delivery ends

    async def _end(
        self,
        connection: AsyncConnection,
        delivery: Delivery,
        builds: Sequence[Build],
        lines: Sequence[str],
    ) -> None:
        state = DeliveryState.PROCESSED if builds else DeliveryState.IGNORED
        reason = "; ".join(lines) or (None if builds else "nothing was triggered")
        await self._save_end(connection, delivery, state, reason, builds)

    async def _write_end(self, delivery: Delivery, state: DeliveryState, reason: str) -> None:
        await self.core.database.write(
            lambda connection: self._save_end(connection, delivery, state, reason, ())
        )

    async def _save_end(
        self,
        connection: AsyncConnection,
        delivery: Delivery,
        state: DeliveryState,
        reason: str | None,
        builds: Sequence[Build],
    ) -> None:
        made = [{"id": build.id, "number": build.number} for build in builds]
        await stored.update_delivery(
            connection,
            delivery.id,
            state=state.value,
            reason=with_note(reason, delivery.payload.get("note")),
            builds=[*delivery.builds, *made],
            attempts=delivery.attempts + 1,
            next_try_at=None,
            finished_at=self.core.now(),
        )

    async def _failed(
        self, delivery: Delivery, project: Project, event: ForgeEvent, error: Exception
    ) -> None:
        """Another try later, for as long as only the machine is to blame; else at last builds
        that say why there are none."""
        attempts, settings = delivery.attempts + 1, self.core.settings
        last = attempts >= settings.fetch_attempts
        reason, permanent = why_not_built(error, delivery.id, last_attempt=last)
        log.warning("not built", delivery=delivery.id, reason=reason, attempts=attempts)
        if not permanent:
            delay = retry_delay(attempts, settings.fetch_retry_seconds)
            await self.core.database.write(
                lambda connection: stored.update_delivery(
                    connection,
                    delivery.id,
                    attempts=attempts,
                    reason=with_note(
                        f"{reason}; tried {attempts} times, another try follows", event.note
                    ),
                    next_try_at=self.core.now() + delay,
                )
            )
            return

        async def save(connection: AsyncConnection) -> None:
            if isinstance(error, TookProcessesDown):  # a redelivery is tried anew
                await self.ingest.begun.end(connection, project.id, error.pushes)
            builds = [
                await save_pushed(self.core, connection, project, wanted)
                for wanted in failed_builds(event, reason)
            ]
            await self._save_end(connection, delivery, DeliveryState.FAILED, reason, builds)

        await self.core.database.write(save)


def _topic(delivery_id: str) -> str:
    return f"delivery {delivery_id}"
