"""A remote project's own repository, fetched with its credential."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from coordinator.domain.errors import Invalid
from coordinator.domain.model import Project
from coordinator.domain.pushes.repo_url import RefusedUrl, parse_url
from coordinator.ports import Commit, RemoteFailed
from coordinator.services.core import Core
from coordinator.services.projects.credentials import Credentials

_FULL_SHA = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True, slots=True)
class ForgeSource:
    core: Core
    credentials: Credentials

    async def fetch(self, project: Project, names: Sequence[str]) -> Mapping[str, str]:
        """Bring full ref names or commit ids; what each is now. Raises RemoteFailed."""
        url = parse_url(project.repo_url or "")
        credential = await self.credentials.of(project)
        return await self.core.remotes.fetch(project.id, url, names, credential)

    async def fetch_fork(self, project: Project, source_url: str, name: str) -> str:
        """Bring a fork's ref; what it is now. Raises RemoteFailed."""
        try:
            url = parse_url(source_url)
        except RefusedUrl as error:
            raise RemoteFailed(f"the fork's address: {error}", permanent=True) from error
        return await self.core.remotes.fetch_fork(project.id, url, name)

    async def fetch_branches(self, project: Project) -> None:
        """What every branch is now. Raises Invalid."""
        url = parse_url(project.repo_url or "")
        try:
            credential = await self.credentials.of(project)
            await self.core.remotes.fetch_branches(project.id, url, credential)
        except RemoteFailed as error:
            message = f"the repository {project.repo_url} has no branches"
            raise _refused(error, "commitHash", message) from error

    async def default_branch(self, project: Project) -> str:
        """The branch that HEAD names there. Raises Invalid."""
        url = parse_url(project.repo_url or "")
        message = f"HEAD of {project.repo_url} names no branch: name the one to build (--branch)"
        try:
            credential = await self.credentials.of(project)
            branch = await self.core.remotes.learn_head(project.id, url, credential)
        except RemoteFailed as error:
            raise _refused(error, "branch", message) from error
        if branch is None:
            raise Invalid(message, details=[{"path": "branch", "message": "missing"}])
        return branch

    async def tip(self, project: Project, branch: str) -> str:
        """The commit that a branch is at now, brought here. Raises Invalid."""
        name = f"refs/heads/{branch}"
        try:
            return (await self.fetch(project, [name]))[name]
        except RemoteFailed as error:
            message = f"the repository {project.repo_url} has no branch {branch[:200]!r}"
            raise _refused(error, "branch", message) from error

    async def commit(self, project: Project, sha: str) -> Commit:
        """A commit by its full id, brought here. Raises Invalid."""
        message = f"the repository {project.repo_url} has no commit {sha[:64]!r}"
        if not _FULL_SHA.fullmatch(sha):
            message = f"no commit {sha[:64]!r} has been fetched yet: give all of its 40 digits"
            raise Invalid(message, details=[{"path": "commitHash", "message": "not a full id"}])
        try:
            await self.fetch(project, [sha])
        except RemoteFailed as error:
            raise _refused(error, "commitHash", message) from error
        found = await self.core.repositories.commit(project.id, sha)
        if found is None:
            details = [{"path": "commitHash", "message": "not a commit"}]
            raise Invalid(message, details=details)
        return found


def unfetchable(error: RemoteFailed) -> str:
    """Of the project's own repository, and what to do where a credential is missing or wrong."""
    words = f"the repository could not be fetched: {error}"
    if not error.closed:
        return words
    return f"{words}; `pushrod project credential` keeps a token or deploy key that may read it"


def _refused(error: RemoteFailed, path: str, message: str) -> Invalid:
    if error.missing:
        return Invalid(message, details=[{"path": path, "message": "no such one at the forge"}])
    return Invalid(unfetchable(error))
