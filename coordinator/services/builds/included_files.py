"""A workflow file with what it includes, as it is at a commit."""

from __future__ import annotations

from collections.abc import Sequence

from coordinator.domain.model import Project
from coordinator.ports import WorkflowFile
from coordinator.services.core import Core
from coordinator.services.parsing import parsed_workflow
from pipelines_schema import Include, Included, IncludedFile, Parsed

_NOT_BUILT = IncludedFile(fault="files of other projects are not supported yet")


async def workflow_with_includes(
    core: Core, project: Project, sha: str, file: WorkflowFile, *, of_fork: bool
) -> Parsed:
    """Read twice where it includes files: to learn which, and with them."""
    parsed = await parsed_workflow(core.readings, project.account_id, file)
    if not parsed.includes:
        return parsed
    included = await _included(core, project, sha, parsed.includes)
    return await parsed_workflow(core.readings, project.account_id, file, included)


async def _included(core: Core, project: Project, sha: str, wanted: Sequence[Include]) -> Included:
    own = [one for one in wanted if one.project is None]
    contents = await core.repositories.files_at(project.id, sha, {one.file for one in own})
    included = {one: _found(one, contents.get(one.file)) for one in own}
    return {one: included.get(one, _NOT_BUILT) for one in wanted}


def _found(one: Include, content: bytes | None, sha: str | None = None) -> IncludedFile:
    if content is None:
        return IncludedFile(fault=one.not_there)
    return IncludedFile(content=content, sha=sha)
