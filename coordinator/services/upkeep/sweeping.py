"""Deleting what is beyond the limits of retention, in the background and in small portions.

A portion is one transaction of few statements over a bounded number of rows; between two of them
the writer is everybody else's. Nothing is written down of how far it came: what is left after a
kill is found by the next look. Bytes are doomed by the portion that deletes what names them, and go
by `services.builds.deletions`.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import structlog

from coordinator.domain.model import Project
from coordinator.domain.upkeep.retention import (
    BuildFacts,
    Kind,
    Limits,
    Rules,
    Walk,
    over_keeps,
    shares,
)
from coordinator.services.audit import Deed
from coordinator.services.builds.deletions import Deletions
from coordinator.services.core import Core
from coordinator.services.news import build_topic
from coordinator.services.upkeep.chosen_outputs import Chosen, chosen_outputs
from coordinator.services.upkeep.retention import Retention
from coordinator.storage.builds.build_deletion import delete_builds
from coordinator.storage.builds.deletions import doom_builds
from coordinator.storage.connection import AsyncConnection
from coordinator.storage.projects import projects as stored_projects
from coordinator.storage.steps.step_inputs import forget_lists
from coordinator.storage.trouble import tell_fault
from coordinator.storage.upkeep import gone_outputs
from coordinator.storage.upkeep import retention as stored
from coordinator.storage.upkeep import usage as stored_usage
from coordinator.storage.upkeep.kept_outputs import delete_outputs
from coordinator.storage.upkeep.retention import RowCount

log = structlog.get_logger()

ROWS_AT_ONCE = 400
"""In one transaction."""
BUILDS_AT_ONCE = 100
PAUSE_SECONDS = 0.05
"""Between two transactions."""
FIRST_SECONDS = 60.0
"""After the start, when there is more urgent work."""
EVERY_SECONDS = 3600.0
HEADS = "refs/heads/"
Seen = tuple[int, int]
"""How many builds somebody had deleted, and how often the limits were changed, at the beginning."""


class Outdated(Exception):
    """Somebody deleted a build meanwhile, so that another may now be the newest success of its
    branch; or changed the limits."""


@dataclass(slots=True)
class Going:
    """What is, or would be, deleted of a project."""

    count: Counter[Kind] = field(default_factory=Counter)
    """Builds of which it goes."""
    size: Counter[Kind] = field(default_factory=Counter)
    """In bytes."""

    def add(self, facts: BuildFacts, kind: Kind, size: int | None = None) -> None:
        self.count[kind] += 1
        self.size[kind] += facts.bytes_of(kind) if size is None else size


@dataclass(frozen=True, slots=True)
class Sweeping:
    core: Core
    retention: Retention
    deletions: Deletions
    pause_seconds: float = PAUSE_SECONDS

    async def run(self, first_seconds: float = FIRST_SECONDS) -> None:
        """Look at the start, each hour, and whenever the limits were changed."""
        seconds = first_seconds
        while True:
            try:
                async with asyncio.timeout(seconds):
                    await self.retention.changed.wait()
            except TimeoutError:
                pass
            self.retention.changed.clear()
            try:
                await self.sweep()
            except Exception as error:  # a task root: what is left is found by the next look
                self.core.meter.retention_failed()
                tell_fault(log, "deleting what is beyond the limits of retention failed", error)
            seconds = EVERY_SECONDS

    async def sweep(self) -> Mapping[str, Going]:
        """Once over all projects: id → what went. Nothing where it is only to be told."""
        if not await self.retention.is_enforced():
            return {}
        gone: dict[str, Going] = {}
        began = time.monotonic()
        its_shares = await self._shares()
        for project in await self._projects():
            try:
                gone[project.id] = await self._sweep(project, its_shares.get(project.id, Limits()))
            except Exception as error:  # one broken repository must not keep the others from it
                self.core.meter.retention_failed()
                tell_fault(log, "retention failed", error, project=project.id)
        self.core.meter.retention_looked(self.core.now(), time.monotonic() - began)
        return gone

    async def outlook(self, project: Project | None) -> Going:
        """What the next look would delete of the project, or of all."""
        going, its_shares = Going(), await self._shares()
        for one in [project] if project else await self._projects():
            await self._add_outlook(one, its_shares.get(one.id, Limits()), going)
        return going

    async def _shares(self) -> Mapping[str, Limits]:
        """Of the installation's total, by project; a project that came since has no limit."""
        total = await self.retention.total()
        if total == Limits():
            return {}
        return shares(total, await self.core.database.read(stored_usage.used_by_projects))

    async def _add_outlook(self, project: Project, share: Limits, going: Going) -> None:
        rules = (await self.retention.rules(project.id)).with_share(share)
        async for page in self._pages(project, rules, measured=True):
            for facts, kind in page:
                size = None
                if facts.keeps and kind in (Kind.ARTIFACTS, Kind.KEEP):
                    over = over_keeps(facts, rules, self.core.now())
                    size = (await chosen_outputs(self.core, facts, kind, over)).size
                going.add(facts, kind, size)

    async def _projects(self) -> Sequence[Project]:
        return await self.core.database.read(
            lambda connection: stored_projects.list_projects(connection)
        )

    async def _sweep(self, project: Project, share: Limits) -> Going:
        gone = Going()
        while not await self._look(project, share, gone):
            pass  # what was looked at does not hold any more
        if gone.count:
            await self._forget_lists(project)
            log.info(
                "retention", project=project.id, **{one.value: n for one, n in gone.count.items()}
            )
        return gone

    async def _look(self, project: Project, share: Limits, gone: Going) -> bool:
        """From the newest build to the oldest; False where that became outdated on the way."""
        seen = (self.deletions.made, self.retention.version)
        if not await self.retention.is_enforced():
            return True
        rules = (await self.retention.rules(project.id)).with_share(share)
        try:
            async for page in self._pages(project, rules, measured=rules.measures):
                await self._delete(project, page, rules, seen, gone)
        except Outdated:
            return False
        return True

    async def _forget_lists(self, project: Project) -> None:
        forget = partial(forget_lists, project_id=project.id, now=self.core.now())
        more = True
        while more:
            more = await self.core.database.write(forget)
            await asyncio.sleep(self.pause_seconds)

    async def _pages(
        self, project: Project, rules: Rules, *, measured: bool
    ) -> AsyncIterator[Sequence[tuple[BuildFacts, Kind]]]:
        """What goes of each page of builds, as it is when its turn comes."""
        walk = Walk(rules=rules, now=self.core.now(), branches=await self._branches(project))
        before: int | None = None
        while True:
            look = partial(stored.page_of, project_id=project.id, before=before, measured=measured)
            page, before = await self.core.database.read(look)
            if going := list(walk.going(page)):
                yield going
            if before is None:
                return

    async def _branches(self, project: Project) -> frozenset[str] | None:
        """A forge's are not known here: all that were built count as existing."""
        if project.repo_url is not None:
            return None
        refs = await self.core.repositories.refs(project.id)
        return frozenset(ref.removeprefix(HEADS) for ref in refs if ref.startswith(HEADS))

    async def _delete(
        self,
        project: Project,
        going: Sequence[tuple[BuildFacts, Kind]],
        rules: Rules,
        seen: Seen,
        gone: Going,
    ) -> None:
        """Raises Outdated."""
        of: dict[Kind, list[BuildFacts]] = {kind: [] for kind in Kind}
        for facts, kind in going:
            of[kind].append(facts)
        for some in _slices(of[Kind.LOGS]):
            await self._portion(project, some, seen, gone, Kind.LOGS)
        for facts, kind in going:
            if kind is Kind.KEEP or (kind is Kind.ARTIFACTS and facts.keeps):
                over = over_keeps(facts, rules, self.core.now())
                chosen = await chosen_outputs(self.core, facts, kind, over)
                await self._chosen(project, facts, chosen, seen, gone)
        for some in _slices([one for one in of[Kind.ARTIFACTS] if not one.keeps]):
            await self._outputs(project, some, seen)
            self._count(some, Kind.ARTIFACTS, gone)
        counted = await self._counted([facts.id for facts in of[Kind.BUILDS]])
        by_id = {facts.id: facts for facts in of[Kind.BUILDS]}
        for large in (one for one in counted if one.outputs > ROWS_AT_ONCE):
            await self._outputs(project, [by_id[large.build_id]], seen)
        for ids in portions(counted):
            await self._portion(project, [by_id[one] for one in ids], seen, gone, Kind.BUILDS)

    async def _counted(self, build_ids: Sequence[str]) -> Sequence[RowCount]:
        if not build_ids:
            return ()
        return await self.core.database.read(
            lambda connection: stored.count_rows(connection, build_ids, ROWS_AT_ONCE)
        )

    async def _portion(
        self, project: Project, some: Sequence[BuildFacts], seen: Seen, gone: Going, kind: Kind
    ) -> None:
        """Those builds, or their logs, in one transaction."""

        async def delete(connection: AsyncConnection) -> Mapping[str, int]:
            still = await self._still_going(connection, some, seen)
            if not still:
                return still
            if kind is Kind.LOGS:
                await gone_outputs.delete_logs(connection, still, self.core.now())
            else:
                await doom_builds(connection, still)
                await delete_builds(connection, still)
            numbers = sorted(still.values())
            await Deed(self.core, None, project).record(
                connection, f"retention.{kind}_deleted", count=len(still), numbers=_ranges(numbers)
            )
            return still

        def committed(still: Mapping[str, int]) -> None:
            self._announce(still)

        still = await self.core.database.write(delete, committed=committed)
        self._count([facts for facts in some if facts.id in still], kind, gone)
        await asyncio.sleep(self.pause_seconds)

    async def _outputs(self, project: Project, some: Sequence[BuildFacts], seen: Seen) -> None:
        """Their artifacts, in as many transactions as it takes."""

        async def delete(connection: AsyncConnection) -> tuple[int, Mapping[str, int]]:
            still = await self._still_going(connection, some, seen)
            now = self.core.now()
            count = await gone_outputs.delete_some_outputs(connection, still, ROWS_AT_ONCE, now)
            if count < ROWS_AT_ONCE and still:
                numbers = _ranges(sorted(still.values()))
                await Deed(self.core, None, project).record(
                    connection, "retention.artifacts_deleted", count=len(still), numbers=numbers
                )
            return count, still

        def committed(done: tuple[int, Mapping[str, int]]) -> None:
            self._announce(done[1])

        count = ROWS_AT_ONCE
        while count == ROWS_AT_ONCE:
            count, _ = await self.core.database.write(delete, committed=committed)
            await asyncio.sleep(self.pause_seconds)

    async def _chosen(
        self, project: Project, facts: BuildFacts, chosen: Chosen, seen: Seen, gone: Going
    ) -> None:
        """Some of its outputs, in as many transactions as it takes."""
        portions = list(chosen.portions(ROWS_AT_ONCE))

        async def delete(connection: AsyncConnection, index: int) -> Mapping[str, int]:
            still = await self._still_going(connection, [facts], seen)
            if not still:
                return still
            if index == 0:
                await chosen.mark(self.core, connection, facts.id)
            await delete_outputs(connection, portions[index])
            if index == len(portions) - 1:
                await chosen.settle(connection, facts.id)
                what = "artifacts" if chosen.kind is Kind.ARTIFACTS else "kept_outputs"
                await Deed(self.core, None, project).record(
                    connection, f"retention.{what}_deleted", count=1, numbers=f"#{facts.number}"
                )
            return still

        for index in range(len(portions)):
            still = await self.core.database.write(
                partial(delete, index=index), committed=self._announce
            )
            await asyncio.sleep(self.pause_seconds)
            if not still:
                return
        gone.add(facts, chosen.kind, chosen.size)
        self.core.meter.deleted(chosen.kind.value, 1, chosen.size)

    def _count(self, some: Sequence[BuildFacts], kind: Kind, gone: Going) -> None:
        for facts in some:
            gone.add(facts, kind)
        size = sum(facts.bytes_of(kind) for facts in some)
        self.core.meter.deleted(kind.value, len(some), size)

    async def _still_going(
        self, connection: AsyncConnection, some: Sequence[BuildFacts], seen: Seen
    ) -> Mapping[str, int]:
        if (self.deletions.made, self.retention.version) != seen:
            raise Outdated
        return await stored.still_going(connection, [facts.id for facts in some])

    def _announce(self, build_ids: Mapping[str, int]) -> None:
        self.deletions.wake()
        for build_id in build_ids:
            self.core.news.publish(build_topic(build_id))


def portions(counted: Sequence[RowCount]) -> Iterator[list[str]]:
    """Of builds, by their rows; one that has more alone goes alone, without its outputs if these
    are many: they went before it."""
    portion: list[str] = []
    rows = 0
    for one in counted:
        its = one.others + (one.outputs if one.outputs <= ROWS_AT_ONCE else 0)
        if portion and (rows + its > ROWS_AT_ONCE or len(portion) == BUILDS_AT_ONCE):
            yield portion
            portion, rows = [], 0
        portion.append(one.build_id)
        rows += its
    if portion:
        yield portion


def _slices(builds: Sequence[BuildFacts]) -> Iterator[Sequence[BuildFacts]]:
    for begin in range(0, len(builds), BUILDS_AT_ONCE):
        yield builds[begin : begin + BUILDS_AT_ONCE]


def _ranges(numbers: Sequence[int]) -> str:
    """Sorted ones as `#1-#3, #7`."""
    found: list[list[int]] = []
    for number in numbers:
        if found and number == found[-1][1] + 1:
            found[-1][1] = number
        else:
            found.append([number, number])
    return ", ".join(f"#{first}" if first == last else f"#{first}-#{last}" for first, last in found)
