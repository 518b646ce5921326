"""What the agent asks of an engine: run one attempt of a step, and leave nothing behind."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Protocol

from agent.engines.end_request import EndRequest
from pipelines_schema.contract import HealthCheck, ServiceSpec
from pipelines_schema.contract_images import BuiltImage, ImageBuildSpec, RegistryLogin
from pipelines_schema.log_frames import Stream
from pipelines_schema.own_registries import OwnRegistries


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheMount:
    id: str
    """Identity of the cache; the same id is the same cache for every later attempt."""
    path: str
    """Absolute path where the script sees it."""
    replaces: str | None = None
    """A cache that nobody gets any more since a clean build: the engine may remove it."""
    begins_as: Sequence[str] = ()
    """Identities of other caches: where this one holds nothing yet, it begins as a copy of the
    first that holds anything. They are only read."""
    outlived: Sequence[str] = ()
    """Those of the same folder for contents of its key that are long gone: the engine may remove
    them."""


BEGINS_AS_COPY = "pushrod: the cache {path} begins as a copy of an earlier one"
"""A line of the step's log."""


class GitFolder(Protocol):
    """A `.git` in two parts, folders to be laid over each other in the workspace.

    Nothing of it may be changed: what a script can write to is a copy, or sees it read-only.
    """

    @property
    def small(self) -> Path:
        """Holds `.git`, with all but the packs."""
        ...

    @property
    def large(self) -> Path:
        """Holds `.git/objects/pack` with its packs."""
        ...


class GitTree(Protocol):
    """The repository that belongs to a source, lent while an engine copies it."""

    @property
    def key(self) -> str:
        """As a source's own."""
        ...

    def open(self) -> AbstractAsyncContextManager[GitFolder]:
        """Lend it, unchanged until the context ends."""
        ...


class SourceTree(Protocol):
    """The source at the attempt's commit, lent while an engine copies it."""

    @property
    def git(self) -> GitTree | None:
        """None: the workspace has no `.git`."""
        ...

    @property
    def key(self) -> str:
        """Stable name of the folder behind it, so that an engine can send only differences."""
        ...

    def open(self) -> AbstractAsyncContextManager[Path]:
        """Lend the folder, unchanged until the context ends. The engine never writes to it."""
        ...


class AttemptTerm(Protocol):
    """Until when the attempt may run, by CLOCK_BOOTTIME; it moves on as its lease is renewed."""

    @property
    def ends_at(self) -> float: ...

    def follow(self, follower: Callable[[float], None]) -> Callable[[], None]:
        """Have later ends told; returns what stops that."""
        ...


class TagNotSettledError(Exception):
    """The coordinator does not keep what the tag means; the message is its own."""


SettleImage = Callable[[str], Awaitable[str]]
SettleTag = Callable[[str, str], Awaitable[str]]
"""Told a complete tag and the digest found for it: answers with the one to use. Raises
TagNotSettledError."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRequest:
    attempt_id: str
    """Unique per attempt; letters, digits, `-`."""
    step_name: str
    isolation: str = ""
    """Attempts of one name may meet each other; what has different names must not."""
    image: str | None
    """Image reference. The host engine ignores it; the BuildKit engine refuses None."""
    image_digest: str | None = None
    """Which image that is, where the build knows it already."""
    settle_image: SettleImage | None = None
    """Told the digest found for `image` where none is given: answers with the one to use."""
    script: str
    health: HealthCheck | None = None
    """Of an own command: one that does not become well, or stay so, is ended."""
    tell_healthy: Callable[[], Awaitable[None]] | None = None
    """Called once it is well."""
    own_command: bool = False
    """Run what the image itself starts with, by its own user in its own folder, instead of
    `script`; with no workspace and no outputs. The host engine refuses it."""
    env: Mapping[str, str]
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Given to the script as variables, and as files in the folder PUSHROD_SECRETS names."""
    registries: Sequence[RegistryLogin] = field(default=(), repr=False)
    """For the step's image, where its registry asks."""
    own_registries: OwnRegistries | None = None
    """Whose images are whose, for `image`; None where the coordinator says nothing of it."""
    user: str = ""
    """`uid` or `uid:gid` instead of the image's own. The host engine refuses it."""
    workdir: str = ""
    """The folder below the workspace that the script begins in."""
    shell: str = ""
    """`bash`, which it is if empty, `sh`, `python`, or a program with its arguments."""
    offline: bool = False
    """No network but loopback. An engine that can't do that refuses the step."""
    memory_bytes: int | None = None
    cpus: float | None = None
    """Limits; an engine that can't enforce one says so in the result's notes."""
    privileged: bool = False
    """With all rights over the engine's machine; a service says it itself."""
    services: Sequence[ServiceSpec] = ()
    """Run beside the script, in this order. An engine that can't refuses the step."""
    settle_tag: SettleTag | None = None
    """For the services' images."""
    cache_mounts: Sequence[CacheMount] = ()
    clean: bool = False
    """Use nothing that earlier builds left. The caches are new ones, which nobody will ask for
    again if the script fails."""
    output_paths: Sequence[str] = ()
    """Paths and glob patterns relative to the workspace; a folder means all below it."""
    timeout_seconds: float
    grace_seconds: float = 0.0
    """How long the script may take once it was asked to end, at its timeout or by `end`; 0: nobody
    asks it, it is killed."""
    end: EndRequest = field(default_factory=EndRequest)
    """A script that ends by it has no outputs collected; its log is whole."""
    term: AttemptTerm | None = None
    """None: the attempt may run on, whatever becomes of its lease. See `Engine.ends_at_term`."""
    source: SourceTree | None = None
    inputs: Path | None = None
    """A folder laid over the source in the workspace: the dependencies' artifacts."""
    outputs: Path
    """An empty folder, there if `output_paths` are; the engine leaves the collected output files in
    it by their relative paths: files, folders and links, with permission bits and times. Links may
    lead anywhere: they are not for us to follow."""
    scratch: Path
    """An empty folder for the engine's own use, there if `output_paths` are; the caller removes
    it."""

    @property
    def wants_privileges(self) -> bool:
        return self.privileged or any(one.privileged for one in self.services)

    @property
    def brings_files(self) -> bool:
        """Whether there is something in the workspace when the script begins."""
        return self.source is not None or self.inputs is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRequest:
    """One attempt of a step that builds an image."""

    attempt_id: str
    step_name: str
    build: ImageBuildSpec
    registries: Sequence[RegistryLogin] = field(default=(), repr=False)
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    """For `RUN --mount=type=secret,id=NAME`."""
    own_registries: OwnRegistries | None = None
    """Whose images are whose, for the tags and all that the Dockerfile names."""
    settle_tag: SettleTag | None = None
    """For the tags that the Dockerfile names, and `build.settled_images` lacks."""
    offline: bool = False
    """No network but loopback for what the Dockerfile runs."""
    clean: bool = False
    """Build every layer anew."""
    timeout_seconds: float
    source: SourceTree | None = None
    inputs: Path | None = None
    """A folder laid over the source in the workspace: the dependencies' artifacts."""


