"""A workflow as understood: what the coordinator stores and makes builds from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from pipelines_schema.limits import DEFAULT_TIMEOUT_SECONDS

VERSION = 1
"""Of the stored JSON. A change that old code can't read takes the next number."""


class RetryCause(StrEnum):
    LOST = "lost"
    """The agent or its lease was lost."""
    TIMEOUT = "timeout"
    FAILURE = "failure"
    """The script exited non-zero, or the engine could not run it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retries:
    max: int = 0
    """Attempts after the first, 0 to 10."""
    on: tuple[RetryCause, ...] = tuple(RetryCause)

    def covers(self, cause: RetryCause, retries_done: int) -> bool:
        """Whether an attempt that ended by `cause` is followed by another."""
        return cause in self.on and retries_done < self.max


@dataclass(frozen=True, slots=True, kw_only=True)
class PushTrigger:
    branches: tuple[str, ...] | None = None
    """Patterns; None is every branch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PullRequestTrigger:
    branches: tuple[str, ...] | None = None
    """Patterns of the branch to be merged into; None is every branch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Triggers:
    push: PushTrigger | None = None
    """None: no push starts the workflow."""
    pull_request: PullRequestTrigger | None = None
    """None: no pull request starts the workflow."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    name: str
    image: str | None
    """A slug or an image reference; None only in what older versions stored."""
    script: str
    depends_on: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    """The step's own; `step_environment` adds the workflow's."""
    cache_dirs: tuple[str, ...] = ()
    """Normalised absolute paths, or `~/…` below the home folder of the image's user."""
    output_paths: tuple[str, ...] = ()
    """Normalised paths or patterns relative to the workspace; a closing `/` marks a folder."""
    timeout_seconds: int = DEFAULT_TIMEOUT_SECONDS
    retries: Retries = field(default_factory=Retries)
    agents: Mapping[str, str] = field(default_factory=dict)
    """Labels that an agent must have to run the step."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Workflow:
    name: str
    file: str | None
    """Path in the repository; None for a workflow made through the API."""
    triggers: Triggers
    env: Mapping[str, str] = field(default_factory=dict)
    steps: tuple[Step, ...]
    """In the order of the file, at least one, names unique, free of cycles."""

    def to_json(self) -> dict[str, Any]:
        """The workflow for storage; `from_json` reads it back."""
        return _without_absent(
            version=VERSION,
            name=self.name,
            file=self.file,
            triggers=_triggers_to_json(self.triggers),
            env=dict(self.env),
            steps=[_step_to_json(step) for step in self.steps],
        )

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Workflow:
        """What `to_json` wrote. Raises UnreadableWorkflow."""
        version = value.get("version")
        if version != VERSION:
            raise UnreadableWorkflow(version)
        return cls(
            name=value["name"],
            file=value.get("file"),
            triggers=_triggers_from_json(value["triggers"]),
            env=dict(value["env"]),
            steps=tuple(_step_from_json(step) for step in value["steps"]),
        )


class UnreadableWorkflow(ValueError):
    """A stored workflow is of a version that this release can't read."""

    def __init__(self, version: object) -> None:
        super().__init__(f"a stored workflow of version {version!r}; this release reads {VERSION}")
        self.version = version


def step_environment(workflow: Workflow, step: Step) -> dict[str, str]:
    """The variables written in the workflow for this step: its own win over the workflow's."""
    return {**workflow.env, **step.env}


def _step_to_json(step: Step) -> dict[str, Any]:
    return _without_absent(
        name=step.name,
        image=step.image,
        script=step.script,
        dependsOn=list(step.depends_on),
        env=dict(step.env),
        cacheDirs=list(step.cache_dirs),
        outputPaths=list(step.output_paths),
        timeoutSeconds=step.timeout_seconds,
        retries={"max": step.retries.max, "on": [cause.value for cause in step.retries.on]},
        agents=dict(step.agents),
    )


def _step_from_json(value: Mapping[str, Any]) -> Step:
    retries = value["retries"]
    return Step(
        name=value["name"],
        image=value.get("image"),
        script=value["script"],
        depends_on=tuple(value["dependsOn"]),
        env=dict(value["env"]),
        cache_dirs=tuple(value["cacheDirs"]),
        output_paths=tuple(value["outputPaths"]),
        timeout_seconds=value["timeoutSeconds"],
        retries=Retries(max=retries["max"], on=tuple(map(RetryCause, retries["on"]))),
        agents=dict(value["agents"]),
    )


def _triggers_to_json(triggers: Triggers) -> dict[str, Any]:
    written = {"push": triggers.push, "pullRequest": triggers.pull_request}
    return {
        name: {} if trigger.branches is None else {"branches": list(trigger.branches)}
        for name, trigger in written.items()
        if trigger is not None
    }


def _triggers_from_json(value: Mapping[str, Any]) -> Triggers:
    push, pull = value.get("push"), value.get("pullRequest")
    return Triggers(
        push=None if push is None else PushTrigger(branches=_branches_from_json(push)),
        pull_request=(
            None if pull is None else PullRequestTrigger(branches=_branches_from_json(pull))
        ),
    )


def _branches_from_json(value: Mapping[str, Any]) -> tuple[str, ...] | None:
    branches = value.get("branches")
    return None if branches is None else tuple(branches)


def _without_absent(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}
