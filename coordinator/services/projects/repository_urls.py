"""The repository that a project's source comes from: which URLs are taken, and when a build's
becomes the project's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from coordinator.domain.errors import Forbidden, Invalid
from coordinator.domain.model import Project
from coordinator.domain.people.permissions import Principal, Right
from coordinator.domain.pushes.repo_url import RefusedUrl, check_policy, parse_url
from coordinator.services.audit import Deed
from coordinator.services.core import Core
from coordinator.storage.connection import AsyncConnection
from coordinator.storage.projects import projects as stored


def check_fetchable(core: Core, repo_url: str) -> None:
    """Raises Invalid for a URL that we would not fetch."""
    with _told_as_a_mistake():
        check_policy(parse_url(repo_url), core.settings.remote_policy)


@contextmanager
def _told_as_a_mistake() -> Iterator[None]:
    try:
        yield
    except RefusedUrl as error:
        message = str(error)
        raise Invalid(message, details=[{"path": "repoUrl", "message": message}]) from error


def own_url(core: Core, project: Project) -> str:
    """Its repository's, at the forge or here."""
    here = f"{core.public_url}/git/{project.account_slug}/{project.slug}.git"
    return project.repo_url or here


async def with_named_repository(
    core: Core, principal: Principal, project: Project, repo_url: str | None
) -> Project:
    """The project as it is if it takes the repository that a build names: one that has none, and
    to which nothing was pushed. Any other as it is.

    Raises Invalid for what is no URL of a repository; Forbidden.
    """
    if repo_url is None or repo_url == own_url(core, project):
        return project
    with _told_as_a_mistake():
        parse_url(repo_url)
    if project.repo_url is not None or await core.repositories.refs(project.id):
        return project
    check_fetchable(core, repo_url)
    if Right.MANAGE not in principal.rights:
        raise Forbidden(
            "this project has no repository yet, and only who may manage it can name one: "
            "leave repoUrl out"
        )
    return replace(project, repo_url=repo_url)


async def adopt_repository(core: Core, principal: Principal, project: Project) -> None:
    """Keep the repository that was named, now that what is to be built was fetched from it.

    Raises Invalid where the project got another one, or a first push, meanwhile.
    """
    repo_url = project.repo_url or ""
    message = "this project got its source from elsewhere just now: leave repoUrl out"
    taken = Invalid(message, details=[{"path": "repoUrl", "message": message}])
    if await core.repositories.refs(project.id):
        raise taken

    async def save(connection: AsyncConnection) -> None:
        if not await stored.adopt_repo_url(connection, project.id, repo_url, core.now()):
            raise taken
        await Deed(core, principal, project).record(
            connection, "project.repository_set", repoUrl=repo_url
        )

    await core.database.write(save)
