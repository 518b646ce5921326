"""Whose is a commit that somebody asks to build? A fork's stays a fork's, whoever asks."""

from __future__ import annotations

from dataclasses import replace

from coordinator.domain.model import Project
from coordinator.domain.pushes.deliveries import HEADS, is_ref
from coordinator.services.builds.drafts import Origin
from coordinator.services.builds.forge_source import ForgeSource
from coordinator.services.core import Core
from coordinator.storage.builds import builds as stored


async def marked(core: Core, source: ForgeSource, project: Project, origin: Origin) -> Origin:
    """The origin, with it whether its commit comes from outside. Raises Invalid.

    Such a build is of no branch of the project, whatever the caller calls it: a step `when` the
    branch is main, and a script that looks, must not take it for theirs.

    Forges give out a fork's commits by their ids as if they were the project's own, so what counts
    is whether a branch of the project has it, or a pull request from such a branch had.
    """
    sha = origin.commit_hash
    if project.repo_url is None or sha is None:
        return origin
    if await core.repositories.is_on_branch(project.id, sha):
        return origin
    await source.fetch_branches(project)
    if await core.repositories.is_on_branch(project.id, sha):
        return origin
    pull = await core.database.read(
        lambda connection: stored.pull_request_of_commit(connection, project.id, sha)
    )
    if pull is None:
        return replace(origin, outside=True, branch=f"commit/{sha[:10]}")
    if not pull.fork:
        return origin
    return replace(origin, pull_request=pull, branch=f"pull/{pull.number}")


async def placed(core: Core, source: ForgeSource, project: Project, origin: Origin) -> Origin:
    """The origin of a build of a named commit, with the branch that it names where that has the
    commit: a name alone opens nothing. Raises Invalid."""
    branch, sha = origin.branch, origin.commit_hash
    if origin.of_fork or sha is None or not branch or not is_ref(f"{HEADS}{branch}"):
        return replace(origin, trusted_ref=None)
    held = await core.repositories.merge_base(project.id, branch, sha) == sha
    if not held and project.repo_url is not None:
        await source.fetch_branches(project)
        held = await core.repositories.merge_base(project.id, branch, sha) == sha
    return replace(origin, trusted_ref=f"{HEADS}{branch}" if held else None)
