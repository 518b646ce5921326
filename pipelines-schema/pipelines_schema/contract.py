"""The wire contract between coordinator and agents: one definition, used by both sides.

JSON is camelCase; an absent value is left out, never null; unknown fields are ignored so that
the two sides may be of different versions.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from pipelines_schema.contract_images import (
    BuiltImage,
    ImageBuildSpec,
    OwnRegistriesSpec,
    RegistryLogin,
)
from pipelines_schema.contract_outputs import DependencySpec
from pipelines_schema.contract_sources import SourceSpec
from pipelines_schema.limits import MAX_PLATFORMS
from pipelines_schema.wire import DIGEST, WireModel

FOR_AGENTS_ALONE = "pushrod-agent"
"""Among the words of the header Connection: an agent sends nothing by this connection but polls,
renewals, accepts and completions, each with its own credential, so that a coordinator which serves
agents, and leaves the rest to another, need not look for anything else there."""
LEASE_SECONDS = 60.0
"""How long a hand-out lives without a renewal, as the coordinator counts: from when it heard of
the agent. The agent counts from when it sent what was answered, so its own end comes first."""
ACCEPT_WITHIN_SECONDS = 5.0
POLL_HOLD_SECONDS = 50.0
"""How long the coordinator holds an idle poll; at most 55 s by the design."""


class StepStatus(StrEnum):
    """A step's status as JSON shows it (an offered step shows as READY)."""

    BLOCKED = "BLOCKED"
    READY = "READY"
    RUNNING = "RUNNING"
    SUCCESS = "SUCCESS"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    SKIPPED = "SKIPPED"


class Completion(StrEnum):
    SUCCESS = "success"
    FAILED = "failed"


class CompletionReason(StrEnum):
    """Why an attempt ended as it did, where the exit code does not say it."""

    TIMEOUT = "timeout"
    CANCELLED = "cancelled"
    LOST = "lost"
    """The agent died under the script: the coordinator hands the step out again."""
    ENGINE = "engine"
    """The engine could not run it (no such image, engine away): see the message."""
    OUT_OF_MEMORY = "outOfMemory"
    OUTPUTS = "outputs"
    """The declared outputs could not be stored: see the message."""
    IMAGE = "image"
    """The image could not be built or pushed: see the message."""
    SECRETS = "secrets"
    """A secret that the step names is gone: see the message."""
    SERVICES = "services"
    """A service was never ready, or ended before the script: see the message."""
    SOURCE = "source"
    """The source or a dependency's artifacts could not be fetched: see the message."""


class Capability(StrEnum):
    """What some agents' engines can do and others' can't."""

    IMAGE_BUILDS = "imageBuilds"
    OWN_COMMANDS = "ownCommands"
    HEALTH_CHECKS = "healthChecks"
    """Runs an image by its own command."""
    USERS = "users"
    """Knows `user` of a step: runs it so, or fails it with words."""
    SHELLS = "shells"
    """Knows `workdir` and `shell`."""
    IMAGE_OPTIONS = "imageOptions"
    """Builds images for several platforms, with attestations, and with layers that registries
    keep; or says why its engine can't."""
    IMAGE_PARTS = "imageParts"
    """Builds parts of images, of the platforms that it names besides (`platform:linux/arm64`), and
    joins parts."""
    INPUTS = "inputs"
    """Knows `inputs`: gives the step no other file of the commit, and names the image it ran in."""
    SERVICES = "services"
    """Knows `services`: runs them beside the step, or fails it with words."""
    PRIVILEGED = "privileged"
    """Its operator allows `privileged`, of steps and services."""


class LeaseRef(WireModel):
    step_id: str
    epoch: int


class RegisterRequest(WireModel):
    name: str = Field(min_length=1, max_length=100)
    labels: dict[str, str] = {}
    slots: int = Field(default=1, ge=1, le=1000)
    instance: str | None = Field(default=None, max_length=100)
    """Of this process of the agent: a fresh id for each."""
    previous: str | None = Field(default=None, repr=False)
    """The credential that was refused to this agent. Nothing runs any more of what was handed out
    under it, so that it is lost at once; `instance` says whose. Sent to who issued it alone."""


class RegisterResponse(WireModel):
    agent_id: str
    token: str
    """The agent's own credential, shown once."""


