"""What can be changed of a project: name, repository, archived or not, the webhook's secret."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from coordinator.domain.errors import Conflict, Forbidden, NotFound
from coordinator.domain.model import Project
from coordinator.domain.people.permissions import Principal, Right
from coordinator.domain.pushes.repo_url import parse_url
from coordinator.domain.slugs import free_slug, slug_of
from coordinator.services.audit import Deed
from coordinator.services.core import Core
from coordinator.services.projects.repository_urls import check_fetchable
from coordinator.storage.connection import AsyncConnection
from coordinator.storage.outbox.recipients import forget_forge
from coordinator.storage.projects import projects as stored
from coordinator.storage.projects.privileged_builds import privileged_builds
from coordinator.storage.projects.sealed_things import CREDENTIALS

NO_REPOSITORY = ""
"""As the URL: the project's source is what is pushed here."""

NOT_TO_TRUST = (
    "a trusted project's steps may have all rights over the machines of agents, which may serve "
    "other accounts, too: a token of all accounts sets it"
)
MAX_NUMBERS = 5
"""Of builds, told to people."""
BY_HOST = ""
"""As the forge: it is known by the repository's host."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What is None stays."""

    name: str | None = None
    repo_url: str | None = None
    """Or NO_REPOSITORY."""
    forge: str | None = None
    """Or BY_HOST."""
    archived: bool | None = None
    public_badges: bool | None = None
    status_per_step: bool | None = None
    trusted: bool | None = None
    """By an administrator of all accounts alone."""


