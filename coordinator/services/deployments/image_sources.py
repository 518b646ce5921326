"""Projects that hold the sources of images: found or made by the agent's name."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass, field

from coordinator.domain.errors import Forbidden, Invalid
from coordinator.domain.image_builds import (
    ImagePlan,
    ImageRequest,
    RefusedSources,
)
from coordinator.domain.image_builds.image_name import image_name
from coordinator.domain.model import Account, Project
from coordinator.domain.people.permissions import Principal, Right
from coordinator.domain.reading import read_image_plan
from coordinator.ports import NotRead
from coordinator.services.core import Core
from coordinator.services.projects.projects import make_project
from coordinator.storage.connection import AsyncConnection
from coordinator.storage.images import image_builds as stored
from coordinator.storage.projects import projects as stored_projects


@dataclass(slots=True)
class ImageSources:
    core: Core
    _making: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Two first requests of one name make one project."""

    async def plan(self, account: Account, request: ImageRequest) -> ImagePlan:
        """Raises Invalid, with every reason."""
        settings = self.core.settings
        try:
            return await self.core.readings.run(
                account.id,
                read_image_plan,
                request,
                account.slug,
                settings.image_bases,
                settings.package_mirrors,
            )
        except NotRead as error:
            message = f"this text {error.reason}"
            details = [{"path": request.files_field, "message": message}]
            raise Invalid(message, details=details) from error
        except RefusedSources as refused:
            raise _invalid(refused, request.files_field) from refused

    def name(self, agent_name: str, *, field: str) -> str:
        """What images of this agent are called. Raises Invalid."""
        try:
            return image_name(agent_name, field=field)
        except RefusedSources as refused:
            raise _invalid(refused) from refused

    async def keep(self, project: Project, plan: ImagePlan) -> str:
        """Store the plan's files as a commit of the project; its sha."""
        return await self.core.repositories.store_files(
            project.id,
            plan.files,
            name=f"images/{plan.tag}",
            message=f"Sources of {plan.name}:{plan.tag}\n",
        )

    async def project(
        self, principal: Principal, account: Account, image_name: str, agent_name: str
    ) -> Project:
        """The account's project for images of this name, made if there is none.

        Raises Forbidden for one who may make none.
        """
        async with self._making:
            found = await self.core.database.read(
                lambda connection: self._find(connection, account, image_name)
            )
            if found is None and Right.MANAGE not in principal.rights:
                raise Forbidden(
                    f"the account has no project {image_name!r} yet, and this token may make none: "
                    "a maintainer builds or deploys it the first time"
                )
            return found or await self._make(principal, account, image_name, agent_name)

    async def _find(
        self, connection: AsyncConnection, account: Account, image_name: str
    ) -> Project | None:
        project_id = await stored.find_image_project(connection, account.id, image_name)
        if project_id is None:
            return None
        return await stored_projects.find_project(connection, project_id)

    async def _make(
        self, principal: Principal, account: Account, image_name: str, agent_name: str
    ) -> Project:
        async def also(connection: AsyncConnection, project: Project) -> None:
            await stored.insert_image_project(connection, account.id, image_name, project.id)

        return await make_project(
            self.core, principal, account, name=agent_name, slug=image_name, also=also
        )


def _invalid(refused: RefusedSources, files_field: str = "files") -> Invalid:
    details = [
        {
            "path": re.sub(r"^files\b", files_field, refusal.field),
            "message": refusal.message,
        }
        for refusal in refused.refusals
    ]
    return Invalid(refused.refusals[0].message, details=details)