class PollRequest(WireModel):
    labels: dict[str, str] = {}
    free: int = Field(ge=0, le=1000)
    """Slots that are free now; offers not yet accepted count against it."""
    leases: list[LeaseRef] = []
    disk: dict[str, int] = {}
    """`freeBytes`, `totalBytes` and `floorBytes` of the agent's data folder, or of its engine's
    where that is shorter: with less free than the floor the agent takes no work."""
    capabilities: list[str] = []
    """`Capability` values; unknown ones are of a newer agent and mean nothing."""
    warm: list[str] = []
    """Project ids whose source this agent has."""
    seen: str = ""
    """The cursor of the last answer; opaque."""
    instance: str | None = Field(default=None, max_length=100)
    """Of this process of the agent. What an earlier one held and this one does not name in
    `leases` is lost. Who names an instance ends a script by itself when its lease is over."""
    takes_begun: bool = False
    """The answer may bring `begun`; only with an `instance`."""
    declined: list[LeaseRef] = []
    """What this process was given and has not begun, and will not begin."""


class Offer(WireModel):
    step_id: str
    epoch: int
    accept_within_seconds: float = ACCEPT_WITHIN_SECONDS


class RenewRequest(WireModel):
    leases: list[LeaseRef]
    instance: str | None = Field(default=None, max_length=100)


class RenewResponse(WireModel):
    cancels: list[LeaseRef] = []
    lost: list[LeaseRef] = []
    lost_because: str | None = None


class GoodbyeRequest(WireModel):
    """The agent's process ends. What it holds and does not name here is lost at once."""

    instance: str = Field(max_length=100)
    leases: list[LeaseRef] = []
    """Of attempts whose journal its next process reports."""


class AcceptRequest(WireModel):
    epoch: int


class CacheDir(WireModel):
    path: str
    """Absolute path in the container."""
    id: str
    """The cache's identity: a digest of project, step name, path and generation."""
    replaces: str | None = None
    """The cache of which this one has taken the place: an agent that has it may remove it."""
    key: list[str] = []
    """Patterns of the commit's files: the cache is `id` for this content of theirs alone."""
    begins_as: list[str] = []
    """Where it holds nothing yet, it begins as a copy of the first of these that does. They are
    only read."""


class ServiceSpec(WireModel):
    """What runs beside a step, every value filled in."""

    name: str
    """A DNS label, by which the step and the services after it reach it."""
    image: str
    image_digest: str | None = None
    """What `image` means in this build, where one of its steps found or pushed it already."""
    env: dict[str, str] = {}
    command: list[str] = []
    """Instead of the image's command; empty: the image's own."""
    user: str | None = None
    memory_bytes: int | None = None
    privileged: bool = False
    tcp: int | None = None
    """It is ready once this port takes connections; of this and the next two, one at most."""
    http: str | None = None
    exec: list[str] = []
    ready_seconds: float
    """How long that may take."""


class HealthCheck(WireModel):
    """By what a program is known to be well: its port takes a connection, or answers a request."""

    port: int = Field(ge=1, le=65_535)
    path: str | None = None
    """Of the request, whose answer must have a status from 200 to 399; None: a connection does."""
    start_seconds: float
    """How long its first answer may take."""


class HealthyRequest(WireModel):
    """The program of the attempt has answered its health check."""

    epoch: int


