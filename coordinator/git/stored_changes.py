"""Repositories whose truth is database and object store; the disk is a cache.

One coordinator at a time uses them: it leads, and each transaction of one that leads no more fails.
A change is made in a draft; its packs are put, then one transaction writes refs, HEAD, packs and
moves if the repository is still what is known here, and then the cache follows. What that did not
write nobody has seen, and what it wrote the cache gets at the next look, if not now.
"""

from __future__ import annotations

import asyncio
import shutil
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

import structlog

from coordinator.domain.pushes.moved_refs import RefsMoved
from coordinator.domain.pushes.stored_repository import (
    PackPlace,
    RepositoryChange,
    StoredPack,
    StoredRefs,
    changed,
    rebased,
)
from coordinator.git import cache_folders as cache
from coordinator.git.changes import Draft
from coordinator.git.drafts import Found, found_in, make_draft, remove_draft
from coordinator.git.garbage import DAY_SECONDS, UNREACHED_DAYS, expire_logs
from coordinator.git.loose_objects import pack_loose_objects
from coordinator.git.opened import RepositoryMissing
from coordinator.git.pack_files import packs_of
from coordinator.git.ref_files import read_head, read_moves, read_refs
from coordinator.git.repository_folders import repository_path
from coordinator.object_ports import PackStore
from coordinator.services.locks import Locks
from coordinator.storage.database import Database
from coordinator.storage.pushes import stored_repositories as stored
from coordinator.storage.trouble import tell_fault

log = structlog.get_logger(__name__)

T = TypeVar("T")
KEPT_FOR = timedelta(hours=1)
"""After a pack has gone: another coordinator may be about to fetch it."""
NEW_TO_NOBODY = timedelta(days=1)
"""An object that no row knows by then is of a change that failed."""
DELETED_AT_ONCE = 200


_STALE = "another coordinator has changed it meanwhile: fetch, and push again"


