"""Which workflow files a pushed commit has, and which of them it starts."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from coordinator.domain.model import Project
from coordinator.domain.pushes.deliveries import SKIPPED, PullRequest
from coordinator.domain.pushes.moved_refs import BRANCH, TAG, MovedRef
from coordinator.domain.reading import Answer
from coordinator.ports import MAX_WORKFLOW_FILES, Commit
from coordinator.services.builds.conditions import answers
from coordinator.services.builds.drafts import Lists, Origin
from coordinator.services.builds.included_files import workflow_with_includes
from coordinator.services.builds.input_lists import input_lists
from coordinator.services.core import Core
from coordinator.services.parsing import started_by_pull_request, started_by_push
from pipelines_schema import (
    Parsed,
    Problem,
    asks_to_skip,
    triggered_by_pull_request,
    triggered_by_tag,
)

MAX_TAGS_AT_ONCE = 20
"""A push of more tags is somebody's whole history, not that many releases."""
_WHAT_IT_CHANGES = {True: " that changes these files", False: " that changes no file"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedFile:
    path: str
    parsed: Parsed
    answers: Mapping[int, Answer] = field(default_factory=dict)
    """Those of the conditions, for the build that is to be made."""
    inputs: Lists = field(default_factory=dict)
    """The files that its steps' `inputs` name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StartedRef:
    """A ref that moved, with the workflow files that it starts."""

    origin: Origin
    files: Sequence[ParsedFile]
    by_hand: Sequence[ParsedFile] = ()
    """Workflows that are only made known, so that somebody can build them."""
    protected: bool = False
    """Its branch is the default one, whose pushes are built whatever else is."""
    line: str | None = None
    """Why nothing is built, for the one who pushed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Revision:
    commit: Commit
    files: Sequence[ParsedFile]


@dataclass(frozen=True, slots=True)
class StartedFiles:
    core: Core

    async def of_refs(
        self, project: Project, moved: Sequence[MovedRef]
    ) -> tuple[list[StartedRef], list[str]]:
        """What each pushed ref starts; and lines on what won't be built, and why."""
        pushed: list[StartedRef] = []
        lines: list[str] = []
        tags = [ref for ref in moved if ref.ref.startswith(TAG) and ref.new is not None]
        for ref in moved:
            if ref.new is not None and ref.ref.startswith(BRANCH):
                branch = ref.ref.removeprefix(BRANCH)
                found = await self._read_branch(project, branch, ref.old, ref.new)
                pushed.append(found) if isinstance(found, StartedRef) else lines.append(found)
        lines += [one.line for one in pushed if one.line is not None]
        if len(tags) > MAX_TAGS_AT_ONCE:
            lines.append(
                f"{len(tags)} tags at once: none of them is built; push one alone to build it"
            )
            return pushed, lines
        built = {one.origin.commit_hash for one in pushed if one.files}
        for ref in tags:
            tag = await self._read_tag(project, ref.ref.removeprefix(TAG), ref.new or "", built)
            pushed.append(tag) if isinstance(tag, StartedRef) else lines.append(tag)
        return pushed, lines

    async def of_pull(
        self, project: Project, pull: PullRequest
    ) -> tuple[StartedRef | None, list[str]]:
        """What a pull request's head starts, if anything; and lines on why it starts nothing."""
        revision = await self._revision(project, pull.head_sha, of_fork=pull.fork)
        if revision is None:
            return None, [f"{pull.head_sha[:10]} is not a commit, so nothing is built"]
        if asks_to_skip(revision.commit.message):
            return None, [SKIPPED]
        files = await self._started_by_pull(project, revision.files, pull)
        lines = [] if files else ["no workflow is triggered by this pull request"]
        if not files and not pull.has_new_code:
            how = "ready for review" if pull.was_draft else "labeled"
            lines = [f"no workflow is triggered by a pull request that is {how}"]
        origin = Origin.of_pull_request(pull, revision.commit)
        started = StartedRef(
            origin=origin,
            files=await self._answered(project, origin, files),
            protected=await self._is_protected(project, pull.head_branch, files),
        )
        return started, lines

    async def _read_branch(
        self, project: Project, branch: str, old: str | None, sha: str
    ) -> StartedRef | str:
        """What a branch's push starts, or the line that says why it starts nothing."""
        revision = await self._revision(project, sha)
        if revision is None:
            return f"{branch}: {sha[:10]} is not a commit, so nothing is built"
        if asks_to_skip(revision.commit.message):
            return f"{branch}: {SKIPPED}, so nothing is built"
        if not revision.files:
            return f"{branch}: no workflow at {sha[:10]}; add .pushrod.yml or .pushrod/ci.yml"
        changed = None
        if any(_looks_at_paths(file) for file in revision.files):
            changed = await self._changed(project, branch, old, sha)
        files = await self._started_by_push(project, revision.files, branch, changed)
        origin = replace(Origin.of_push(branch, revision.commit), before=old)
        line = f"{branch}: no workflow is triggered by a push to this branch" + (
            "" if changed is None else _WHAT_IT_CHANGES[bool(changed)]
        )
        return StartedRef(
            origin=origin,
            files=await self._answered(project, origin, files),
            by_hand=[file for file in revision.files if _is_manual(file)],
            protected=await self._is_protected(project, branch, files),
            line=None if files else line,
        )

    async def _is_protected(
        self, project: Project, branch: str, files: Sequence[ParsedFile]
    ) -> bool:
        """Of what no pull request starts, nobody asks."""
        if not any(_takes_pulls(file) for file in files):
            return False
        return branch == await self.core.repositories.default_branch(project.id)

    async def _changed(
        self, project: Project, branch: str, old: str | None, sha: str
    ) -> Sequence[str] | None:
        """A new branch is compared with the default one; that one with nothing."""
        repositories = self.core.repositories
        if old is None and branch == await repositories.default_branch(project.id):
            return None
        return await repositories.changed_paths(project.id, old, sha)

    async def _read_tag(
        self, project: Project, tag: str, sha: str, built: Collection[str | None]
    ) -> StartedRef | str:
        """The same for a tag; an annotated one stands for its commit.

        What that commit's message says of its branch's build doesn't count: releases are tags on
        commits that ask for none.
        """
        revision = await self._revision(project, sha)
        if revision is None:
            return f"{tag}: {sha[:10]} is not a commit, so nothing is built"
        files = [
            file
            for file in revision.files
            # The mistakes of a file are shown once, by the branch that brings the same commit.
            if (
                triggered_by_tag(file.parsed.workflow, tag)
                if file.parsed.workflow
                else revision.commit.sha not in built
            )
        ]
        if not files:
            return f"{tag}: no workflow is triggered by this tag"
        origin = Origin.of_tag(tag, revision.commit)
        return StartedRef(origin=origin, files=await self._answered(project, origin, files))

    async def _revision(
        self, project: Project, sha: str, *, of_fork: bool = False
    ) -> Revision | None:
        commit = await self.core.repositories.commit(project.id, sha)
        if commit is None:
            return None
        files = await self.core.repositories.workflow_files(project.id, commit.sha)
        read = [
            await workflow_with_includes(self.core, project, commit.sha, file, of_fork=of_fork)
            if position < MAX_WORKFLOW_FILES
            else _too_many_files(file.path)
            for position, file in enumerate(files)
        ]
        return Revision(
            commit=commit,
            files=[
                ParsedFile(path=file.path, parsed=parsed)
                for file, parsed in zip(files, read, strict=True)
            ],
        )

    async def _started_by_push(
        self,
        project: Project,
        files: Sequence[ParsedFile],
        branch: str,
        changed: Sequence[str] | None,
    ) -> list[ParsedFile]:
        """A file with mistakes always makes a (failed) build, so that somebody sees them."""
        started = []
        for file in files:
            workflow = file.parsed.workflow
            known: bool | Parsed = workflow is None
            if workflow is not None:
                asked = changed if _looks_at_paths(file) else None
                known = await started_by_push(
                    self.core.readings, project.account_id, workflow, branch, asked
                )
            started += _as_known(file, known)
        return started

    async def _started_by_pull(
        self, project: Project, files: Sequence[ParsedFile], pull: PullRequest
    ) -> list[ParsedFile]:
        """As for a push; mistakes are shown once, not again by each label that is given."""
        started = []
        changed = None
        if any(_looks_at_paths_of(pull, file) for file in files):
            changed = await self._changed_by_pull(project, pull)
        for file in files:
            workflow = file.parsed.workflow
            known: bool | Parsed = workflow is None and pull.has_new_code
            if workflow is not None:
                asked = changed if _looks_at_paths_of(pull, file) else None
                known = await started_by_pull_request(
                    self.core.readings, project.account_id, workflow, pull.facts, asked
                )
            started += _as_known(file, known)
        return started

    async def _changed_by_pull(self, project: Project, pull: PullRequest) -> Sequence[str] | None:
        repositories = self.core.repositories
        base = await repositories.merge_base(project.id, pull.base_branch, pull.head_sha)
        if base is None:
            return None
        return await repositories.changed_paths(project.id, base, pull.head_sha)

    async def _answered(
        self, project: Project, origin: Origin, files: Sequence[ParsedFile]
    ) -> list[ParsedFile]:
        """With what their conditions come to, and the files that they name: the transaction that
        saves them can't wait."""
        return [
            replace(
                file,
                answers=await answers(self.core, project, workflow, origin),
                inputs=await input_lists(self.core, project, workflow, origin),
            )
            if (workflow := file.parsed.workflow) is not None
            else file
            for file in files
        ]


def _too_many_files(path: str) -> Parsed:
    message = (
        f"a commit may have {MAX_WORKFLOW_FILES} workflow files: this and later ones are left out"
    )
    return Parsed(workflow=None, problems=(Problem(message=message, file=path),))


def _is_manual(file: ParsedFile) -> bool:
    return file.parsed.workflow is not None and file.parsed.workflow.triggers.manual is not None


def _takes_pulls(file: ParsedFile) -> bool:
    workflow = file.parsed.workflow
    return workflow is not None and workflow.triggers.pull_request is not None


def _looks_at_paths(file: ParsedFile) -> bool:
    push = file.parsed.workflow.triggers.push if file.parsed.workflow else None
    return push is not None and push.paths is not None


def _looks_at_paths_of(pull: PullRequest, file: ParsedFile) -> bool:
    workflow = file.parsed.workflow
    trigger = workflow.triggers.pull_request if workflow else None
    return (
        workflow is not None
        and trigger is not None
        and trigger.paths is not None
        and triggered_by_pull_request(workflow, pull.facts)
    )


def _as_known(file: ParsedFile, started: bool | Parsed) -> list[ParsedFile]:
    """The file where it is started, or with the mistake that keeps that from being known."""
    if isinstance(started, Parsed):
        return [replace(file, parsed=started)]
    return [file] if started else []
