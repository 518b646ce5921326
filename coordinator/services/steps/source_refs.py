"""The branches and tags that a step's `.git` may hold, besides its commit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from coordinator.domain.errors import Unfetchable
from coordinator.domain.people.permissions import Principal
from coordinator.domain.pushes.repo_url import parse_url
from coordinator.ports import RemoteFailed
from coordinator.services.in_flight import InFlight
from coordinator.services.ref_states import TAGS
from coordinator.services.steps.fetched_objects import StepSource
from coordinator.services.steps.source_parts import SourceParts
from pipelines_schema.contract_sources import GitRef

BRANCHES = "refs/heads/"


@dataclass(slots=True)
class SourceRefs:
    parts: SourceParts
    _fetches: InFlight[None] = field(default_factory=InFlight)

    async def close(self) -> None:
        await self._fetches.close()

    async def refs(
        self, principal: Principal, step_id: str, epoch: int | None, *, history: bool
    ) -> Sequence[GitRef]:
        """The tags of the step's commit, or with `history` all tags and branches that it may see.

        Only for a history is a forge asked: what a step has by default must not depend on it.
        Raises Unfetchable, NotYet, NotFound, StaleEpoch.
        """
        source = await self.parts.source_of(principal, step_id, epoch)
        core, project = self.parts.core, source.project
        if history and project.repo_url is not None:
            # Steps that begin at once share one fetch, those after a push don't.
            state = (source.build.id, core.ref_states.of_all(project.id))
            await self._fetches.result(project.id, state, lambda: self._fetch(source))
        found = await core.repositories.history_refs(
            project.id, remote=project.repo_url is not None, tag=source.build.tag
        )
        if not history:
            return [
                ref for ref in found if ref.name.startswith(TAGS) and ref.commit == source.commit
            ]
        return found if source.trusted else await self._for_outsiders(source, found)

    async def _for_outsiders(self, source: StepSource, found: Sequence[GitRef]) -> Sequence[GitRef]:
        """Tags, the default branch and the one to be merged into: other work is none of theirs."""
        default = await self.parts.core.repositories.default_branch(source.project.id)
        pull = source.build.pull_request
        shown = {BRANCHES + name for name in (default, pull and pull.base) if name}
        return [ref for ref in found if not ref.name.startswith(BRANCHES) or ref.name in shown]

    async def _fetch(self, source: StepSource) -> None:
        project, core = source.project, self.parts.core
        url = parse_url(project.repo_url or "")
        words = f"the branches and tags of {project.repo_url}"

        async def fetch() -> None:
            credential = await self.parts.credentials.of(project)
            await core.remotes.fetch_history(project.id, url, credential)

        try:
            await self.parts.with_retries(fetch, words)
        except RemoteFailed as error:
            raise Unfetchable(f"{words}: {error}") from error
