"""LLB as values: vertices with their inputs, and the definition an engine is asked to solve. Pure.

A vertex is named by the sha256 of its serialized operation, so the same values always give the
same digests, and the engine recognises what it has.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from agent.engines.buildkit.pb import ops_pb2 as pb

NO_INPUT = -1
NO_OUTPUT = -1
TIMESTAMP_NS = 1_000_000_000
"""The time of files that we write ourselves: constant, so that the engine's cache holds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    uid: int
    gid: int


ROOT = Owner(uid=0, gid=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Platform:
    architecture: str
    os: str = "linux"
    variant: str = ""

    def message(self) -> pb.Platform:
        return pb.Platform(Architecture=self.architecture, OS=self.os, Variant=self.variant)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a process may use; engines that don't know them ignore them without a word."""

    memory_bytes: int | None = None
    cpus: float | None = None


CPU_PERIOD_MICROSECONDS = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Vertex:
    raw: bytes
    """The serialized operation; its hash is the vertex's digest, so it is never re-encoded."""
    inputs: tuple[Output, ...] = ()
    description: str = ""
    limits: Limits | None = None

    @property
    def digest(self) -> str:
        return "sha256:" + hashlib.sha256(self.raw).hexdigest()

    def output(self, index: int = 0) -> Output:
        return Output(vertex=self, index=index)


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """One filesystem that a vertex makes."""

    vertex: Vertex
    index: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Directory:
    path: str
    mode: int = 0o755
    owner: Owner = ROOT


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    path: str
    content: bytes
    mode: int = 0o644
    owner: Owner = ROOT


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """Copy what is below `source_path` of `source` to below `destination`.

    `include` are patterns as in .dockerignore files; none means everything. Symbolic links are
    copied as links, never followed.
    """

    source: Output
    source_path: str
    destination: str
    include: tuple[str, ...] = ()
    owner: Owner | None = None
    """The owner of all copies; None keeps each one's own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    destination: str
    source: Output | None = None
    selector: str = ""
    """The folder of `source` that is mounted; empty for all of it."""
    readonly: bool = False
    keep: bool = False
    """The mount's state after the process is an output of the vertex, in order of the mounts."""
    secret_id: str | None = None
    """Makes it a secret's file, which the session is asked for; readable to `owner` alone."""
    owner: Owner = ROOT
    socket_id: str | None = None
    """Makes it a socket that is forwarded to the session; for `owner` alone."""
    cache_id: str | None = None
    """Makes it a cache mount, shared by all that name the id at once."""


def image(reference: str, platform: Platform) -> Output:
    """The root filesystem of an image; `reference` is complete, best with its digest."""
    return _source(
        f"docker-image://{reference}", {}, platform=platform, description=f"image {reference}"
    )


def local(name: str, *, session: str, shared_key_hint: str) -> Output:
    """A folder that the client sends through the session.

    The engine keeps what it got for the same name, hint and session key, and asks only for
    differences the next time.
    """
    attributes = {"local.session": session, "local.sharedkeyhint": shared_key_hint}
    return _source(f"local://{name}", attributes, platform=None, description="source")


def files(actions: Sequence[Directory | File | Copy], *, description: str) -> Output:
    """A filesystem made from nothing by the actions, one after the other."""
    message = pb.Op(file=pb.FileOp())
    inputs: list[Output] = []
    for position, action in enumerate(actions):
        one = message.file.actions.add(
            # Actions count as inputs after the vertex's own; the first starts from scratch.
            input=NO_INPUT if position == 0 else _copies(actions) + position - 1,
            secondaryInput=NO_INPUT,
            output=0 if position == len(actions) - 1 else NO_OUTPUT,
        )
        match action:
            case Directory():
                one.mkdir.path = action.path
                one.mkdir.mode = action.mode
                one.mkdir.makeParents = True
                one.mkdir.owner.CopyFrom(_chown(action.owner))
                one.mkdir.timestamp = TIMESTAMP_NS
            case File():
                one.mkfile.path = action.path
                one.mkfile.mode = action.mode
                one.mkfile.data = action.content
                one.mkfile.owner.CopyFrom(_chown(action.owner))
                one.mkfile.timestamp = TIMESTAMP_NS
            case Copy():
                one.secondaryInput = len(inputs)
                inputs.append(action.source)
                one.copy.src = action.source_path
                one.copy.dest = action.destination
                one.copy.mode = -1
                one.copy.dirCopyContents = True
                one.copy.createDestPath = True
                one.copy.timestamp = -1
                one.copy.include_patterns.extend(action.include)
                if action.owner is not None:
                    one.copy.owner.CopyFrom(_chown(action.owner))
    return _vertex(message, inputs, description).output()


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    arguments: Sequence[str]
    environment: Mapping[str, str]
    directory: str
    user: Owner = ROOT
    offline: bool = False
    """No network but loopback."""
    privileged: bool = False
    """With all rights; its build needs the entitlement, too."""
    limits: Limits | None = None
    secret_variables: Sequence[str] = ()
    """Secrets given as variables of their names; the engine asks the session for them and keeps
    them out of its history."""
    mounts: Sequence[Mount] = field(default=())
    """The first is the root filesystem."""


def execute(process: Process, *, platform: Platform, description: str) -> Vertex:
    """A process in a container. Its outputs are the mounts with `keep`, in their order."""
    message = pb.Op(platform=platform.message())
    meta = message.exec.meta
    meta.args.extend(process.arguments)
    meta.env.extend(f"{name}={value}" for name, value in process.environment.items())
    meta.cwd = process.directory
    meta.user = f"{process.user.uid}:{process.user.gid}"
    if process.offline:
        message.exec.network = pb.NONE
    if process.privileged:
        message.exec.security = pb.INSECURE
    for name in process.secret_variables:
        message.exec.secretenv.add(ID=name, name=name)
    inputs: list[Output] = []
    kept = 0
    for mount in process.mounts:
        one = message.exec.mounts.add(
            input=_input(inputs, mount.source),
            selector=mount.selector,
            dest=mount.destination,
            output=NO_OUTPUT,
            readonly=mount.readonly,
        )
        if mount.keep:
            one.output = kept
            kept += 1
        if mount.secret_id is not None:
            one.mountType = pb.SECRET
            one.secretOpt.ID = mount.secret_id
            one.secretOpt.uid = mount.owner.uid
            one.secretOpt.gid = mount.owner.gid
            one.secretOpt.mode = 0o400
        if mount.socket_id is not None:
            one.mountType = pb.SSH
            one.SSHOpt.ID = mount.socket_id
            one.SSHOpt.uid = mount.owner.uid
            one.SSHOpt.gid = mount.owner.gid
            one.SSHOpt.mode = 0o600
        if mount.cache_id is not None:
            one.mountType = pb.CACHE
            one.cacheOpt.ID = mount.cache_id
            one.cacheOpt.sharing = pb.SHARED
    return replace(_vertex(message, inputs, description), limits=process.limits)


def definition(target: Output, *, ignore_cache: frozenset[str] = frozenset()) -> pb.Definition:
    """All that `target` needs, inputs first, and a last operation that points at it."""
    message = pb.Definition()
    operations = getattr(message, "def")
    for vertex in _inputs_first(target.vertex, set()):
        operations.append(vertex.raw)
        metadata = message.metadata[vertex.digest]
        metadata.description["llb.customname"] = vertex.description
        if vertex.limits is not None:
            resources = metadata.linux_resources
            resources.memory = resources.memorySwap = vertex.limits.memory_bytes or 0
            if vertex.limits.cpus is not None:
                resources.cpuPeriod = CPU_PERIOD_MICROSECONDS
                resources.cpuQuota = round(vertex.limits.cpus * CPU_PERIOD_MICROSECONDS)
        metadata.ignore_cache = vertex.digest in ignore_cache
    pointer = pb.Op(inputs=[pb.Input(digest=target.vertex.digest, index=target.index)])
    operations.append(pointer.SerializeToString(deterministic=True))
    return message


def _inputs_first(vertex: Vertex, seen: set[str]) -> Iterator[Vertex]:
    if vertex.digest in seen:
        return
    seen.add(vertex.digest)
    for needed in vertex.inputs:
        yield from _inputs_first(needed.vertex, seen)
    yield vertex


def _source(
    identifier: str, attributes: Mapping[str, str], *, platform: Platform | None, description: str
) -> Output:
    message = pb.Op(source=pb.SourceOp(identifier=identifier, attrs=dict(attributes)))
    if platform is not None:
        message.platform.CopyFrom(platform.message())
    return _vertex(message, [], description).output()


def _vertex(message: pb.Op, inputs: Sequence[Output], description: str) -> Vertex:
    for needed in inputs:
        message.inputs.add(digest=needed.vertex.digest, index=needed.index)
    raw = message.SerializeToString(deterministic=True)
    return Vertex(raw=raw, inputs=tuple(inputs), description=description)


def _input(inputs: list[Output], source: Output | None) -> int:
    """The position of `source` among `inputs`, where it is put once however often it is used."""
    if source is None:
        return NO_INPUT
    if source not in inputs:
        inputs.append(source)
    return inputs.index(source)


def _copies(actions: Sequence[Directory | File | Copy]) -> int:
    return sum(isinstance(action, Copy) for action in actions)


def _chown(owner: Owner) -> pb.ChownOpt:
    return pb.ChownOpt(user=pb.UserOpt(byID=owner.uid), group=pb.UserOpt(byID=owner.gid))
