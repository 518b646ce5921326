"""What a commit consists of besides its own files: submodules and LFS objects.

The coordinator alone speaks with forges, so it brings both when a step first asks: submodules'
commits into the project's own repository, where agents fetch them with the step's token, and LFS
objects into the account's blob store.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import structlog

from coordinator.domain.errors import Conflict, NotFound, Unfetchable
from coordinator.domain.model import Build, Project
from coordinator.domain.people.permissions import Principal
from coordinator.domain.pushes.deliveries import retry_delay
from coordinator.domain.pushes.repo_url import RefusedUrl, parse_url
from coordinator.domain.pushes.submodules import (
    MAX_DEPTH,
    MAX_SUBMODULES,
    DeclaredSubmodule,
    HostedPlace,
    Place,
    UnreadableSubmodules,
    place_of,
    same_host,
)
from coordinator.ports import Credential, RemoteFailed, RemoteLfs
from coordinator.services.core import Core
from coordinator.services.in_flight import InFlight
from coordinator.services.projects.credentials import Credentials
from coordinator.services.steps.fetched_objects import (
    FetchedObjects,
    StepSource,
    differs,
    own_place,
)
from coordinator.services.steps.runner import Runner
from coordinator.storage.builds import builds as stored_builds
from coordinator.storage.connection import AsyncConnection
from coordinator.storage.projects import projects as stored_projects
from coordinator.storage.pushes import lfs as stored_lfs
from pipelines_schema.contract_sources import LfsObject

log = structlog.get_logger()

T = TypeVar("T")

FETCHES_IN_ALL = 4
"""As long as so many fetches may take, all submodules of a commit may, and all LFS files that are
asked for at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Submodule:
    path: str
    """In the workspace."""
    commit: str
    place: Place

    @property
    def words(self) -> str:
        return f"submodule {self.path} ({self.place.text})"


