"""A workflow as understood: what the coordinator stores and makes builds from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from pipelines_schema.cache_folders import CacheFolder
from pipelines_schema.cel_outputs import OutputName
from pipelines_schema.conditions import Condition
from pipelines_schema.gates import Gate
from pipelines_schema.git_history import DEFAULT_GIT, GitHistory, git_from_json, git_to_json
from pipelines_schema.image_build import ImageBuild
from pipelines_schema.includes import PinnedInclude
from pipelines_schema.limits import DEFAULT_GRACE_SECONDS, DEFAULT_TIMEOUT_SECONDS
from pipelines_schema.matrix import Matrix
from pipelines_schema.notify import Notify
from pipelines_schema.placeholders import output_words
from pipelines_schema.problem import Place
from pipelines_schema.services import Service
from pipelines_schema.step_groups import StepGroup
from pipelines_schema.step_reports import StepReports
from pipelines_schema.stored_json import without_absent
from pipelines_schema.trigger_types import Triggers, triggers_from_json, triggers_to_json

VERSION = 1
"""Of the stored JSON. A change that old code can't read takes the next number."""


class RetryCause(StrEnum):
    LOST = "lost"
    """The agent or its lease was lost."""
    TIMEOUT = "timeout"
    FAILURE = "failure"
    """The script exited non-zero, or the engine could not run it."""


class Ending(StrEnum):
    """How the dependencies of a step ended, taken together."""

    SUCCESS = "success"
    """All succeeded, or failed where that is allowed."""
    FAILURE = "failure"
    """At least one of them, or of what they depend on, failed."""
    CANCELLED = "cancelled"
    """The build was cancelled once at least one of them had begun."""


DEFAULT_RUN_ON = (Ending.SUCCESS,)


@dataclass(frozen=True, slots=True, kw_only=True)
class Retries:
    max: int
    """Attempts after the first, 0 to 10, whatever each was for."""
    on: tuple[RetryCause, ...] = tuple(RetryCause)
    """Empty where `max` is 0."""
    exit_codes: tuple[int, ...] = ()
    """Of scripts that are tried again though not every failure is."""
    delay_seconds: int = 0
    """Before each further attempt, 0 to 3600."""

    def covers(self, cause: RetryCause, attempts: int, exit_code: int | None = None) -> bool:
        """Whether the last of so many attempts, which ended by `cause`, is followed by another."""
        by_code = cause is RetryCause.FAILURE and exit_code in self.exit_codes
        return (by_code or cause in self.on) and attempts <= self.max


DEFAULT_RETRIES = Retries(max=2, on=(RetryCause.LOST,))
"""Where a step says nothing: a lost agent is no fault of the step's."""
NEVER = Retries(max=0, on=())
"""`retries: 0`: not even when the agent was lost."""


