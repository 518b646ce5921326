"""All that a step, or a build, has left, to be taken at once."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass

from coordinator.domain.errors import NotFound
from coordinator.domain.lifecycle import FINISHED_STEP
from coordinator.domain.model import Artifact, Step
from coordinator.domain.people.permissions import Principal
from coordinator.domain.upkeep.keeps import gone_words
from coordinator.services.core import Core
from coordinator.services.outputs.artifacts import find_readable
from coordinator.services.outputs.zips import Tree, zipped
from coordinator.storage.builds import builds as stored_builds
from coordinator.storage.connection import AsyncConnection
from coordinator.storage.outputs import artifacts as stored
from coordinator.storage.outputs.artifacts import LeftBehind


@dataclass(frozen=True, slots=True)
class Downloads:
    core: Core

    async def of_step(self, principal: Principal, step_id: str) -> AsyncIterator[bytes]:
        """A zip file with the outputs of the step's last attempt, once it has completed.

        Raises NotFound, also where it left nothing.
        """

        async def read(connection: AsyncConnection) -> tuple[str, Sequence[Tree]] | None:
            step = await find_readable(connection, principal, step_id)
            if step is None:
                return None
            left = await _left_by(connection, step.build_id, [step])
            await _check_left(connection, left, [step])
            return step.account_id, [_tree(left, step, "")]

        found = await self.core.database.read(read)
        if found is None:
            raise NotFound("step not found")
        return self._zipped(*found)

    async def of_build(
        self, principal: Principal, project_id: str | None, build_id: str
    ) -> AsyncIterator[bytes]:
        """The same of all steps of a build, each in a folder of its name."""

        async def read(connection: AsyncConnection) -> tuple[str, Sequence[Tree]] | None:
            steps = await stored_builds.steps_of_build(connection, build_id)
            if not steps or not principal.sees(steps[0].account_id):
                return None
            if project_id not in (None, steps[0].project_id):
                return None
            left = await _left_by(connection, build_id, steps)
            await _check_left(connection, left, steps)
            trees = [_tree(left, step, f"{step.name}/") for step in steps]
            return steps[0].account_id, trees

        found = await self.core.database.read(read)
        if found is None:
            raise NotFound("build not found")
        return self._zipped(*found)

    def _zipped(self, account_id: str, trees: Sequence[Tree]) -> AsyncIterator[bytes]:
        if not any(tree.artifacts or tree.entries for tree in trees):
            raise NotFound("no outputs: none were kept, or the step has not ended")

        def contents(artifact: Artifact) -> AsyncIterator[bytes]:
            return self.core.blobs.get(account_id, artifact.sha256)

        return zipped(trees, contents)


async def _left_by(
    connection: AsyncConnection, build_id: str, steps: Sequence[Step]
) -> Mapping[str, LeftBehind]:
    """By name, of those that have ended; one statement for all of them."""
    ended = [step.name for step in steps if step.state in FINISHED_STEP]
    return await stored.artifacts_of_steps(connection, build_id, ended) if ended else {}


async def _check_left(
    connection: AsyncConnection, left: Mapping[str, LeftBehind], steps: Sequence[Step]
) -> None:
    """Raises NotFound where nothing is left of what there was."""
    if any(one.artifacts or one.entries for one in left.values()):
        return
    gone = [gone_words(one) for step in steps for one in step.gone_outputs]
    build = await stored_builds.find_build(connection, steps[0].build_id)
    if build is not None and build.artifacts_gone_at is not None:
        gone.append("its outputs were deleted, as the limits of retention say")
    if gone:
        raise NotFound("; ".join(gone))


def _tree(left: Mapping[str, LeftBehind], step: Step, folder: str) -> Tree:
    found = left.get(step.name)
    if found is None:
        return Tree(folder=folder, artifacts=(), entries=())
    return Tree(folder=folder, artifacts=found.artifacts, entries=found.entries)
