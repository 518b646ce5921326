"""A workflow file with what it includes, as it is at a commit."""

from __future__ import annotations

import re
from collections.abc import Sequence

from coordinator.domain.errors import Invalid
from coordinator.domain.model import Project
from coordinator.domain.pushes.deliveries import is_ref
from coordinator.ports import RemoteFailed, WorkflowFile
from coordinator.services.builds.forge_source import ForgeSource, unfetchable
from coordinator.services.core import Core
from coordinator.services.parsing import parsed_workflow
from coordinator.services.projects.credentials import Credentials
from coordinator.storage.projects import projects as stored
from pipelines_schema import Include, Included, IncludedFile, Parsed, Problem
from pipelines_schema.problem import shown

_FULL_SHA = re.compile("[0-9a-f]{40}")
_OF_FORK = (
    "what outsiders wrote includes no file of another project: copy it into this repository, or "
    "let somebody of the project push the commit to a branch"
)


async def workflow_with_includes(
    core: Core, project: Project, sha: str, file: WorkflowFile, *, of_fork: bool
) -> Parsed:
    """Read twice where it includes files: to learn which, and with them.

    `of_fork`: outsiders wrote it, so it sees the files of its own commit alone.
    """
    parsed = await parsed_workflow(core.readings, project.account_id, file)
    if not parsed.includes:
        return _not_after_itself(parsed, project, file)
    included = await _own_files(core, project, sha, parsed.includes)
    of_others: dict[tuple[str, str | None], list[Include]] = {}
    for one in parsed.includes:
        if one.project is not None:
            of_others.setdefault((one.project, one.ref), []).append(one)
    for (slug, ref), wanted in of_others.items():
        if of_fork:
            included |= dict.fromkeys(wanted, IncludedFile(fault=_OF_FORK))
        else:
            included |= await _files_of(core, project, slug, ref, wanted)
    parsed = await parsed_workflow(core.readings, project.account_id, file, included)
    return _not_after_itself(parsed, project, file)


def _not_after_itself(parsed: Parsed, project: Project, file: WorkflowFile) -> Parsed:
    """Offline, nobody knows what the project is called."""
    triggers = parsed.workflow.triggers.build if parsed.workflow else ()
    problems = tuple(
        Problem(
            message=f"`build` names {shown(one.project)}, which is this project: name another one, "
            "or put the steps into that workflow, with `dependsOn`",
            file=file.path,
            line=one.place.line if one.place else None,
            column=one.place.column if one.place else None,
        )
        for one in triggers
        if one.project == project.slug
    )
    return Parsed(workflow=None, problems=problems) if problems else parsed


async def _own_files(
    core: Core, project: Project, sha: str, wanted: Sequence[Include]
) -> dict[Include, IncludedFile]:
    own = [one for one in wanted if one.project is None]
    contents = await core.repositories.files_at(project.id, sha, {one.file for one in own})
    return {one: _found(one, contents.get(one.file)) for one in own}


async def _files_of(
    core: Core, asking: Project, slug: str, ref: str | None, wanted: Sequence[Include]
) -> Included:
    """All at one commit. Only projects of the same account are looked for: of another's nothing
    tells whether it is there."""
    project = await core.database.read(
        lambda connection: stored.find_project_by_slugs(connection, asking.account_slug, slug)
    )
    if project is None:
        fault = f"this account has no project {shown(slug)}: write a project's name in its address"
        return dict.fromkeys(wanted, IncludedFile(fault=fault))
    try:
        sha = await _commit_of(core, project, ref)
    except (RemoteFailed, Invalid) as error:
        said = unfetchable(error) if isinstance(error, RemoteFailed) else str(error)
        fault = f"the project {shown(slug)}: {said}"
        return dict.fromkeys(wanted, IncludedFile(fault=fault))
    if sha is None:
        named = "no commit yet" if ref is None else f"no tag, branch or commit {shown(ref)}"
        fault = f"the project {shown(slug)} has {named}: push it first, or correct `ref`"
        return dict.fromkeys(wanted, IncludedFile(fault=fault))
    contents = await core.repositories.files_at(project.id, sha, {one.file for one in wanted})
    return {one: _found(one, contents.get(one.file), sha) for one in wanted}


async def _commit_of(core: Core, project: Project, ref: str | None) -> str | None:
    """A tag goes before a branch of the same name, as in git. Raises RemoteFailed, Invalid."""
    if project.repo_url is not None:
        return await _forges_commit(core, project, ref)
    if ref is not None and _FULL_SHA.fullmatch(ref):
        commit = await core.repositories.commit(project.id, ref)
        return None if commit is None else commit.sha
    branch = await core.repositories.default_branch(project.id) if ref is None else ref
    names = [f"refs/heads/{branch}"] if ref is None else [f"refs/tags/{ref}", f"refs/heads/{ref}"]
    refs = await core.repositories.history_refs(project.id, remote=False, tag=None)
    commits = {one.name: one.commit for one in refs}
    return next((commits[name] for name in names if name in commits), None)


async def _forges_commit(core: Core, project: Project, ref: str | None) -> str | None:
    """As the forge has it now, brought here."""
    source = ForgeSource(core, Credentials(core))
    if ref is None:
        names = [f"refs/heads/{await source.default_branch(project)}"]
    elif _FULL_SHA.fullmatch(ref):
        names = [ref]
    else:
        names = [name for kind in ("tags", "heads") if is_ref(name := f"refs/{kind}/{ref}")]
    for name in names:
        try:
            found = await source.fetch(project, [name])
        except RemoteFailed as error:
            if error.missing:
                continue
            raise
        commit = await core.repositories.commit(project.id, found[name])
        return None if commit is None else commit.sha
    return None


def _found(one: Include, content: bytes | None, sha: str | None = None) -> IncludedFile:
    if content is None:
        return IncludedFile(fault=one.not_there)
    return IncludedFile(content=content, sha=sha)