class StoredChanges:
    """Implements Changes. `root` is this coordinator's own folder."""

    def __init__(
        self,
        root: Path,
        database: Database,
        packs: PackStore,
        now: Callable[[], datetime],
        *,
        max_input_bytes: int,
    ) -> None:
        self._root, self._database, self._packs, self._now = root, database, packs, now
        self._max_input_bytes = max_input_bytes
        self._known: dict[str, str] = {}
        """By project: the stamp of what was stored or caught up with here."""
        self._locks, self._wholes = Locks(), Locks()
        self._collections: Counter[str] = Counter()
        """By project: how often it was changed `alone`."""
        self._unsettled: set[str] = set()
        """Keys that were put, and whose transaction is still to come."""
        self._keeping: set[asyncio.Task[None]] = set()

    async def ready(self, project_id: str) -> Path:
        if project_id not in self._known:
            async with self._locks.of(project_id):
                await self._catch_up(project_id)
        return self._path(project_id)

    async def stored_refs(self, project_id: str) -> StoredRefs | None:
        """Whoever takes the lead looks at the refs of all, and not into all repositories."""
        if project_id in self._known:
            return None
        return await self._database.read(partial(stored.find_refs, project_id=project_id))

    async def forget(self, project_id: str) -> None:
        async with self._locks.of(project_id):
            self._known.pop(project_id, None)
            await self._database.write(partial(stored.delete_repository, project_id=project_id))
            keys = [key async for _, key, _ in self._packs.listed(project_id)]
            await self._packs.delete(keys)
            path = self._path(project_id)
            await asyncio.to_thread(shutil.rmtree, path, ignore_errors=True)

    async def stored_bytes(self, project_id: str, *, aside: bool = False) -> int | None:
        return await self._database.read(
            partial(stored.stored_bytes, project_id=project_id, aside=aside)
        )

    @asynccontextmanager
    async def changing(
        self, project_id: str, *, whole: bool = False, alone: bool = False
    ) -> AsyncIterator[Draft]:
        if whole:
            # What goes was looked for in what there was: of two the second would look in vain.
            async with self._wholes.of(project_id):
                async with self._drafted(project_id, whole=True, alone=alone) as draft:
                    yield draft
            return
        async with self._drafted(project_id, whole=False, alone=alone) as draft:
            yield draft

    @asynccontextmanager
    async def _drafted(self, project_id: str, *, whole: bool, alone: bool) -> AsyncIterator[Draft]:
        async with self._locks.of(project_id):
            await self._catch_up(project_id)
            if project_id not in self._known:
                raise RepositoryMissing(project_id)
            path, stamp = self._path(project_id), self._known[project_id]
            draft = await asyncio.to_thread(make_draft, path, whole=whole)
            collections = self._collections[project_id]
        try:
            yield draft
        except BaseException:
            await asyncio.to_thread(remove_draft, draft)
            raise
        keeping = self._kept(project_id, draft, stamp if alone else None, collections)
        await self._by_itself(keeping)

    async def _by_itself(self, keeping: Coroutine[Any, Any, None]) -> None:
        """To its end, even if whoever waits for it doesn't."""
        task = asyncio.create_task(keeping)
        self._keeping.add(task)
        task.add_done_callback(self._keeping.discard)
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            task.add_done_callback(_tell_failure)
            # Whoever builds what was pushed is to see what became of it.
            await asyncio.wait([task])
            raise

    async def close(self) -> None:
        """Wait for what is being kept."""
        while self._keeping:
            await asyncio.wait(self._keeping)

    async def _kept(
        self, project_id: str, draft: Draft, alone_with: str | None, collections: int
    ) -> None:
        put: Sequence[str] = ()
        try:
            if not draft.is_kept:
                return
            if not draft.whole:
                await pack_loose_objects(draft.path)
            found = await asyncio.to_thread(found_in, draft)
            if found.is_nothing or not (found.refs or found.head or draft.whole):
                return  # what no ref names, nobody was promised
            new = await self._put(project_id, found.new_packs)
            self._unsettled.update(put := [pack.object for pack in new.values()])
            async with self._locks.of(project_id):
                await self._catch_up(project_id)
                if project_id not in self._known:
                    raise RefsMoved("it was deleted meanwhile")
                if alone_with not in (None, self._known[project_id]):
                    raise RefsMoved("it was changed meanwhile")
                if found.refs and not draft.whole and collections != self._collections[project_id]:
                    # What it was seen to build on may have been garbage.
                    raise RefsMoved("garbage was collected meanwhile: push again")
                await self._store(project_id, draft, found, new)
                if alone_with is not None and found.gone_packs:
                    self._collections[project_id] += 1
        finally:
            self._unsettled.difference_update(put)
            await asyncio.to_thread(remove_draft, draft)

    async def _put(
        self, project_id: str, packs: Mapping[PackPlace, Path]
    ) -> Mapping[PackPlace, StoredPack]:
        async def put(place: PackPlace, path: Path) -> StoredPack:
            pack, index = path.with_suffix(".pack"), path.with_suffix(".idx")
            one = await self._packs.put(project_id, pack, index)
            return StoredPack(
                object=one.object,
                pack_bytes=one.pack_bytes,
                index_bytes=one.index_bytes,
                sha256=one.sha256,
                name=place[1],
                aside=place[0],
                created_at=self._now(),
            )

        return dict(zip(packs, await _together(put(*one) for one in packs.items()), strict=True))

    async def _store(
        self,
        project_id: str,
        draft: Draft,
        found: Found,
        new: Mapping[PackPlace, StoredPack],
    ) -> None:
        path, now = self._path(project_id), self._now()
        current = await asyncio.to_thread(read_refs, path)
        refs = rebased(found.refs, current)
        known = await asyncio.to_thread(packs_of, path)
        change = RepositoryChange(
            refs=refs,
            head=found.head,
            # The same bytes may have come by two pushes: the first one's are there.
            new_packs=[pack for place, pack in new.items() if place not in known],
            gone_packs=sorted(found.gone_packs, key=str),
        )
        if not (refs or found.head or change.new_packs or change.gone_packs):
            return
        before, after = self._known.pop(project_id), uuid4().hex
        # Unknown from here on until the cache has followed, whatever happens.
        save = partial(
            stored.save_change,
            project_id=project_id,
            before=before,
            after=after,
            change=change,
            now=now,
            kept_until=now + KEPT_FOR,
        )
        try:
            await self._database.write(save)
        except stored.StaleRepository as error:
            raise RefsMoved(_STALE) from error
        except Exception:  # the answer to the commit may be all that was lost
            if not await self._is_stored(project_id, after):
                raise
        apply = partial(cache.apply, path, draft, change, changed(current, refs), now)
        try:
            await asyncio.to_thread(apply, after)
        except OSError as error:  # it is stored all the same, and the next look fetches it
            tell_fault(log, "the cache of a repository did not follow", error, project=project_id)
        else:
            self._known[project_id] = after

    async def _is_stored(self, project_id: str, stamp: str) -> bool:
        try:
            found = await self._database.read(partial(stored.find_stamp, project_id=project_id))
        except Exception:  # then nobody knows
            return False
        return found == stamp

    async def _catch_up(self, project_id: str) -> None:
        """With the lock. Of a repository that is neither here nor stored nothing is known."""
        if project_id in self._known:
            return
        path = self._path(project_id)
        stamp = await self._database.read(partial(stored.find_stamp, project_id=project_id))
        if stamp is None:
            if await asyncio.to_thread(cache.is_repository, path):
                await self._adopt(project_id, path)
            return
        if stamp != await asyncio.to_thread(cache.read_stamp, path):
            stamp = await self._fetch_all(project_id, path)
        self._known[project_id] = stamp

    async def _fetch_all(self, project_id: str, path: Path) -> str:
        wanted = await self._database.read(partial(stored.find_repository, project_id=project_id))
        if wanted is None:
            raise LookupError(f"the repository {project_id} was deleted")
        begin = partial(cache.begin, path, wanted.packs, max_input_bytes=self._max_input_bytes)
        missing = await asyncio.to_thread(begin)
        await _together(self._fetch(path, pack) for pack in missing)
        await asyncio.to_thread(cache.finish, path, wanted)
        log.info("repository fetched", project=project_id, packs=len(missing))
        return wanted.stamp

    async def _fetch(self, path: Path, pack: StoredPack) -> None:
        coming = cache.coming(path, pack)
        await self._packs.get(pack, coming.with_suffix(".pack"), coming.with_suffix(".idx"))
        await asyncio.to_thread(cache.came, path, pack, coming)

    async def _adopt(self, project_id: str, path: Path) -> None:
        """One that was made here, or lay on one machine's disk until now, is stored as it is."""
        await pack_loose_objects(path)
        refs = await asyncio.to_thread(read_refs, path)
        moves = await asyncio.to_thread(read_moves, path)
        head = await asyncio.to_thread(read_head, path)
        packs = await self._put(project_id, await asyncio.to_thread(packs_of, path))
        change = RepositoryChange(
            refs=cache.all_new(refs), new_packs=list(packs.values()), moves=moves
        )
        stamp = uuid4().hex
        await self._database.write(
            partial(
                stored.insert_repository,
                project_id=project_id,
                stamp=stamp,
                head=head,
                change=change,
                now=self._now(),
            )
        )
        await asyncio.to_thread(cache.settle, path, refs, stamp)
        self._known[project_id] = stamp

    async def expire_moves(self, project_id: str, now: float) -> None:
        before = datetime.fromtimestamp(now - UNREACHED_DAYS * DAY_SECONDS, UTC)
        if not await self._database.read(
            partial(stored.has_moves, project_id=project_id, before=before)
        ):
            return  # an idle coordinator writes nothing
        async with self._locks.of(project_id):
            await self._database.write(
                partial(stored.forget_moves, project_id=project_id, before=before)
            )
            await expire_logs(self._path(project_id), now)

    async def delete_gone(self) -> None:
        """Objects of packs that are part of no repository any more, once nobody fetches them."""
        while objects := await self._database.read(
            partial(stored.gone_objects, now=self._now(), count=DELETED_AT_ONCE)
        ):
            await self._packs.delete(objects)
            await self._database.write(partial(stored.forget_objects, objects=objects))

    async def delete_strangers(self) -> None:
        """Objects of changes that failed, of a day ago."""
        before = self._now() - NEW_TO_NOBODY
        of, keys = "", list[str]()
        async for project_id, key, came in self._packs.listed(None):
            # A store lists them in their order, or else we ask more often.
            if project_id != of or len(keys) == DELETED_AT_ONCE:
                await self._delete_unknown(of, keys)
                of, keys = project_id, []
            if came < before:
                keys.append(key)
        await self._delete_unknown(of, keys)

    async def _delete_unknown(self, project_id: str, keys: Sequence[str]) -> None:
        if not keys:
            return
        async with self._locks.of(project_id):
            keys = [key for key in keys if key not in self._unsettled]
            known = await self._database.read(
                partial(stored.known_objects, project_id=project_id, objects=keys)
            )
            await self._packs.delete([key for key in keys if key not in known])

    def _path(self, project_id: str) -> Path:
        return repository_path(self._root, project_id)


async def _together(work: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """What they give, in their order. Raises what the first that failed does."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one) for one in work]
    except ExceptionGroup as failed:
        raise failed.exceptions[0] from failed
    return [task.result() for task in tasks]


def _tell_failure(keeping: asyncio.Task[None]) -> None:
    """Nobody is left to be answered."""
    error = None if keeping.cancelled() else keeping.exception()
    if error is not None and not isinstance(error, RefsMoved):
        tell_fault(log, "a change of a repository was not stored", error)