class Outcome(Enum):
    EXITED = "exited"
    TIMED_OUT = "timed out"
    OUT_OF_MEMORY = "out of memory"
    IMAGE_FAILED = "image failed"
    """The image can't be built or pushed so: `message` says why."""
    SERVICE_FAILED = "service failed"
    """A service was never ready or ended early: `message` says which, and its last words."""
    ENGINE_FAILED = "engine failed"
    """The script can't run so (no such image, …): `message` says why and what to do."""
    LEASE_OVER = "lease over"
    """Its term ended, so the engine ended it: by now another agent may run the step."""
    ENGINE_LOST = "engine lost"
    """The engine is away, before or while the script ran: another try may well succeed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepResult:
    outcome: Outcome
    exit_code: int | None = None
    message: str | None = None
    notes: Sequence[str] = field(default=())
    """For people: an output path that matched nothing or pointed outside the workspace, …"""
    unkept: Sequence[str] = ()
    """For people: outputs that can't be kept, for which the step fails."""
    images: Sequence[BuiltImage] = ()
    """What was pushed, one for each tag, as the registry confirmed it."""
    parts: Sequence[str] = ()
    """Platforms for which the image is to be built one by one, each where its programs run; nothing
    was done here."""
    image_digest: str | None = None
    """Of the image that the script ran in, where the engine runs it in one."""
    values: bytes = field(default=b"", repr=False)
    """What the script wrote to the file that PUSHROD_OUTPUT names, as it is."""


class OutputSink(Protocol):
    def write(self, stream: Stream, data: bytes) -> None:
        """Take the script's next bytes, in the order the engine saw them. Never blocks."""
        ...


class EngineUnavailable(Exception):
    """The engine can't be used; the message says why and which command mends it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineInfo:
    name: str
    """`host` or `buildkit`."""
    version: str
    address: str
    notes: Sequence[str] = ()
    """For who starts the agent: what this engine can't do that others can."""


class Engine(Protocol):
    """Runs attempts, several at a time.

    `run` returns only when no process of the attempt is left and every byte of its output has been
    given to `output`. Cancelling the task that runs it kills the attempt within a second, without
    any grace, then raises CancelledError. A script that exits non-zero is a result, not an
    exception; its outputs are collected all the same.
    """

    async def check(self) -> EngineInfo:
        """Say what this engine is. Raises EngineUnavailable."""
        ...

    async def run(self, request: StepRequest, output: OutputSink) -> StepResult: ...

    @property
    def builds_images(self) -> bool: ...

    @property
    def platforms(self) -> Sequence[str]:
        """For which it builds parts of images, and runs their programs; none where it can't push
        parts and join them. Known once it was checked."""
        ...

    @property
    def allows_privileged(self) -> bool:
        """Whether its operator lets steps have all rights over its machine."""
        ...

    @property
    def ends_at_term(self) -> bool:
        """Whether it ends an attempt at its term also while the agent is stopped (SIGSTOP, a
        debugger). Where not, the agent is killed then, and the engine ends the attempts of a
        client that is gone."""
        ...

    async def build_image(self, request: ImageRequest, output: OutputSink) -> StepResult:
        """Build an image, and push it where that is asked for; ends as `run` does.

        An instruction that exits non-zero is a result with that exit code. An engine whose
        `builds_images` is false answers ENGINE_FAILED.
        """
        ...

    async def reap(self, attempt_id: str) -> None:
        """End whatever an earlier, killed agent process left of this attempt."""
        ...

    async def close(self) -> None: ...
