"""What a workflow says of a build as a whole: its group, its timeout, what a failure ends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from coordinator.domain.model import Build, Project, Step
from coordinator.domain.steps.step_words import place_words
from pipelines_schema import Concurrency, Notify, Workflow, substituted

MAX_STEPS_TOLD = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class WholeBuild:
    """What a workflow says of a build as a whole."""

    concurrency: Concurrency | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    """The workflow's, for what a group may name."""
    fail_fast: bool = False
    timeout_seconds: int | None = None
    notify: Sequence[Notify] = ()

    @classmethod
    def of_workflow(cls, workflow: Workflow) -> WholeBuild:
        return cls(
            concurrency=workflow.concurrency,
            env=workflow.env,
            fail_fast=workflow.fail_fast,
            timeout_seconds=workflow.timeout_seconds,
            notify=workflow.notify,
        )

    @classmethod
    def of_build(cls, build: Build) -> WholeBuild:
        """As it was worked out."""
        group = build.concurrency_group
        return cls(
            concurrency=None
            if group is None
            else Concurrency(group=group, cancel_running=build.cancel_running),
            fail_fast=build.fail_fast,
            timeout_seconds=build.timeout_seconds,
            notify=build.notify,
        )

    def given_to(self, build: Build) -> Build:
        """A fork's build is in groups of its own, and notifies nobody."""
        notify = () if build.of_fork else tuple(self.notify)
        concurrency, group = self.concurrency, None
        if concurrency is not None:
            group = substituted(concurrency.group, place_words(build, self.env))
            own = _own_groups(build)
            group = group if group.startswith(own) else own + group
        return replace(
            build,
            concurrency_group=group,
            cancel_running=concurrency is not None and concurrency.cancel_running,
            fail_fast=self.fail_fast,
            timeout_seconds=self.timeout_seconds,
            notify=notify,
            tells=build.tells or bool(notify),
        )


def in_its_group(step: Step, build: Build, project: Project) -> Step:
    """A fork's steps are in groups of their own, also beside those of other projects' forks."""
    group = step.written.concurrency
    if group is None:
        return step
    name = group.with_values(place_words(build, step.written.env)).name
    own = _own_groups(build, f" of {project.slug}")
    return replace(step, concurrency_group=name if name.startswith(own) else own + name)


def told_of(step: Step, *, told: bool) -> Step:
    """Its states are told to others, if those of its build's steps are and it is one of the first:
    forges take only so many in an hour."""
    told = told and step.position < MAX_STEPS_TOLD
    return replace(step, definition=replace(step.definition, told=told))


def _own_groups(build: Build, of: str = "") -> str:
    """How the names of groups begin that only this pull request's, or only outsiders', builds
    join."""
    if not build.of_fork:
        return ""
    pull = build.pull_request
    return f"fork #{pull.number}{of}: " if pull else f"outside{of}: "
