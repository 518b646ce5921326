"""What a project shows of its builds to those who only look: badges and a feed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from coordinator.domain.lifecycle import BuildState
from coordinator.domain.listing import BuildListing, Scope
from coordinator.domain.model import Build, Project
from coordinator.services.core import Core
from coordinator.storage.builds.before import last_state
from coordinator.storage.builds.build_lists import list_builds
from coordinator.storage.projects.projects import find_project

BUILDS_IN_FEED = 50


@dataclass(frozen=True, slots=True)
class Pictures:
    core: Core

    async def of_everybody(self, project_id: str) -> Project | None:
        """The project, if it shows its badges to everybody."""
        project = await self.core.database.read(
            lambda connection: find_project(connection, project_id)
        )
        return project if project is not None and project.public_badges else None

    async def state(
        self, project: Project, *, workflow: str | None, branch: str | None
    ) -> BuildState | None:
        """Of the last build; the default branch's where none is named."""
        if branch is None:
            branch = await self.core.repositories.default_branch(project.id)
        return await self.core.database.read(
            lambda connection: last_state(connection, project.id, branch, workflow)
        )

    async def builds(self, project: Project) -> Sequence[Build]:
        """Newest first."""
        scope = Scope(account_id=project.account_id, project_id=project.id)
        builds, _ = await self.core.database.read(
            lambda connection: list_builds(connection, scope, BuildListing(limit=BUILDS_IN_FEED))
        )
        return builds
