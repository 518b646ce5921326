"""What the tip of each project's default branch declares: modules and schedules.

It is kept in the database, in the transaction that records the push, so that neither building a
module nor the time of a schedule need read every repository.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from coordinator.domain.model import ModuleFile, Project
from coordinator.domain.pushes.default_branch import USUAL_BRANCHES
from coordinator.ports import MAX_WORKFLOW_FILES
from coordinator.services.builds.included_files import workflow_with_includes
from coordinator.services.core import Core
from coordinator.services.parsing import named_paths, parsed_modules
from coordinator.services.pushes.schedule_files import FoundSchedules, schedules_at
from coordinator.storage.connection import AsyncConnection
from coordinator.storage.projects import projects as stored_projects
from coordinator.storage.pushes import modules as stored
from pipelines_schema import (
    MODULE_FILES,
    Module,
    ParsedModules,
    Problem,
)

BRANCH = "refs/heads/"


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundModules:
    """What a project's default branch declares now, to be saved."""

    file: ModuleFile
    modules: Sequence[Module]
    schedules: FoundSchedules
    instead_of: ModuleFile | None
    """What was known before; None where nobody looked yet."""

    async def save(self, connection: AsyncConnection) -> None:
        await stored.replace_modules(connection, self.file, self.modules)
        await self.schedules.save(connection)

    async def save_unless_newer(self, connection: AsyncConnection) -> None:
        """As `save`, but not over what a push has saved meanwhile."""
        if await stored.find_file(connection, self.file.project_id) == self.instead_of:
            await self.save(connection)


def default_branch(head: str | None, branches: Mapping[str, str]) -> str | None:
    """What HEAD names, if there is such a branch; else the usual ones, else the only one."""
    for name in (head, *USUAL_BRANCHES):
        if name in branches:
            return name
    return next(iter(branches)) if len(branches) == 1 else None


async def modules_after(
    core: Core, project: Project, moved: Mapping[str, str | None]
) -> FoundModules | None:
    """What is to be saved once these refs have moved; None where nothing has changed.

    Of a remote project only those branches count that its pushes told of.
    """
    head = await core.repositories.default_branch(project.id)

    async def read(connection: AsyncConnection) -> tuple[ModuleFile | None, Mapping[str, str]]:
        file = await stored.find_file(connection, project.id)
        return file, await stored_projects.read_seen_refs(connection, project.id)

    known, seen = await core.database.read(read)
    branches = {
        ref.removeprefix(BRANCH): sha
        for ref, sha in {**seen, **moved}.items()
        if sha is not None and ref.startswith(BRANCH)
    }
    branch = default_branch(head, branches)
    sha = branches.get(branch) if branch is not None else None
    if known is not None and (known.branch, known.commit_hash) == (branch, sha):
        return None
    # A branch may point to anything, also to a blob.
    is_commit = sha is not None and await core.repositories.commit(project.id, sha) is not None
    commit = sha if is_commit else None
    parsed = await _read(core, project, commit)
    file = ModuleFile(
        project_id=project.id,
        branch=branch,
        commit_hash=sha,
        problems=[problem.to_json() for problem in parsed.problems],
    )
    return FoundModules(
        file=file,
        modules=parsed.modules,
        schedules=await schedules_at(core, project, commit),
        instead_of=known,
    )


async def _read(core: Core, project: Project, sha: str | None) -> ParsedModules:
    nothing = ParsedModules(modules=(), problems=())
    if sha is None:
        return nothing
    files = await core.repositories.module_files(project.id, sha)
    if not files:
        return nothing
    if len(files) > 1:
        message = f"there are both {' and '.join(MODULE_FILES)}: remove one of them"
        problem = Problem(message=message, file=files[1].path, line=1, column=1)
        return ParsedModules(modules=(), problems=(problem,))
    workflows = await core.repositories.workflow_files(project.id, sha)
    known = {
        one.path: (await workflow_with_includes(core, project, sha, one, of_fork=False)).workflow
        for one in workflows[:MAX_WORKFLOW_FILES]
    }
    # Read twice: to learn which paths it names, and with what they are.
    paths = await named_paths(core.readings, project.account_id, files[0], known)
    folders = await core.repositories.folders_among(project.id, sha, paths)
    return await parsed_modules(
        core.readings, project.account_id, files[0], known, frozenset(folders)
    )