class Network(StrEnum):
    DEFAULT = "default"
    """What the engine gives."""
    NONE = "none"
    """Nothing but the step's own loopback interface."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """The most a step may use; None is no limit."""

    memory_bytes: int | None = None
    cpus: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Concurrency:
    """Of the project's builds of one group one is on its way; the newest of the others waits."""

    group: str
    """With its expressions still in it."""
    cancel_running: bool = False
    """A new build cancels the one on its way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    name: str
    image: str | None
    """A slug or an image reference; None where an image is built, of a gate (or in what older
    versions stored)."""
    script: str
    """Empty where an image is built, and of a gate."""
    image_place: Place | None = field(default=None, compare=False)
    """Where `image` stands in the file; not stored."""
    build: ImageBuild | None = None
    """The image that the step builds; None for a step that runs a script."""
    approve: Gate | None = None
    """What the build waits for here, instead of running anything."""
    depends_on: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    """The step's own; `step_environment` adds the workflow's."""
    cache_dirs: tuple[CacheFolder, ...] = ()
    output_paths: tuple[str, ...] = ()
    """Normalised paths or patterns relative to the workspace; a closing `/` marks a folder."""
    output_keeps: Mapping[str, int] = field(default_factory=dict)
    """Of which of these how long they are kept, in seconds from the end of the build; of the others
    the project's limits say it."""
    generates: str | None = None
    """The file that says which steps are to be added to the build; one of the `output_paths`."""
    reports: StepReports | None = None
    """The files in which its tools report; all of them are `output_paths`, too."""
    timeout_seconds: int = DEFAULT_TIMEOUT_SECONDS
    queue_timeout_seconds: int | None = None
    """How long it may wait for an agent once it is ready; None is as long as usual."""
    grace_seconds: int = DEFAULT_GRACE_SECONDS
    """How long a script that was asked to end may take for it; 0: it is killed at once."""
    retries: Retries = DEFAULT_RETRIES
    at_most_once: bool = False
    """Once an agent has accepted it, it is never handed out again."""
    agents: Mapping[str, str] = field(default_factory=dict)
    """Labels that an agent must have to run the step."""
    concurrency: StepGroup | None = None
    allow_failure: bool = False
    """The build goes on, and can succeed, where the step failed."""
    run_on: tuple[Ending, ...] = DEFAULT_RUN_ON
    """After which endings of its dependencies the step runs."""
    network: Network = Network.DEFAULT
    user: str | None = None
    """`uid` or `uid:gid`; None is the image's own."""
    workdir: str | None = None
    """Normalised path of the folder that the script begins in; None is the workspace itself."""
    shell: str | None = None
    """`sh`, `python` or a program with its arguments; None is bash."""
    resources: Resources = field(default_factory=Resources)
    git: GitHistory | None = DEFAULT_GIT
    """None: there is no `.git` in the workspace."""
    inputs: tuple[str, ...] | None = None
    """Patterns of the commit's files that the step is given, and that decide whether an earlier
    result of it is taken; None: it is given all, and always runs."""
    services: tuple[Service, ...] = ()
    """What runs beside the script, in the order of their start."""
    privileged: bool = False
    """With all rights over the engine's machine, where its operator and the project allow it."""
    secrets: tuple[str, ...] = ()
    """Names of the project's secrets that the step gets."""
    secret_places: Mapping[str, Place] = field(default_factory=dict, compare=False)
    """Where they stand in the file, for a build whose project lacks one; not stored."""
    when: Condition | None = None
    """The step is skipped where this is false."""
    matrix: Matrix | None = None
    matrix_values: Mapping[str, str] = field(default_factory=dict)
    """Of one combination, in a step that `expanded_steps` made."""
    matrix_of: str | None = None
    """Name of the step that it is a combination of."""
    fail_fast: bool = False
    """Its failure ends the other combinations."""

    @property
    def resolved_late(self) -> bool:
        """Whether, where or in what it runs is known only once all it depends on has ended."""
        return bool((self.when and self.when.outputs) or self.output_words)

    @property
    def output_words(self) -> dict[str, OutputName]:
        """Its `${{ outputs.… }}`."""
        of_build = (*self.build.tags, *self.build.args.values()) if self.build else ()
        return output_words((self.image or "", *self.agents.values(), *of_build))

    @property
    def wants_privileges(self) -> bool:
        """For itself, or for a service beside it."""
        return self.privileged or any(one.privileged for one in self.services)

    def to_json(self) -> dict[str, Any]:
        return _step_to_json(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Step:
        """What `to_json` wrote, in this release or an earlier one."""
        return _step_from_json(value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Workflow:
    name: str
    file: str | None
    """Path in the repository; None for a workflow made through the API."""
    triggers: Triggers
    env: Mapping[str, str] = field(default_factory=dict)
    concurrency: Concurrency | None = None
    fail_fast: bool = False
    """The first step that fails, and may not, ends the others."""
    timeout_seconds: int | None = None
    """Of a whole build, from the start of its first step; None: as long as its steps take."""
    notify: tuple[Notify, ...] = ()
    steps: tuple[Step, ...]
    """In the order of the file, at least one, names unique, free of cycles."""
    includes: tuple[PinnedInclude, ...] = ()
    """What it took from other projects."""

    def to_json(self) -> dict[str, Any]:
        """The workflow for storage; `from_json` reads it back."""
        return without_absent(
            version=VERSION,
            name=self.name,
            file=self.file,
            triggers=triggers_to_json(self.triggers),
            env=dict(self.env),
            concurrency=_concurrency_to_json(self.concurrency),
            failFast=self.fail_fast or None,
            timeoutSeconds=self.timeout_seconds,
            notify=[one.to_json() for one in self.notify] or None,
            steps=[step.to_json() for step in self.steps],
            includes=[one.to_json() for one in self.includes] or None,
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
            triggers=triggers_from_json(value["triggers"]),
            env=dict(value["env"]),
            concurrency=_concurrency_from_json(value.get("concurrency")),
            fail_fast=value.get("failFast", False),
            timeout_seconds=value.get("timeoutSeconds"),
            notify=tuple(map(Notify.from_json, value.get("notify", ()))),
            steps=tuple(Step.from_json(step) for step in value["steps"]),
            includes=tuple(map(PinnedInclude.from_json, value.get("includes", ()))),
        )


class UnreadableWorkflow(ValueError):
    """A stored workflow is of a version that this release can't read."""

    def __init__(self, version: object) -> None:
        super().__init__(f"a stored workflow of version {version!r}; this release reads {VERSION}")
        self.version = version


def step_environment(workflow: Workflow, step: Step) -> dict[str, str]:
    """The variables written in the workflow for this step: its own win over the workflow's."""
    return {**workflow.env, **step.env}


def _concurrency_to_json(concurrency: Concurrency | None) -> dict[str, Any] | None:
    if concurrency is None:
        return None
    return without_absent(group=concurrency.group, cancelRunning=concurrency.cancel_running or None)


def _concurrency_from_json(value: Mapping[str, Any] | None) -> Concurrency | None:
    if value is None:
        return None
    return Concurrency(group=value["group"], cancel_running=value.get("cancelRunning", False))


def _step_to_json(step: Step) -> dict[str, Any]:
    return without_absent(
        name=step.name,
        image=step.image,
        script=step.script,
        build=None if step.build is None else step.build.to_json(),
        approve=None if step.approve is None else step.approve.to_json(),
        dependsOn=list(step.depends_on),
        env=dict(step.env),
        cacheDirs=[cache.to_json() for cache in step.cache_dirs],
        outputPaths=list(step.output_paths),
        outputKeeps=dict(step.output_keeps) or None,
        generates=step.generates,
        reports=None if step.reports is None else step.reports.to_json(),
        timeoutSeconds=step.timeout_seconds,
        queueTimeoutSeconds=step.queue_timeout_seconds,
        graceSeconds=None if step.grace_seconds == DEFAULT_GRACE_SECONDS else step.grace_seconds,
        retries=_retries_to_json(step.retries),
        atMostOnce=step.at_most_once or None,
        agents=dict(step.agents),
        concurrency=None if step.concurrency is None else step.concurrency.to_json(),
        allowFailure=step.allow_failure or None,
        runOn=None if step.run_on == DEFAULT_RUN_ON else [ending.value for ending in step.run_on],
        network=None if step.network is Network.DEFAULT else step.network.value,
        user=step.user,
        workdir=step.workdir,
        shell=step.shell,
        memoryBytes=step.resources.memory_bytes,
        cpus=step.resources.cpus,
        git=git_to_json(step.git),
        inputs=None if step.inputs is None else list(step.inputs),
        services=[service.to_json() for service in step.services] or None,
        privileged=step.privileged or None,
        secrets=list(step.secrets) or None,
        when=None if step.when is None else step.when.to_json(),
        matrix=None if step.matrix is None else _matrix_to_json(step.matrix),
        matrixValues=dict(step.matrix_values) or None,
        matrixOf=step.matrix_of,
        failFast=step.fail_fast or None,
    )


def _retries_to_json(retries: Retries) -> dict[str, Any]:
    stored: dict[str, Any] = {"max": retries.max, "on": [cause.value for cause in retries.on]}
    if retries.exit_codes:
        stored["exitCodes"] = list(retries.exit_codes)
    if retries.delay_seconds:
        stored["delaySeconds"] = retries.delay_seconds
    return stored


def _retries_from_json(value: Mapping[str, Any]) -> Retries:
    """Before 0 meant never, it was also what a step had that said nothing: with all causes."""
    if value["max"] == 0 and value["on"]:
        return DEFAULT_RETRIES
    return Retries(
        max=value["max"],
        on=tuple(map(RetryCause, value["on"])),
        exit_codes=tuple(value.get("exitCodes", ())),
        delay_seconds=value.get("delaySeconds", 0),
    )


def _matrix_to_json(matrix: Matrix) -> dict[str, Any]:
    return {
        "axes": {name: list(values) for name, values in matrix.axes.items()},
        "include": [dict(one) for one in matrix.include],
        "exclude": [dict(one) for one in matrix.exclude],
        **({"failFast": True} if matrix.fail_fast else {}),
    }


def _matrix_from_json(value: Mapping[str, Any]) -> Matrix:
    return Matrix(
        axes={name: tuple(values) for name, values in value["axes"].items()},
        include=tuple(value["include"]),
        exclude=tuple(value["exclude"]),
        fail_fast=value.get("failFast", False),
    )


def _step_from_json(value: Mapping[str, Any]) -> Step:
    return Step(
        name=value["name"],
        image=value.get("image"),
        script=value["script"],
        build=ImageBuild.from_json(value["build"]) if "build" in value else None,
        approve=Gate.from_json(value["approve"]) if "approve" in value else None,
        depends_on=tuple(value["dependsOn"]),
        env=dict(value["env"]),
        cache_dirs=tuple(map(CacheFolder.from_json, value["cacheDirs"])),
        output_paths=tuple(value["outputPaths"]),
        output_keeps=dict(value.get("outputKeeps", {})),
        generates=value.get("generates"),
        reports=StepReports.from_json(value["reports"]) if "reports" in value else None,
        timeout_seconds=value["timeoutSeconds"],
        queue_timeout_seconds=value.get("queueTimeoutSeconds"),
        grace_seconds=value.get("graceSeconds", DEFAULT_GRACE_SECONDS),
        retries=_retries_from_json(value["retries"]),
        at_most_once=value.get("atMostOnce", False),
        agents=dict(value["agents"]),
        concurrency=StepGroup.from_json(value["concurrency"]) if "concurrency" in value else None,
        allow_failure=value.get("allowFailure", False),
        run_on=tuple(map(Ending, value.get("runOn", DEFAULT_RUN_ON))),
        network=Network(value.get("network", Network.DEFAULT)),
        user=value.get("user"),
        workdir=value.get("workdir"),
        shell=value.get("shell"),
        resources=Resources(memory_bytes=value.get("memoryBytes"), cpus=value.get("cpus")),
        git=git_from_json(value.get("git")),
        inputs=tuple(value["inputs"]) if "inputs" in value else None,
        services=tuple(map(Service.from_json, value.get("services", ()))),
        privileged=value.get("privileged", False),
        secrets=tuple(value.get("secrets", ())),
        when=Condition.from_json(value["when"]) if "when" in value else None,
        matrix=_matrix_from_json(value["matrix"]) if "matrix" in value else None,
        matrix_values=dict(value.get("matrixValues", {})),
        matrix_of=value.get("matrixOf"),
        fail_fast=value.get("failFast", False),
    )
