"""Which files `changed(…)` of a workflow's conditions is about."""

from __future__ import annotations

from collections.abc import Sequence

from coordinator.domain.model import Project
from coordinator.services.builds.drafts import Origin
from coordinator.services.core import Core
from coordinator.storage.builds import builds as stored
from pipelines_schema import Workflow

PUSH = "push"


async def changed_files(
    core: Core, project: Project, workflow: Workflow, origin: Origin
) -> Sequence[str] | None:
    """Those that differ from what the workflow's build is compared with: for a pull request where
    it left its base; for a push the commit of the branch's last build, so that nothing is passed
    over that a cancelled build was to look at; for all else the last that has succeeded.

    None where there is nothing to compare with.
    """
    sha, repositories = origin.commit_hash, core.repositories
    if sha is None:
        return None
    if origin.pull_request is not None:
        base = await repositories.merge_base(project.id, origin.pull_request.base, sha)
        if base is None:
            return None
        return await repositories.changed_paths(project.id, base, sha)
    built = await _last_built(core, project, workflow, origin)
    known = [one for one in (built, origin.before) if one is not None]
    compared = await repositories.oldest(project.id, known) if known else None
    if compared is not None:
        return await repositories.changed_paths(project.id, compared, sha)
    if origin.event != PUSH or origin.branch == await repositories.default_branch(project.id):
        return None
    return await repositories.changed_paths(project.id, None, sha)


async def _last_built(
    core: Core, project: Project, workflow: Workflow, origin: Origin
) -> str | None:
    file, branch = workflow.file, origin.branch
    if file is None or branch is None:
        return None
    return await core.database.read(
        lambda connection: stored.last_commit(
            connection,
            project.id,
            file,
            branch,
            not_of=origin.retry_of,
            succeeded=origin.event != PUSH,
        )
    )
