"""Which cache a step gets.

A cache's identity has a generation in it. An attempt of a clean build gets a generation of its
own, so that its caches are empty whatever agent and engine run it; once the attempt has succeeded
the step's later builds get that generation. One that fails changes nothing for anybody.

The default branch's caches are written by its own builds alone: those of other branches, of tags
and of pull requests have caches beside them, which begin as copies of them.

Identities are made with the coordinator's key: what runs on an engine can ask for any cache whose
identity it can work out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from coordinator.domain.model import Attempt, Build, Step
from coordinator.services.keys import Keys
from coordinator.storage.builds import builds as stored_builds
from coordinator.storage.connection import AsyncConnection
from coordinator.storage.database import isolate
from coordinator.storage.steps import caches as stored
from coordinator.storage.steps.caches import Generation, Owner
from pipelines_schema import CacheFolder, CacheScope
from pipelines_schema.contract import CacheDir

OTHER_BRANCHES = "others"
"""The scope of what is not of the default branch, nor outsiders'."""


async def cache_dirs(
    keys: Keys, connection: AsyncConnection, build: Build, step: Step
) -> list[CacheDir]:
    """The caches of the step's current attempt."""
    folders = step.written.cache_dirs
    if not folders:
        return []
    ids = _Ids(keys=keys, build=build, step=step, protected=await _is_protected(connection, build))
    if build.clean:
        return [ids.fresh(folder) for folder in folders]
    owners = {owner for one in folders for owner in ids.owners(one)}
    known = await stored.find_generations(connection, build.project_id, owners)
    return [ids.cache(folder, known) for folder in folders]


async def namespace(keys: Keys, connection: AsyncConnection, build: Build, step: Step) -> str:
    """Whose cache mounts a step that builds an image sees: the default branch's, or one for all
    other branches, until a clean build of the step gives it its own. No engine can begin one as a
    copy of another."""
    owner, project = await _owner_of_mounts(connection, build, step), build.project_id
    generation: str | None = step.attempt_id
    if not build.clean:
        known = await stored.find_generations(connection, project, [owner])
        generation = known[owner].generation if owner in known else None
    return keys.cache_id(*filter(None, [project, owner.scope, generation]))


async def keep_clean(keys: Keys, connection: AsyncConnection, step: Step, attempt: Attempt) -> None:
    """After an attempt has succeeded: the caches that a clean build began are the step's now."""
    if not (step.written.cache_dirs or step.written.build):
        return
    build = await stored_builds.find_build(connection, step.build_id)
    if build is None or not build.clean:
        return
    isolate(connection)
    owners = {await _owner_of_mounts(connection, build, step)} if step.written.build else set()
    if step.written.cache_dirs:
        protected = await _is_protected(connection, build)
        ids = _Ids(keys=keys, build=build, step=step, protected=protected)
        owners |= {ids.owner(folder) for folder in step.written.cache_dirs}
    for owner in sorted(owners):
        await stored.renew_generation(connection, build.project_id, owner, attempt.id)


async def _owner_of_mounts(connection: AsyncConnection, build: Build, step: Step) -> Owner:
    if await _is_protected(connection, build):
        return Owner("", step.name)
    return Owner(_fork(build) or OTHER_BRANCHES, step.name)


async def _is_protected(connection: AsyncConnection, build: Build) -> bool:
    """Whether it is of the default branch, or of a project that knows none."""
    if build.of_fork or build.pull_request is not None:
        return False
    default = await stored.default_branch(connection, build.project_id)
    return default is None or build.branch == default


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ids:
    """The identities of one step's caches."""

    keys: Keys
    build: Build
    step: Step
    protected: bool

    def cache(self, folder: CacheFolder, known: Mapping[Owner, Generation]) -> CacheDir:
        def id_of(owner: Owner) -> str:
            return self.of(folder, owner, known[owner].generation if owner in known else None)

        own, *others = self.owners(folder)
        replaces = self.of(folder, own, known[own].previous) if own in known else None
        return CacheDir(
            path=folder.path,
            id=id_of(own),
            replaces=replaces,
            key=list(folder.key),
            begins_as=[id_of(other) for other in others],
        )

    def fresh(self, folder: CacheFolder) -> CacheDir:
        """The attempt's own, which begins with nothing."""
        made = self.of(folder, self.owner(folder), self.step.attempt_id)
        return CacheDir(path=folder.path, id=made, key=list(folder.key))

    def owner(self, folder: CacheFolder) -> Owner:
        return self.owners(folder)[0]

    def owners(self, folder: CacheFolder) -> list[Owner]:
        """Whose it is, and then whose it begins as a copy of."""
        name = "" if folder.scope is CacheScope.PROJECT else self.step.name
        scopes = [""] if self.protected else [self._scope(folder), ""]
        return [Owner(scope, name) for scope in scopes]

    def _scope(self, folder: CacheFolder) -> str:
        if self.build.of_fork:
            return _fork(self.build)
        if folder.scope is CacheScope.BRANCH and self.build.branch is not None:
            return f"branch/{self.build.branch}"
        return OTHER_BRANCHES

    def of(self, folder: CacheFolder, owner: Owner, generation: str | None) -> str:
        """It also belongs to the user that the step names, who couldn't write to another's."""
        parts = [self.build.project_id, *([owner.scope] if owner.scope else [])]
        parts += [owner.step_name, folder.path]
        parts += [f"user/{self.step.written.user}"] if self.step.written.user else []
        parts += [generation] if generation else []
        return self.keys.cache_id(*parts)


def _fork(build: Build) -> str:
    """Empty, or a fork's pull request, which has caches of its own: it can't poison ours."""
    if not build.of_fork:
        return ""
    if build.pull_request is None:
        return f"commit/{build.commit_hash}"
    return f"pr/{build.pull_request.number}"