@dataclass(frozen=True, slots=True)
class ProjectChanges:
    core: Core

    async def change(self, principal: Principal, project: Project, wanted: Wanted) -> Project:
        """All of it or nothing. Raises Invalid for a URL that we would not fetch; NotFound;
        Forbidden; Conflict where steps wait that only a trusted project may have."""
        principal.require(Right.MANAGE)
        if wanted.trusted is not None:
            principal.require(Right.ADMINISTER)
            if principal.account_id is not None:
                raise Forbidden(NOT_TO_TRUST)
        if wanted.repo_url:
            check_fetchable(self.core, wanted.repo_url)
        # Of a project that becomes a hosted one again, nothing that lies here is built anew.
        refs = await self.core.repositories.refs(project.id) if wanted.repo_url == "" else {}

        async def save(connection: AsyncConnection) -> Project:
            before = await _found(connection, project.id)
            by = Deed(self.core, principal, before)
            if wanted.name not in (None, before.name):
                await self._rename(connection, by, before, wanted.name or "")
            if wanted.repo_url not in (None, before.repo_url or NO_REPOSITORY):
                await self._set_repository(connection, by, before, wanted.repo_url or None, refs)
            if wanted.forge is not None:
                await stored.update_project(connection, project.id, forge=wanted.forge or None)
            if wanted.forge not in (None, before.forge or BY_HOST):
                await by.record(connection, "project.forge_set", forge=wanted.forge)
            if wanted.archived not in (None, before.archived_at is not None):
                await self._archive(connection, by, before, archived=bool(wanted.archived))
            if wanted.public_badges not in (None, before.public_badges):
                await self._show_badges(connection, by, before, shown=bool(wanted.public_badges))
            if wanted.status_per_step not in (None, before.status_per_step):
                await self._tell_steps(connection, by, before, told=bool(wanted.status_per_step))
            if wanted.trusted not in (None, before.trusted):
                await self._trust(connection, by, before, trusted=bool(wanted.trusted))
            await stored.update_project(connection, project.id, updated_at=self.core.now())
            return await _found(connection, project.id)

        return await self.core.database.write(save)

    async def _rename(
        self, connection: AsyncConnection, by: Deed, project: Project, name: str
    ) -> None:
        """Also its address. The old one goes on working, and no other project gets it: a push
        that somebody means for this one must not reach another."""
        wanted = slug_of(name, fallback="project")
        own = {project.slug, *await stored.former_slugs_of(connection, project.id)}
        taken = await stored.project_slugs(connection, project.account_id, wanted)
        slug = free_slug(wanted, taken - own)
        if slug != project.slug:
            await stored.rename_project(connection, project, slug)
        await stored.update_project(connection, project.id, name=name)
        await by.record(connection, "project.renamed", name=name, before=project.name, slug=slug)

    async def _set_repository(
        self,
        connection: AsyncConnection,
        by: Deed,
        project: Project,
        repo_url: str | None,
        refs: Mapping[str, str],
    ) -> None:
        """The credential and the forge's token stay only where they would go to the very server
        that they were given for, and so does what somebody said of its forge."""
        await stored.update_project(connection, project.id, repo_url=repo_url)
        if repo_url is None:
            await stored.replace_seen_refs(connection, project.id, refs)
        if _server(repo_url) != _server(project.repo_url):
            await CREDENTIALS.delete(connection, project.id, {})
            await forget_forge(connection, project.id, self.core.now())
            await stored.update_project(connection, project.id, forge=None)
        await by.record(
            connection,
            "project.repository_set" if repo_url else "project.repository_removed",
            repoUrl=repo_url or project.repo_url,
        )

    async def _archive(
        self, connection: AsyncConnection, by: Deed, project: Project, *, archived: bool
    ) -> None:
        archived_at = self.core.now() if archived else None
        await stored.update_project(connection, project.id, archived_at=archived_at)
        await by.record(connection, "project.archived" if archived else "project.unarchived")

    async def _show_badges(
        self, connection: AsyncConnection, by: Deed, project: Project, *, shown: bool
    ) -> None:
        await stored.update_project(connection, project.id, public_badges=shown)
        await by.record(connection, "project.badges_shown" if shown else "project.badges_hidden")

    async def _tell_steps(
        self, connection: AsyncConnection, by: Deed, project: Project, *, told: bool
    ) -> None:
        await stored.update_project(connection, project.id, status_per_step=told)
        await by.record(connection, "project.steps_told" if told else "project.steps_not_told")

    async def _trust(
        self, connection: AsyncConnection, by: Deed, project: Project, *, trusted: bool
    ) -> None:
        """What was let in while it was trusted must not begin afterwards."""
        waiting = [] if trusted else await privileged_builds(connection, project.id)
        if waiting:
            numbers = ", ".join(f"#{number}" for number in waiting[:MAX_NUMBERS])
            raise Conflict(
                f"builds of it have privileged steps that have not ended ({numbers}): cancel them "
                "first"
            )
        await stored.update_project(connection, project.id, trusted=trusted)
        await by.record(connection, "project.trusted" if trusted else "project.not_trusted")

    async def new_webhook_secret(self, principal: Principal, project: Project) -> str:
        """What was signed with the old one is refused from now on. Raises NotFound."""
        principal.require(Right.MANAGE)

        async def save(connection: AsyncConnection) -> int:
            number = (await _found(connection, project.id)).webhook_secret_number + 1
            await stored.update_project(
                connection, project.id, webhook_secret_number=number, updated_at=self.core.now()
            )
            await Deed(self.core, principal, project).record(
                connection, "project.webhook_secret_replaced"
            )
            return number

        number = await self.core.database.write(save)
        return self.core.keys.webhook_secret(project.id, number)


async def webhook_secret_of(core: Core, project_id: str) -> str:
    """With which its webhooks are signed; of a project that is not there, one of nobody's."""
    project = await core.database.read(
        lambda connection: stored.find_project(connection, project_id)
    )
    number = project.webhook_secret_number if project else 0
    return core.keys.webhook_secret(project_id, number)


async def _found(connection: AsyncConnection, project_id: str) -> Project:
    """Raises NotFound."""
    project = await stored.find_project(connection, project_id)
    if project is None:
        raise NotFound("project not found")
    return project


def _server(repo_url: str | None) -> tuple[str, str, int] | None:
    if repo_url is None:
        return None
    url = parse_url(repo_url)
    return url.scheme, url.host, url.port
