"""Builds that are made first and started later: of the workflow that a project means by default."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from coordinator.domain.errors import Invalid
from coordinator.domain.model import Build, Project, WorkflowRecord
from coordinator.domain.people.permissions import Principal, Right
from coordinator.services.builds.builds import Builds
from coordinator.services.builds.drafts import Origin
from coordinator.services.core import Core
from coordinator.storage.projects import projects as stored

DEFAULT_NAMES = ("ci", "default")
"""Where a project has several workflows and none is asked for."""


@dataclass(frozen=True, slots=True)
class HeldBuilds:
    core: Core
    builds: Builds

    async def create(
        self,
        principal: Principal,
        project: Project,
        *,
        branch: str,
        commit: str | None,
        workflow: str | None,
        params: Mapping[str, str] | None,
    ) -> Build:
        """At the commit, or the branch's tip as it is now. Raises Invalid, which names the field.

        `workflow` is an id, a name or a path; None: the default one.
        """
        principal.require(Right.BUILD)
        origin = Origin(event="manual", branch=branch, commit_hash=commit, params=params)
        origin = await self._at_commit(project, origin)
        record = await self._choose(project, workflow, origin.commit_hash)
        return await self.builds.make(principal, project, record, origin, held=True)

    async def _at_commit(self, project: Project, origin: Origin) -> Origin:
        """A repository without any commit is no obstacle: a workflow may need no source."""
        by_id = origin.commit_hash is not None
        if not by_id and not await self.builds.is_empty(project):
            origin = await self.builds.at_a_branch(project, origin)
        return await self.builds.checked_origin(project, origin, by_id=by_id)

    async def _choose(
        self, project: Project, wanted: str | None, commit: str | None
    ) -> WorkflowRecord:
        records = await self.core.database.read(
            lambda connection: stored.list_workflows(connection, project.id)
        )
        paths = await self._paths(project, commit)
        there = [one for one in records if one.path is None or one.path in paths]
        if not there:
            raise Invalid(_none_there(records, commit), details=[_about("no workflow to build")])
        if wanted is None:
            return default_workflow(there)
        found = [one for one in there if wanted in (one.id, one.name, one.path)]
        if not found:
            names = ", ".join(sorted({one.name for one in there}))
            raise Invalid(
                f"the project has no workflow {wanted[:200]!r}: it has {names[:1000]}",
                details=[_about("no such workflow")],
            )
        return found[-1]

    async def _paths(self, project: Project, commit: str | None) -> Collection[str]:
        if commit is None:
            return ()
        files = await self.core.repositories.workflow_files(project.id, commit)
        return {file.path for file in files}


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
    return {"path": "workflow", "message": message}