class StepSpec(WireModel):
    """All an agent needs to run one attempt of a step."""

    step_id: str
    epoch: int
    traceparent: str | None = None
    """As W3C Trace Context has it: the attempt's span, where the coordinator tells of traces."""
    attempt: int
    name: str
    build_id: str
    build_number: int
    project_id: str
    isolation: str | None = None
    """Attempts with different words here must not reach each other's files and processes; where
    it is missing, the project's id counts."""
    image: str | None = None
    """Image reference, resolved from the slug; the host engine ignores it."""
    image_digest: str | None = None
    """What `image` means in this build, where one of its steps found or pushed it already."""
    settles_images: bool = False
    """The coordinator wants to be told what an agent finds under `image`: `SettleImageRequest`."""
    script: str
    own_command: bool = False
    """Run what `image` itself starts with, instead of `script`, which is empty then. There is no
    workspace."""
    health: HealthCheck | None = None
    """Of an own command: asked until it is well, which is told by `HealthyRequest`, and then on."""
    build: ImageBuildSpec | None = None
    """The image to build instead of running `script`, which is empty then."""
    registries: list[RegistryLogin] = Field(default=[], repr=False)
    """Logins of the project and its account, for images to pull and to push."""
    own_registries: OwnRegistriesSpec | None = None
    """What the step may push and pull where all accounts do; checked before either is done."""
    refused: str | None = None
    """Why it must not run, for people: the agent fails it with these words."""
    refused_for: CompletionReason = CompletionReason.IMAGE
    """The reason that goes with them."""
    env: dict[str, str] = {}
    """The step's environment, the `PUSHROD_*` variables included."""
    secret_names: list[str] = []
    """The secrets that the script must have."""
    secrets: dict[str, str] = Field(default={}, repr=False)
    """Their values; one that is missing was deleted since the build was made."""
    network: str | None = None
    """`none`: no network but loopback."""
    user: str | None = None
    """`uid` or `uid:gid`, instead of the image's own."""
    workdir: str | None = None
    """The folder below the workspace that the script begins in."""
    shell: str | None = None
    """`sh`, `python`, or a program with its arguments, instead of bash."""
    memory_bytes: int | None = None
    cpus: float | None = None
    services: list[ServiceSpec] = []
    privileged: bool = False
    """Of the script's container; a service says it itself."""
    """In the order of their start."""
    cache_dirs: list[CacheDir] = []
    clean: bool = False
    """Nothing that earlier builds left may be used: the caches named are new ones, which later
    builds take over if this attempt succeeds."""
    output_paths: list[str] = []
    """Paths or glob patterns (`dist/*.whl`, `reports/`) relative to the workspace."""
    timeout_seconds: float
    grace_seconds: float = 10.0
    """How long a script that was asked to end may take for it; 0: it is killed at once."""
    lease_seconds: float = LEASE_SECONDS
    ends_with_lease: bool = True
    """False for a step that may never be handed out again: its script runs on without a lease, for
    its result is waited for."""
    source: SourceSpec | None = None
    dependencies: list[DependencySpec] = []
    batches: bool = False
    """The coordinator takes and gives artifacts in batches, and keeps links and folders."""
    token: str
    """A token for this attempt alone: source, artifacts, log."""


class PollResponse(WireModel):
    offers: list[Offer] = []
    begun: list[Annotated[StepSpec | LeaseRef, Field(union_mode="left_to_right")]] = []
    """Accepted already: these run. Told with each answer until a poll or a renewal names them, so
    that what the agent has had before comes once more where two answers were on their way. A lease
    is what an agent reads of one that it can't understand; all else in the answer is obeyed."""
    held_seconds: float = Field(default=0.0, ge=0)
    """How long the poll had been here when the leases of `begun` began: they count from when it was
    sent and this much more."""
    cancels: list[LeaseRef] = []
    lost: list[LeaseRef] = []
    """Leases that are no longer the agent's: it kills that work and forgets it."""
    lost_because: str | None = None
    """For people, where there is more to say than that it was silent."""
    drain: bool = False
    seen: str = ""


class NextStep(WireModel):
    """Asked for with a completion: the slot that it frees may be given another step at once."""

    instance: str = Field(max_length=100)
    """Of this process of the agent. What was handed over to an earlier one, and is not named by a
    later one, goes back as if it had never been handed out."""


class CompleteRequest(WireModel):
    status: Completion
    logs: str | None = None
    """For workers without the log protocol: the whole log, used when none was sent."""
    output_paths: list[str] | None = None
    exit_code: int | None = None
    epoch: int | None = None
    log_bytes: int | None = Field(default=None, ge=0)
    log_sha256: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")
    reason: CompletionReason | None = None
    message: str | None = Field(default=None, max_length=4096)
    """One or more sentences for people: what went wrong and what to do."""
    images: list[BuiltImage] | None = Field(default=None, max_length=100)
    """What the step pushed, one for each tag."""
    outputs: dict[str, str] = {}
    """What the script wrote to `$PUSHROD_OUTPUT`: see `step_outputs`."""
    parts: list[str] | None = Field(default=None, max_length=MAX_PLATFORMS)
    """Of a failed attempt whose spec had `maySplit`: nothing was built, it is to be built in a part
    for each of these platforms."""
    image_digest: str | None = Field(default=None, pattern=DIGEST)
    """Of the image that the script ran in; None where it ran in none."""
    next: NextStep | None = None


class CompleteResponse(WireModel):
    success: bool
    step_status: StepStatus
    build_complete: bool
    next: StepSpec | None = None
    """A step for the agent that asked for one: already accepted, its lease begun. The same
    completion, repeated, is answered with the same one."""
