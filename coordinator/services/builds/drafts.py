"""From a workflow to a build with its steps, not yet saved."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from coordinator.domain.builds.generations import without_generated
from coordinator.domain.builds.keyed_requests import KeyedRequest
from coordinator.domain.builds.roll_up import ITS_TURN
from coordinator.domain.lifecycle import BuildState, StepState
from coordinator.domain.model import (
    TAKEN_OVER_EPOCH,
    Build,
    ModuleRef,
    Project,
    PullRequestRef,
    Step,
)
from coordinator.domain.people.permissions import Principal
from coordinator.domain.pushes.deliveries import HEADS, TAG, PullRequest, sha_of, short_name
from coordinator.domain.reading import Answer
from coordinator.domain.upstream import Upstream
from coordinator.ports import Commit
from coordinator.services.builds.drafted_steps import drafted, fresh, settled
from coordinator.services.builds.whole_build import WholeBuild
from coordinator.services.core import new_id
from pipelines_schema import (
    PinnedInclude,
    Place,
    Problem,
    Workflow,
    default_params,
)

MAX_MESSAGE_CHARACTERS = 10_000
TAKEN_OVER = "taken over from"
"""How the reason begins of a step that an earlier build has run."""


def without_last_line_end(message: str | None) -> str | None:
    """For what somebody gives us, or older builds kept."""
    return message.rstrip("\r\n") if message else message


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """What a build is made for."""

    event: str
    commit_hash: str | None = None
    branch: str | None = None
    commit_message: str | None = None
    commit_author: str | None = None
    tag: str | None = None
    params: Mapping[str, str] | None = None
    repo_url: str | None = None
    retry_of: str | None = None
    pull_request: PullRequestRef | None = None
    module: ModuleRef | None = None
    clean: bool = False
    outside: bool = False
    started_by: str | None = None
    before: str | None = None
    """What the branch was before the push; None where it is new, or nothing was pushed."""
    upstream: Upstream | None = None
    trusted_ref: str | None = None
    """As `Build.trusted_ref`: from a look into the repository, never what somebody says."""

    def by(self, principal: Principal | None) -> Origin:
        return self if principal is None else replace(self, started_by=principal.name)

    @property
    def of_fork(self) -> bool:
        return self.outside or (self.pull_request is not None and self.pull_request.fork)

    @classmethod
    def of_retry(cls, build: Build) -> Origin:
        """What the build was made for, once more."""
        return cls(
            event=build.event,
            commit_hash=build.commit_hash,
            branch=build.branch,
            commit_message=without_last_line_end(build.commit_message),
            commit_author=build.commit_author,
            tag=build.tag,
            params=build.params,
            repo_url=build.repo_url,
            retry_of=build.id,
            pull_request=build.pull_request,
            module=build.module,
            clean=build.clean,
            outside=build.outside,
            upstream=build.upstream,
            trusted_ref=build.trusted_ref,
        )

    @classmethod
    def of_push(cls, branch: str, commit: Commit) -> Origin:
        return cls(
            event="push",
            commit_hash=commit.sha,
            branch=branch,
            commit_message=without_last_line_end(commit.message[:MAX_MESSAGE_CHARACTERS]),
            commit_author=commit.author[:1000],
            trusted_ref=f"{HEADS}{branch}" if branch else None,
        )

    @classmethod
    def of_pull_request(cls, pull: PullRequest, commit: Commit) -> Origin:
        """A fork's branch is named by the number: its `main` must not be taken for ours."""
        pushed = cls.of_push("", commit)
        return replace(
            cls.of_pull_request_event(pull),
            commit_hash=pushed.commit_hash,
            commit_message=pushed.commit_message,
            commit_author=pushed.commit_author,
        )

    @classmethod
    def of_pull_request_event(cls, pull: PullRequest) -> Origin:
        """Where the commit itself is not known."""
        return cls(
            event="pullRequest",
            commit_hash=sha_of(pull.head_sha),
            branch=f"pull/{pull.number}" if pull.fork else pull.head_branch,
            pull_request=PullRequestRef(
                number=pull.number,
                head=pull.head_branch,
                base=pull.base_branch,
                fork=pull.fork,
                labels=pull.labels,
                draft=pull.draft,
                title=pull.title,
            ),
        )

    @classmethod
    def of_ref(cls, ref: str, sha: str) -> Origin:
        """Where the commit itself is not known."""
        if ref.startswith(TAG):
            return cls(event="tag", commit_hash=sha, tag=short_name(ref), trusted_ref=ref)
        return cls(event="push", commit_hash=sha, branch=short_name(ref), trusted_ref=ref)

    @classmethod
    def of_tag(cls, tag: str, commit: Commit) -> Origin:
        pushed = cls.of_push("", commit)
        return replace(pushed, event="tag", branch=None, tag=tag, trusted_ref=f"{TAG}{tag}")


@dataclass(frozen=True, slots=True, kw_only=True)
class InputList:
    """The commit's files that a step's `inputs` name."""

    digest: str
    packed: bytes


