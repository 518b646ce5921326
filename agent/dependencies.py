"""What a step gets of the steps it depends on, brought to a folder of its own.

Nothing that comes can lead elsewhere: names are relative, a name is of one kind in all
dependencies, and links are laid last.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from agent.artifact_errors import ArtifactError, DamagedError
from agent.batches import divided
from agent.carried import in_parallel, in_thread
from agent.coordinator_client import CoordinatorClient
from agent.coordinator_errors import (
    CallRefusedError,
    CoordinatorUnavailableError,
    CredentialRefusedError,
)
from agent.kept_artifacts import KeptArtifacts
from agent.retries import keep_trying
from pipelines_schema.contract import StepSpec
from pipelines_schema.contract_outputs import (
    BATCH_BYTES,
    ArtifactRef,
    DependencySpec,
    OutputFolder,
    OutputLink,
    WantedArtifacts,
)

PARALLEL = 4
NS = 1_000_000_000
MAX_DAMAGED = 3
"""A download whose digest is wrong so many times is given up."""

Output = ArtifactRef | OutputLink | OutputFolder
_WORDS = {ArtifactRef: "a file", OutputLink: "a link", OutputFolder: "a folder"}


@dataclass(frozen=True, slots=True)
class _Given:
    thing: Output
    by: DependencySpec

    def __str__(self) -> str:
        return f"{_WORDS[type(self.thing)]} in the outputs of step {self.by.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    files: list[tuple[DependencySpec, ArtifactRef]] = field(default_factory=list)
    links: list[OutputLink] = field(default_factory=list)
    folders: list[OutputFolder] = field(default_factory=list)
    """Outer ones before those within them."""


def chosen_inputs(dependencies: Sequence[DependencySpec]) -> Inputs:
    """What the step gets: of two things of one name the later dependency's.

    Raises ArtifactError for a name that leaves the folder, or is a folder here and a file or a link
    there.
    """
    chosen: dict[str, _Given] = {}
    for dependency in dependencies:
        for thing in _outputs_of(dependency):
            if not is_relative_name(thing.name):
                raise ArtifactError(
                    f"artifact {thing.name!r} of step {dependency.name}: not a relative path"
                )
            given, before = _Given(thing, dependency), chosen.get(thing.name)
            if before and _is_folder(before.thing) is not _is_folder(thing):
                raise _disagreement(thing.name, before, given)
            chosen[thing.name] = given
    for name, given in chosen.items():
        for parent in map(str, PurePosixPath(name).parents):
            if parent in chosen and not _is_folder(chosen[parent].thing):
                raise _disagreement(parent, chosen[parent], given, name)
    return _sorted(chosen)


def _outputs_of(dependency: DependencySpec) -> list[Output]:
    return [*dependency.folders, *dependency.artifacts, *dependency.links]


def _is_folder(thing: Output) -> bool:
    return isinstance(thing, OutputFolder)


def _disagreement(name: str, one: _Given, other: _Given, below: str = "") -> ArtifactError:
    again = f"{other}" if not below else f"a folder of {below!r} in those of step {other.by.name}"
    return ArtifactError(f"the dependencies' outputs disagree: {name!r} is {one}, and {again}")


def _sorted(chosen: dict[str, _Given]) -> Inputs:
    inputs = Inputs()
    for given in chosen.values():
        match given.thing:
            case ArtifactRef():
                inputs.files.append((given.by, given.thing))
            case OutputLink():
                inputs.links.append(given.thing)
            case OutputFolder():
                inputs.folders.append(given.thing)
    inputs.folders.sort(key=lambda folder: folder.name)
    return inputs


def is_relative_name(name: str) -> bool:
    """Whether a name stays below the folder it is laid in, whatever is there."""
    return "\0" not in name and all(part not in ("", ".", "..") for part in name.split("/"))


async def fetch_artifacts(
    client: CoordinatorClient,
    spec: StepSpec,
    folder: Path,
    kept: KeptArtifacts,
    sources_written: Callable[[], int] | None = None,
) -> None:
    """Bring the dependencies' outputs to a folder that is not there yet, or is empty. Raises
    ArtifactError, StaleLeaseError. `sources_written` is asked, in a thread, when the newest was
    written of the commit's files that they are laid over.

    While the coordinator is away it waits.
    """
    inputs = chosen_inputs(spec.dependencies)
    if inputs == Inputs():
        return
    await in_thread(kept.make_room, sum(file.size for _, file in inputs.files))
    try:
        await in_thread(_make_folders, inputs, folder)
        sources_ns = await in_thread(sources_written) if sources_written else None
        await _Fetching(client, spec, folder, kept, sources_ns).fetch(inputs.files)
        await in_thread(_lay_the_rest, inputs, folder)
    except OSError as error:
        raise ArtifactError(f"the dependencies' artifacts can't be written: {error}") from error


def _make_folders(inputs: Inputs, folder: Path) -> None:
    named = [one.name for one in inputs.folders]
    names = [*(file.name for _, file in inputs.files), *(link.name for link in inputs.links)]
    above = {name.rpartition("/")[0] for name in names}
    for name in sorted({*named, *above}):
        (folder / name).mkdir(parents=True, exist_ok=True)


def _lay_the_rest(inputs: Inputs, folder: Path) -> None:
    for link in inputs.links:
        (folder / link.name).symlink_to(link.target)
    for one in reversed(inputs.folders):
        (folder / one.name).chmod(one.mode & 0o777 | _needed(stat.S_IRUSR | stat.S_IXUSR))


def modified_ns(seconds: int, sources_ns: int | None) -> int:
    """The time of an output, of which whole seconds are kept: the parts that it lost must not make
    it older than the sources that it was made of, or `make` would make it anew."""
    time = seconds * NS
    if sources_ns is not None and time <= sources_ns < time + NS:
        return sources_ns + 1
    return time


def _needed(rights: int) -> int:
    """What an agent must be able to do that is not root."""
    return 0 if os.geteuid() == 0 else rights


@dataclass(frozen=True, slots=True)
class _Fetching:
    client: CoordinatorClient
    spec: StepSpec
    folder: Path
    kept: KeptArtifacts
    sources_ns: int | None
    gate: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(PARALLEL))

    async def fetch(self, files: Sequence[tuple[DependencySpec, ArtifactRef]]) -> None:
        missing = await in_thread(self._take_kept, files)
        small: dict[str, list[ArtifactRef]] = {}
        large: list[ArtifactRef] = []
        for dependency, file in missing:
            if self.spec.batches and file.size <= BATCH_BYTES:
                small.setdefault(dependency.step_id, []).append(file)
            else:
                large.append(file)
        work = [
            self._trying(_Batch(self, step_id, batch))
            for step_id, of_step in small.items()
            for batch in divided(of_step, lambda file: file.size)
        ]
        await in_parallel([*work, *(self._trying(_Single(self, file)) for file in large)])

    def _take_kept(
        self, files: Sequence[tuple[DependencySpec, ArtifactRef]]
    ) -> list[tuple[DependencySpec, ArtifactRef]]:
        """Lay what this agent has itself; those that it has not."""
        missing = []
        for dependency, file in files:
            if self.kept.copy(file.sha256, file.size, self.folder / file.name):
                self.finish(file)
            else:
                missing.append((dependency, file))
        return missing

    def finish(self, file: ArtifactRef) -> None:
        """Give a file its permission bits and its time."""
        path = self.folder / file.name
        path.chmod(file.mode & 0o777 | _needed(stat.S_IRUSR))
        if file.modified is not None:
            time = modified_ns(file.modified, self.sources_ns)
            os.utime(path, ns=(time, time))

    async def _trying(self, download: _Batch | _Single) -> None:
        damaged = 0

        def failed(error: Exception) -> None:
            nonlocal damaged
            damaged += isinstance(error, DamagedError)
            if damaged == MAX_DAMAGED:
                raise ArtifactError(
                    f"{error} came {damaged} times with another content than its sha256 says"
                )

        async with self.gate:
            try:
                await keep_trying(
                    download.run, failed, on=(CoordinatorUnavailableError, DamagedError)
                )
            except (CallRefusedError, CredentialRefusedError) as error:
                raise ArtifactError(
                    f"artifact {download.first!r} can't be fetched: {error}"
                ) from error


@dataclass(frozen=True, slots=True)
class _Batch:
    fetching: _Fetching
    step_id: str
    files: Sequence[ArtifactRef]

    @property
    def first(self) -> str:
        return self.files[0].name

    async def run(self) -> None:
        """Raises DamagedError if something is not what was promised."""
        fetching = self.fetching
        wanted = WantedArtifacts(step_id=self.step_id, names=[file.name for file in self.files])
        content = await fetching.client.get_batch(
            fetching.spec, wanted, max_bytes=sum(file.size for file in self.files)
        )
        await in_thread(self._lay, content)

    def _lay(self, content: bytes) -> None:
        begin = 0
        for file in self.files:
            piece = content[begin : begin + file.size]
            begin += file.size
            if hashlib.sha256(piece).hexdigest() != file.sha256:
                raise DamagedError(f"artifact {file.name!r}")
            (self.fetching.folder / file.name).write_bytes(piece)
            self.fetching.finish(file)
        if begin != len(content):
            raise DamagedError(f"artifact {self.files[-1].name!r}")


@dataclass(frozen=True, slots=True)
class _Single:
    fetching: _Fetching
    file: ArtifactRef

    @property
    def first(self) -> str:
        return self.file.name

    async def run(self) -> None:
        """Raises DamagedError if it is not what was promised."""
        file, fetching = self.file, self.fetching
        sha256, size = hashlib.sha256(), 0
        with open(fetching.folder / file.name, "wb") as written:  # noqa: ASYNC230 - a local disk
            async with fetching.client.get_artifact(fetching.spec, file.url) as chunks:
                async for chunk in chunks:
                    size += len(chunk)
                    if size > file.size:
                        raise DamagedError(f"artifact {file.name!r}")
                    sha256.update(chunk)
                    written.write(chunk)
        if size != file.size or sha256.hexdigest() != file.sha256:
            raise DamagedError(f"artifact {file.name!r}")
        fetching.finish(file)
