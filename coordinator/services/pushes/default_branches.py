"""Which branch a project goes by where none is named, and who says so."""

from __future__ import annotations

from dataclasses import dataclass

from coordinator.domain.errors import Conflict, Invalid
from coordinator.domain.model import Project
from coordinator.domain.people.permissions import Principal, Right
from coordinator.services.audit import Deed
from coordinator.services.core import Core
from coordinator.services.pushes.ingest import Ingest


@dataclass(frozen=True, slots=True)
class DefaultBranches:
    core: Core
    ingest: Ingest

    async def of(self, project: Project) -> str | None:
        return await self.core.repositories.default_branch(project.id)

    async def set(self, principal: Principal, project: Project, branch: str) -> None:
        """Raises Invalid where there is no such branch; Conflict for a forge's repository."""
        principal.require(Right.MANAGE)
        if project.repo_url is not None:
            raise Conflict(
                f"the source of this project is {project.repo_url}: change the default branch "
                "there, the next fetch brings it"
            )
        before = await self.of(project)
        if not await self.core.repositories.set_default_branch(project.id, branch):
            raise Invalid(
                f"the repository has no branch {branch[:200]!r}: push it first",
                details=[{"path": "defaultBranch", "message": "no such branch"}],
            )
        await self.core.database.write(
            lambda connection: Deed(self.core, principal, project).record(
                connection, "project.default_branch_set", branch=branch, before=before
            )
        )
        await self.ingest.refresh_modules(project)