@dataclass(slots=True)
class SourceParts:
    core: Core
    runner: Runner
    credentials: Credentials
    remote_lfs: RemoteLfs
    fetched: FetchedObjects
    _submodules: InFlight[Sequence[Submodule]] = field(default_factory=InFlight)
    _objects: InFlight[None] = field(default_factory=InFlight)

    async def close(self) -> None:
        await self._submodules.close()
        await self._objects.close()

    async def submodules(
        self, principal: Principal, step_id: str, epoch: int | None
    ) -> Sequence[Submodule]:
        """Those of the step's commit, outer ones first; their commits are in its repository.

        Raises Unfetchable, NotYet, NotFound, StaleEpoch.
        """
        return await self._all_of(await self.source_of(principal, step_id, epoch))

    async def bring_objects(
        self,
        principal: Principal,
        step_id: str,
        epoch: int | None,
        submodule: str,
        objects: Sequence[LfsObject],
    ) -> None:
        """Have these LFS objects here. Raises as `submodules` does."""
        source = await self.source_of(principal, step_id, epoch)
        place = await self._place_of(source, submodule)
        if missing := await self.fetched.missing(source, place, objects):
            key = (place, source.trusted, frozenset(missing))
            await self._objects.result(
                source.project.id,
                key,
                lambda: self._in_time(
                    lambda: self._bring_objects(source, submodule, place, missing), "LFS files"
                ),
            )

    async def open_object(
        self,
        principal: Principal,
        step_id: str,
        epoch: int | None,
        submodule: str,
        wanted: LfsObject,
    ) -> tuple[str, AsyncIterator[bytes]]:
        """Whose an object is (the account's id), and its bytes. Raises as `submodules` does."""
        await self.bring_objects(principal, step_id, epoch, submodule, [wanted])
        source = await self.source_of(principal, step_id, epoch)
        account_id = source.project.account_id
        return account_id, self.core.blobs.get(account_id, wanted.oid)

    async def source_of(self, principal: Principal, step_id: str, epoch: int | None) -> StepSource:
        """Raises NotFound, StaleEpoch, Conflict where the step has no source."""
        step, _ = await self.runner.attempt(principal, step_id, epoch)

        async def read(connection: AsyncConnection) -> tuple[Build | None, Project | None]:
            return (
                await stored_builds.find_build(connection, step.build_id),
                await stored_projects.find_project(connection, step.project_id),
            )

        build, project = await self.core.database.read(read)
        if build is None or project is None:
            raise NotFound("step not found")
        if build.commit_hash is None:
            raise Conflict("this step has no source")
        return StepSource(
            project=project,
            build=build,
            commit=build.commit_hash,
            trusted=not build.of_fork,
        )

    # Submodules

    async def _all_of(self, source: StepSource) -> Sequence[Submodule]:
        key = (source.commit, source.trusted)
        return await self._submodules.result(
            source.project.id,
            key,
            lambda: self._in_time(lambda: self._bring_all(source), "submodules"),
        )

    async def _in_time(self, work: Callable[[], Awaitable[T]], words: str) -> T:
        """What it gives: many places that each are slow have one end. Raises Unfetchable."""
        seconds = FETCHES_IN_ALL * self.core.settings.fetch_seconds
        try:
            async with asyncio.timeout(seconds) as limit:
                return await work()
        except TimeoutError as error:
            if not limit.expired():
                raise
            message = f"the {words} took more than {seconds:g} s in all"
            raise Unfetchable(f"{message} ({FETCHES_IN_ALL} times fetch_seconds)") from error

    async def _bring_all(self, source: StepSource) -> Sequence[Submodule]:
        brought: list[Submodule] = []
        todo = deque([("", source.commit, own_place(source.project), 0)])
        while todo:
            folder, commit, place, depth = todo.popleft()
            for declared in await self._declared(source, folder, commit):
                path = f"{folder}/{declared.path}" if folder else declared.path
                submodule = self._checked(path, declared, place, depth, len(brought))
                await self._bring(source, submodule)
                brought.append(submodule)
                todo.append((path, declared.commit, submodule.place, depth + 1))
        return brought

    async def _declared(
        self, source: StepSource, folder: str, commit: str
    ) -> Sequence[DeclaredSubmodule]:
        try:
            found = await self.core.repositories.submodules(source.project.id, commit)
        except UnreadableSubmodules as error:
            where = f"submodule {folder}" if folder else "the project"
            raise Unfetchable(f"{where} at {commit[:10]}: {error}") from error
        return [declared for declared in found if not declared.skipped]

    def _checked(
        self, path: str, declared: DeclaredSubmodule, parent: Place, depth: int, count: int
    ) -> Submodule:
        if depth >= MAX_DEPTH:
            raise Unfetchable(f"submodule {path}: submodules are nested over {MAX_DEPTH} deep")
        if count >= MAX_SUBMODULES:
            raise Unfetchable(f"submodule {path}: a commit may have {MAX_SUBMODULES} submodules")
        try:
            place = place_of(parent, declared.url, self.core.public_url)
        except RefusedUrl as error:
            raise Unfetchable(
                f"submodule {path} ({declared.url[:200] or 'no url'}): {error}. "
                "Mend its url in .gitmodules, or write `update = none` there to do without it"
            ) from error
        return Submodule(path=path, commit=declared.commit, place=place)

    async def _bring(self, source: StepSource, submodule: Submodule) -> None:
        if isinstance(submodule.place, HostedPlace):
            other = await self._sibling(source, submodule.place, submodule.words)
            if other.repo_url is None:
                await self._copy(source, submodule, other)
                return
        # A commit that is here by chance opens no other place.
        await self._fetch(source, submodule)

    async def _copy(self, source: StepSource, submodule: Submodule, other: Project) -> None:
        if await self.core.repositories.commit(other.id, submodule.commit) is None:
            raise _missing_commit(submodule)
        if other.id == source.project.id:
            return
        try:
            await self.core.remotes.copy(source.project.id, other.id, submodule.commit)
        except RemoteFailed as error:
            if error.missing:
                raise _missing_commit(submodule) from error
            raise Unfetchable(f"{submodule.words}: {error}") from error

    async def _sibling(self, source: StepSource, place: HostedPlace, words: str) -> Project:
        """The hosted project meant. Raises Unfetchable for another account's, as for none."""
        found = await self.core.database.read(
            lambda connection: stored_projects.find_project_by_slugs(
                connection, place.account, place.project
            )
        )
        allowed = found is not None and found.account_id == source.project.account_id
        if found is None or not allowed or not source.trusted:
            raise Unfetchable(
                f"{words}: there is no such project in the account "
                f"{source.project.account_slug}: make it and push to it, or mend .gitmodules"
                if source.trusted
                else f"{words}: a fork's build gets no other project of this coordinator"
            )
        return found

    async def _fetch(self, source: StepSource, submodule: Submodule) -> None:
        place = await self._remote_place(source, submodule.place, submodule.words)
        url = parse_url(place.text)
        credential, why_none = await self._credential(source, submodule.place, submodule.words)

        async def fetch() -> None:
            await self.core.remotes.fetch_module(
                source.project.id, url, submodule.commit, credential, trusted=source.trusted
            )

        try:
            await self.with_retries(fetch, submodule.words)
        except RemoteFailed as error:
            if error.missing:
                raise _missing_commit(submodule) from error
            raise Unfetchable(_advised(submodule.words, error, why_none)) from error

    async def _remote_place(self, source: StepSource, place: Place, words: str) -> Place:
        """The forge's URL, also of a project here whose source is at a forge."""
        if isinstance(place, HostedPlace):
            other = await self._sibling(source, place, words)
            return parse_url(other.repo_url) if other.repo_url is not None else place
        return place

    async def _credential(
        self, source: StepSource, place: Place, words: str
    ) -> tuple[Credential | None, str]:
        """What may be sent to that place, or else why there is nothing. Raises Unfetchable."""
        owner = source.project
        if isinstance(place, HostedPlace):
            owner = await self._sibling(source, place, words)
        elif owner.repo_url is None:
            return None, "a project hosted here has no credential for other hosts"
        elif not same_host(place, parse_url(owner.repo_url)):
            return None, "the project's credential is sent to its own host alone"
        elif not source.trusted and place != parse_url(owner.repo_url):
            return None, "a fork's build asks for submodules without the project's credential"
        try:
            credential = await self.credentials.of(owner)
        except RemoteFailed as error:
            raise Unfetchable(f"{words}: {error}") from error
        return credential, "" if credential else "the project has no credential"

    async def with_retries(self, work: Callable[[], Awaitable[None]], words: str) -> None:
        """Fetch from a forge. Raises RemoteFailed, at once where another try would end the same."""
        settings, tries = self.core.settings, 0
        while True:
            try:
                await work()
                return
            except RemoteFailed as error:
                tries += 1
                if error.permanent or tries >= settings.fetch_attempts:
                    raise
                log.warning("not fetched", what=words, reason=str(error), attempts=tries)
            delay = retry_delay(tries, settings.fetch_retry_seconds)
            await asyncio.sleep(delay.total_seconds())

    # LFS objects

    async def _place_of(self, source: StepSource, submodule: str) -> Place:
        if not submodule:
            return own_place(source.project)
        for found in await self._all_of(source):
            if found.path == submodule:
                return found.place
        raise NotFound(f"this commit has no submodule {submodule[:200]}")

    async def _bring_objects(
        self, source: StepSource, submodule: str, place: Place, missing: Sequence[LfsObject]
    ) -> None:
        words = f"LFS files of submodule {submodule}" if submodule else "LFS files"
        words = f"{words} ({place.text})"
        if isinstance(place, HostedPlace):
            other = await self._sibling(source, place, words)
            if other.repo_url is None:
                await self._share(source, place, other, missing, words)
                return
        remote = await self._remote_place(source, place, words)
        credential, why_none = await self._credential(source, place, words)
        url = parse_url(remote.text)

        async def keep(item: LfsObject, chunks: AsyncIterator[bytes]) -> None:
            await self.fetched.keep(source, place, item, chunks)

        async def download() -> None:
            wanted = await self.fetched.missing(source, place, missing)
            await self.remote_lfs.download(url, credential, wanted, keep)

        try:
            await self.with_retries(download, words)
        except RemoteFailed as error:
            raise Unfetchable(_advised(words, error, why_none)) from error

    async def _share(
        self,
        source: StepSource,
        place: Place,
        other: Project,
        missing: Sequence[LfsObject],
        words: str,
    ) -> None:
        """Those that were pushed to the project here that has them."""
        known = await self.core.database.read(
            lambda connection: stored_lfs.known_objects(
                connection, other.id, [item.oid for item in missing]
            )
        )
        for item in missing:
            if known.get(item.oid, item.size) != item.size:
                raise Unfetchable(f"{words}: {differs(item, known[item.oid])}")
            if item.oid not in known:
                raise Unfetchable(
                    f"{words}: {item.oid[:12]} of {item.size} bytes was never pushed: "
                    "run `git lfs push --all origin`"
                )
        await self.fetched.save(source, place, missing)


def _missing_commit(submodule: Submodule) -> Unfetchable:
    return Unfetchable(
        f"{submodule.words} has no commit {submodule.commit[:10]}: push it there, or move the "
        "submodule to a commit that is there"
    )


def _advised(words: str, error: RemoteFailed, why_none: str) -> str:
    """The failure, with why no credential was sent where the other side may have wanted one."""
    hint = f" ({why_none})" if error.permanent and why_none else ""
    return f"{words}: {error}{hint}"