Lists = Mapping[tuple[str, ...], InputList]
"""By the patterns; those that could not be looked at are missing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A build that still lacks its number."""

    workflow_name: str
    origin: Origin
    workflow_id: str | None = None
    file: str | None = None
    """The workflow's, to which the places in its steps belong."""
    steps: Sequence[Step] = ()
    problems: Sequence[Problem] = ()
    reason: str | None = None
    keyed: KeyedRequest | None = None
    """The request for it, where that may be sent again."""
    secret_places: Mapping[str, tuple[str | None, Place]] = field(default_factory=dict)
    """Where a secret is first named: file and place."""
    includes: Sequence[PinnedInclude] = ()
    held: bool = False
    """Waits for a maintainer's approval; none of its steps is ready."""
    input_lists: Mapping[str, bytes] = field(default_factory=dict)
    """Packed lists of the files that its steps' `inputs` name, by their digests."""
    whole: WholeBuild = field(default_factory=WholeBuild)
    taken_over_from: str | None = None
    """Id of the build whose results some steps have, as they are."""
    id: str = field(default_factory=new_id)

    def build(self, project: Project, number: int, now: datetime) -> Build:
        """Queued or held; failed where the workflow has problems; over where all is skipped."""
        broken = bool(self.problems) or self.reason is not None
        over = bool(self.steps) and all(step.state is StepState.SKIPPED for step in self.steps)
        waiting = BuildState.HELD if self.held else BuildState.QUEUED
        state = BuildState.SUCCEEDED if over else waiting
        build = Build(
            id=self.id,
            project_id=project.id,
            account_id=project.account_id,
            workflow_id=self.workflow_id,
            workflow_name=self.workflow_name,
            number=number,
            state=BuildState.FAILED if broken else state,
            event=self.origin.event,
            version=1,
            reason=self.reason or ("the workflow has mistakes" if broken else None),
            problems=[problem.to_json() for problem in self.problems],
            commit_hash=self.origin.commit_hash,
            repo_url=self.origin.repo_url,
            branch=self.origin.branch,
            commit_message=self.origin.commit_message,
            commit_author=self.origin.commit_author,
            tag=self.origin.tag,
            params=self.origin.params,
            retry_of=self.origin.retry_of,
            pull_request=self.origin.pull_request,
            module=self.origin.module,
            includes=self.includes,
            clean=self.origin.clean,
            started_by=self.origin.started_by,
            outside=self.origin.outside,
            open_gates=sum(step.state is StepState.WAITING for step in self.steps),
            tells=project.tells,
            starts_others=project.starts_others,
            upstream=self.origin.upstream,
            trusted_ref=self.origin.trusted_ref,
            created_at=now,
            updated_at=now,
            finished_at=now if broken or over else None,
        )
        return self.whole.given_to(build)


def draft(
    workflow: Workflow,
    project: Project,
    origin: Origin,
    workflow_id: str | None,
    now: datetime,
    *,
    answers: Mapping[int, Answer],
    inputs: Lists | None = None,
) -> Draft:
    """The workflow's steps, those whose condition is false skipped with what follows from it.

    `answers` are those to the steps' conditions, where they can be known yet. One that can't be
    worked out makes a draft with a problem, that is a failed build. `inputs` are the files that the
    steps' own name.
    """
    build_id = new_id()
    origin = with_default_params(workflow, origin)
    lists = inputs or {}
    digests = {patterns: one.digest for patterns, one in lists.items()}
    steps, problems = drafted(workflow, project, build_id, now, answers, input_files=digests)
    return Draft(
        id=build_id,
        workflow_name=workflow.name,
        workflow_id=workflow_id,
        file=workflow.file,
        includes=workflow.includes,
        origin=origin,
        input_lists={one.digest: one.packed for one in lists.values()},
        whole=WholeBuild.of_workflow(workflow),
        steps=() if problems else settled(steps, now),
        problems=problems,
        secret_places={
            name: (place.file or workflow.file, place)
            for step in reversed(workflow.steps)
            for name, place in step.secret_places.items()
        },
    )


def with_default_params(workflow: Workflow, origin: Origin) -> Origin:
    if origin.params is None and workflow.triggers.params:
        return replace(origin, params=default_params(workflow.triggers.params))
    return origin


def redraft(
    build: Build,
    steps: Sequence[Step],
    project: Project,
    now: datetime,
    *,
    again: Collection[str] | None = None,
) -> Draft:
    """The same steps once more, as a new build; where only some run `again`, the others keep what
    they have come to."""
    build_id = new_id()
    steps = without_generated(steps, again)
    return Draft(
        id=build_id,
        workflow_name=build.workflow_name,
        workflow_id=build.workflow_id,
        origin=Origin.of_retry(build),
        whole=WholeBuild.of_build(build),
        includes=build.includes,
        problems=[Problem.from_json(dict(problem)) for problem in build.problems],
        steps=settled(
            [
                fresh(
                    replace(step.definition, outputs={}, splits=0),
                    step.position,
                    project,
                    build_id,
                    now,
                )
                if again is None or step.name in again
                else _taken_over(step, build, build_id)
                for step in steps
            ],
            now,
        ),
        taken_over_from=None if again is None else build.id,
    )


def hold(wanted: Draft) -> Draft:
    """The same draft, waiting for approval: its first steps become ready when it is given."""
    return replace(blocked(wanted), held=True)


def blocked(wanted: Draft) -> Draft:
    """The same draft, of which no step is ready."""
    steps = [
        replace(step, state=StepState.BLOCKED, ready_at=None) if step.state in ITS_TURN else step
        for step in wanted.steps
    ]
    return replace(wanted, steps=steps)


def _taken_over(step: Step, build: Build, build_id: str) -> Step:
    """The step with its result, as one of another build; its times are those of when it ran."""
    reason = step.reason
    if step.state is StepState.SUCCEEDED and not (reason or "").startswith(TAKEN_OVER):
        reason = f"{TAKEN_OVER} #{build.number}"
    return replace(
        step,
        id=new_id(),
        build_id=build_id,
        epoch=TAKEN_OVER_EPOCH if step.attempt else 0,
        attempt=1 if step.attempt else 0,
        lost_count=0,
        cancel_requested_by=None,
        reason=reason,
        ready_at=None,
        queue_until=None,
    )
