"""Builds of pull requests: is there something new to build, and what ends with one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from coordinator.domain.lifecycle import BuildState, StepState
from coordinator.domain.model import Build
from coordinator.domain.pushes.deliveries import PullRequest
from coordinator.services.builds.cancels import cancel_build
from coordinator.services.core import Core
from coordinator.storage.builds import builds as stored
from coordinator.storage.connection import AsyncConnection


async def what_is_new(core: Core, project_id: str, pull: PullRequest) -> PullRequest | None:
    """The pull request as what happened to it; None where its head has been built as it is.

    For forges that tell of any change alike.
    """
    if not pull.perhaps_pushed:
        return pull
    known = await core.database.read(
        lambda connection: stored.pull_request_of_commit(connection, project_id, pull.head_sha)
    )
    if known is None or known.number != pull.number:
        return pull
    return replace(pull, was_draft=True) if known.draft and not pull.draft else None


async def cancel_waiting(
    core: Core, connection: AsyncConnection, project_id: str, number: int
) -> Sequence[Build]:
    """End the builds of a closed pull request of which nothing runs, but for their clean-up; those
    that run go on."""
    ended = []
    for build in await stored.unfinished_of_pull_request(connection, project_id, number):
        if await _waits(connection, build):
            await cancel_build(
                core,
                connection,
                build.id,
                by=f"the end of pull request {number}",
                reason="its pull request was closed",
            )
            ended.append(build)
    return ended


async def _waits(connection: AsyncConnection, build: Build) -> bool:
    """For its approval, for an agent to begin it, or at a gate."""
    if build.state is not BuildState.RUNNING:
        return True
    if not build.open_gates:
        return False
    steps = await stored.steps_of_build(connection, build.id)
    return not any(step.state is StepState.RUNNING for step in steps)
