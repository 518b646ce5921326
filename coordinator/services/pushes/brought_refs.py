"""What a forge's event names, brought here as far as it still is at the forge."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from coordinator.domain.model import Project
from coordinator.domain.pushes.deliveries import BRANCH, PullRequest, sha_of
from coordinator.ports import RemoteFailed
from coordinator.services.builds.forge_source import ForgeSource
from coordinator.services.core import Core


@dataclass(frozen=True, slots=True)
class BroughtRefs:
    core: Core
    forge_source: ForgeSource

    async def fetch(self, project: Project, names: Sequence[str]) -> Mapping[str, str]:
        """What each of them is now; those that are gone are left out. Raises RemoteFailed."""
        try:
            return await self.forge_source.fetch(project, names)
        except RemoteFailed as error:
            if not error.missing:
                raise
        found: dict[str, str] = {}
        for name in names if len(names) > 1 else ():
            found |= await self.fetch(project, [name])
        return found

    async def has(self, project: Project, commit: str) -> bool:
        """Whether the commit is here; a branch that was moved meanwhile is asked for it by id."""
        if await self.core.repositories.commit(project.id, commit) is not None:
            return True
        await self.fetch(project, [commit])
        return await self.core.repositories.commit(project.id, commit) is not None

    async def head_of(self, project: Project, pull: PullRequest) -> PullRequest | None:
        """The pull request, with the whole id of its head, which is here, and so is the branch to
        be merged into; None where it has other commits by now. Raises RemoteFailed."""
        tip = await self._tip(project, pull)
        if tip is not None and tip.startswith(pull.head_sha):
            return replace(pull, head_sha=tip)
        if sha_of(pull.head_sha) is None or not await self.has(project, pull.head_sha):
            return None
        return pull

    async def _tip(self, project: Project, pull: PullRequest) -> str | None:
        base = BRANCH + pull.base_branch
        if pull.source_url is not None:
            await self.fetch(project, [base])
            try:
                return await self.forge_source.fetch_fork(project, pull.source_url, pull.ref)
            except RemoteFailed as error:
                if not error.missing:
                    raise RemoteFailed(
                        f"the fork's repository {pull.source_url[:200]}, which is asked without a "
                        f"credential: {error}",
                        permanent=error.permanent,
                    ) from error
                return None
        own = [] if pull.fork else [BRANCH + pull.head_branch]
        found = await self.fetch(project, list(dict.fromkeys([pull.ref, base, *own])))
        return found.get(pull.ref)
