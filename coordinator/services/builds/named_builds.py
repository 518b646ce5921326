"""Builds of a workflow by its name, or of the one that a project means by default: as the commit
has it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from coordinator.domain.builds.keyed_requests import KeyedRequest
from coordinator.domain.errors import Invalid
from coordinator.domain.model import Build, Project, WorkflowRecord
from coordinator.domain.people.permissions import Principal, Right
from coordinator.services.builds.builds import Builds
from coordinator.services.builds.drafts import Origin
from coordinator.services.core import Core
from coordinator.services.projects.known_workflows import known_workflows, those_at

DEFAULT_NAMES = ("ci", "default")
"""Where a project has several workflows and none is asked for."""


@dataclass(frozen=True, slots=True)
class NamedBuilds:
    core: Core
    builds: Builds

    async def create(
        self,
        principal: Principal,
        project: Project,
        origin: Origin,
        *,
        workflow: str | None,
        held: bool,
        keyed: KeyedRequest | None = None,
    ) -> Build:
        """At the commit, or the branch's tip as it is now. Raises Invalid, which names the field.

        `workflow` is an id, a name or a path; None: the default one. A `held` build is started
        later.
        """
        principal.require(Right.BUILD)
        origin = await self._at_commit(project, origin)
        record = await self._choose(project, workflow, origin.commit_hash)
        held = held or origin.of_fork
        return await self.builds.make(principal, project, record, origin, held=held, keyed=keyed)

    async def _at_commit(self, project: Project, origin: Origin) -> Origin:
        """A repository without any commit is no obstacle: a workflow may need no source."""
        by_id = origin.commit_hash is not None
        if not by_id and not await self.builds.is_empty(project):
            origin = await self.builds.at_a_branch(project, origin)
        return await self.builds.checked_origin(project, origin, by_id=by_id)

    async def _choose(
        self, project: Project, wanted: str | None, commit: str | None
    ) -> WorkflowRecord:
        records = await known_workflows(self.core, project)
        there = await those_at(self.core, project, records, commit)
        if not there:
            raise Invalid(_none_there(records, commit), details=[_about("no workflow to build")])
        if wanted is None:
            return default_workflow(there)
        found = [one for one in there if wanted in (one.id, one.name, one.path)]
        if not found:
            names = ", ".join(sorted({one.name for one in there}))
            raise Invalid(
                f"there is no workflow {wanted[:200]!r}; there are: {names[:1000]}",
                details=[_about("no such workflow")],
            )
        return found[-1]


def default_workflow(records: Sequence[WorkflowRecord]) -> WorkflowRecord:
    """The only one, or the one named ci or default, or the first by name; of several that share
    the name, the newest."""
    names = {record.name for record in records}
    name = next((name for name in DEFAULT_NAMES if name in names), min(names))
    return [record for record in records if record.name == name][-1]


def _none_there(records: Sequence[WorkflowRecord], commit: str | None) -> str:
    if not records:
        return (
            "this project has no workflow yet: push .pushrod.yml or .pushrod/ci.yml, "
            "or create a workflow over the API"
        )
    if commit is None:
        return "this project's workflows are in its repository, which has no commit: push first"
    return f"no workflow of this project is at commit {commit[:10]}: name another branch or commit"


def _about(message: str) -> Mapping[str, str]:
    return {"path": "workflowId", "message": message}
