"""Which cache a step gets.

A cache's identity has a generation in it. An attempt of a clean build gets a generation of its
own, so that its caches are empty whatever agent and engine run it; once the attempt has succeeded
the step's later builds get that generation. One that fails changes nothing for anybody.

Identities are made with the coordinator's key: what runs on an engine can ask for any cache whose
identity it can work out.
"""

from __future__ import annotations

from coordinator.domain.model import Attempt, Build, Step
from coordinator.services.keys import Keys
from coordinator.storage.builds import builds as stored_builds
from coordinator.storage.connection import AsyncConnection
from coordinator.storage.steps import caches as stored
from pipelines_schema.contract import CacheDir


async def cache_dirs(
    keys: Keys, connection: AsyncConnection, build: Build, step: Step
) -> list[CacheDir]:
    """The caches of the step's current attempt."""
    paths = step.written.cache_dirs
    if not paths:
        return []
    if build.clean:
        return [
            CacheDir(path=path, id=_id(keys, build, step, path, step.attempt_id)) for path in paths
        ]
    scope = cache_scope(build)
    known = await stored.find_generation(connection, build.project_id, scope, step.name)
    if known is None:
        return [CacheDir(path=path, id=_id(keys, build, step, path, None)) for path in paths]
    return [
        CacheDir(
            path=path,
            id=_id(keys, build, step, path, known.generation),
            replaces=_id(keys, build, step, path, known.previous),
        )
        for path in paths
    ]


async def namespace(keys: Keys, connection: AsyncConnection, build: Build, step: Step) -> str:
    """Whose cache mounts a step that builds an image sees: the project's, until a clean build of
    the step gives it its own."""
    scope, project = cache_scope(build), build.project_id
    generation: str | None = step.attempt_id
    if not build.clean:
        known = await stored.find_generation(connection, project, scope, step.name)
        generation = known.generation if known else None
    return keys.cache_id(*filter(None, [project, scope, generation]))


async def keep_clean(connection: AsyncConnection, step: Step, attempt: Attempt) -> None:
    """After an attempt has succeeded: the caches that a clean build began are the step's now."""
    if not (step.written.cache_dirs or step.written.build):
        return
    build = await stored_builds.find_build(connection, step.build_id)
    if build is not None and build.clean:
        await stored.renew_generation(
            connection, build.project_id, cache_scope(build), step.name, attempt.id
        )


def cache_scope(build: Build) -> str:
    """Empty, or a fork's pull request, which has caches of its own: it can't poison ours."""
    if not build.of_fork:
        return ""
    if build.pull_request is None:
        return f"commit/{build.commit_hash}"
    return f"pr/{build.pull_request.number}"


def _id(keys: Keys, build: Build, step: Step, path: str, generation: str | None) -> str:
    """A cache belongs to its scope, step and path: nobody else's step can fill or read it; and to
    the user that the step names, who couldn't write to another's."""
    scope = cache_scope(build)
    parts = [build.project_id, *([scope] if scope else []), step.name, path]
    parts += [f"user/{step.written.user}"] if step.written.user else []
    parts += [generation] if generation else []
    return keys.cache_id(*parts)
