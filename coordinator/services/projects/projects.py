"""Projects, and workflows made over the API."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from coordinator.domain.builds.overview import ProjectGlance
from coordinator.domain.errors import Invalid, NotFound
from coordinator.domain.listing import Scope
from coordinator.domain.model import Account, Build, Project, WorkflowRecord, WorkflowSource
from coordinator.domain.people.permissions import Principal, Right
from coordinator.domain.slugs import free_slug, slug_of
from coordinator.services.audit import Deed
from coordinator.services.core import Core, new_id
from coordinator.services.parsing import parsed_api_workflow
from coordinator.services.projects.known_workflows import known_workflows, those_at
from coordinator.services.projects.repository_urls import check_fetchable
from coordinator.storage.builds.build_lists import newest_builds
from coordinator.storage.builds.overview import glances
from coordinator.storage.connection import AsyncConnection
from coordinator.storage.projects import projects as stored

NEWEST_BUILDS = 20
"""Of all projects, in the overview."""


async def make_project(
    core: Core,
    principal: Principal,
    account: Account,
    *,
    name: str,
    project_id: str | None = None,
    slug: str | None = None,
    repo_url: str | None = None,
    forge: str | None = None,
    also: Callable[[AsyncConnection, Project], Awaitable[None]] | None = None,
) -> Project:
    """The repository first: a project in the database always has one.

    Of a project that could not be stored nothing is left. `project_id` is a new UUID, if it matters
    which; `slug` is wished for, else made of the name; `also` is part of the transaction.
    """
    project_id, now = project_id or new_id(), core.now()
    await core.repositories.create(project_id)

    async def save(connection: AsyncConnection) -> Project:
        wanted = slug_of(slug or name, fallback="project")
        taken = await stored.project_slugs(connection, account.id, wanted)
        project = Project(
            id=project_id,
            account_id=account.id,
            account_slug=account.slug,
            name=name,
            slug=free_slug(wanted, taken),
            repo_url=repo_url,
            forge=forge,
            build_count=0,
            created_at=now,
            updated_at=now,
        )
        await stored.insert_project(connection, project)
        if also is not None:
            await also(connection, project)
        await Deed(core, principal, project).record(connection, "project.created", name=name)
        return project

    try:
        return await core.database.write(save)
    except Exception:  # not a cancellation: the write goes on without us
        await core.repositories.remove(project_id)
        raise


@dataclass(frozen=True, slots=True)
class Projects:
    core: Core

    async def create(
        self,
        principal: Principal,
        account: Account,
        *,
        name: str,
        repo_url: str | None,
        forge: str | None = None,
    ) -> Project:
        principal.require(Right.MANAGE)
        if repo_url is not None:
            check_fetchable(self.core, repo_url)
        return await make_project(
            self.core, principal, account, name=name, repo_url=repo_url, forge=forge
        )

    async def get(self, principal: Principal, project_id: str) -> Project:
        """Raises NotFound, also for another account's."""
        project = await self.core.database.read(
            lambda connection: stored.find_project(connection, project_id)
        )
        return _visible(principal, project)

    async def get_by_slugs(
        self, principal: Principal, account_slug: str, project_slug: str
    ) -> Project:
        project = await self.core.database.read(
            lambda connection: stored.find_project_by_slugs(connection, account_slug, project_slug)
        )
        return _visible(principal, project)

    async def list_of(self, account: Account) -> Sequence[Project]:
        return await self.core.database.read(
            lambda connection: stored.projects_of_account(connection, account.id)
        )

    async def overview(
        self, principal: Principal
    ) -> tuple[Sequence[ProjectGlance], Sequence[Build]]:
        """Every project with its last build, and the newest builds of all of them."""
        scope = Scope(account_id=principal.account_id)

        async def read(
            connection: AsyncConnection,
        ) -> tuple[Sequence[ProjectGlance], Sequence[Build]]:
            builds = await newest_builds(connection, scope, NEWEST_BUILDS)
            return await glances(connection, principal.account_id), builds

        return await self.core.database.read(read)

    async def create_workflow(
        self, principal: Principal, project: Project, name: str, steps: Sequence[Mapping[str, Any]]
    ) -> WorkflowRecord:
        """Raises Invalid with every problem of the steps."""
        principal.require(Right.MANAGE)
        parsed = await parsed_api_workflow(self.core.readings, project.account_id, name, steps)
        if parsed.workflow is None:
            raise Invalid(
                "this workflow has mistakes",
                details=[problem.to_json() for problem in parsed.problems],
            )
        now = self.core.now()
        workflow = WorkflowRecord(
            id=new_id(),
            project_id=project.id,
            name=name,
            source=WorkflowSource.API,
            path=None,
            definition=parsed.workflow.to_json(),
            created_at=now,
            updated_at=now,
        )

        async def save(connection: AsyncConnection) -> None:
            await stored.insert_workflow(connection, workflow)
            await Deed(self.core, principal, project).record(
                connection, "workflow.created", workflow=workflow.id, name=name
            )

        await self.core.database.write(save)
        return workflow

    async def list_workflows(self, project: Project) -> Sequence[WorkflowRecord]:
        """Those at the default branch's tip; where that is not known, all that ever were."""
        records = await known_workflows(self.core, project)
        tip = await self.core.repositories.default_commit(project.id)
        return records if tip is None else await those_at(self.core, project, records, tip)


def _visible(principal: Principal, project: Project | None) -> Project:
    if project is None or not principal.sees(project.account_id):
        raise NotFound("project not found")
    return project
