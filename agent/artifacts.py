"""Artifacts: those of the dependencies come in, those of the step go out."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import stat
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from agent.coordinator_client import (
    CallRefusedError,
    CoordinatorClient,
    CoordinatorUnavailableError,
    CredentialRefusedError,
)
from agent.retries import keep_trying
from pipelines_schema.contract import ArtifactRef, DependencySpec, StepSpec

logger = logging.getLogger(__name__)

PARALLEL = 4
READ_BYTES = 1 << 18
MAX_DAMAGED = 3
"""A download whose digest is wrong so many times is given up."""


class ArtifactError(Exception):
    """An artifact can't be fetched or stored; the message names it and says why."""


class DamagedError(Exception):
    """An artifact came with another content than its digest says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputFile:
    path: Path
    name: str
    """Relative, `/` separated."""
    mode: int
    size: int


def chosen_artifacts(dependencies: Sequence[DependencySpec]) -> list[ArtifactRef]:
    """What the step gets: of two artifacts of one name the later dependency's.

    Raises ArtifactError for a name that leaves the folder, or is a file here and a folder there.
    """
    chosen: dict[str, ArtifactRef] = {}
    for dependency in dependencies:
        for artifact in dependency.artifacts:
            if not is_relative_name(artifact.name):
                raise ArtifactError(
                    f"artifact {artifact.name!r} of step {dependency.name}: not a relative path"
                )
            chosen[artifact.name] = artifact
    for name in chosen:
        for parent in PurePosixPath(name).parents:
            if str(parent) in chosen:
                raise ArtifactError(
                    f"the dependencies' artifacts disagree: {str(parent)!r} is a file in one of "
                    f"them and a folder in another ({name!r})"
                )
    return list(chosen.values())


def is_relative_name(name: str) -> bool:
    """Whether a name stays below the folder it is laid in, whatever is there."""
    return "\0" not in name and all(part not in ("", ".", "..") for part in name.split("/"))


async def fetch_artifacts(client: CoordinatorClient, spec: StepSpec, folder: Path) -> None:
    """Bring the dependencies' artifacts to an empty folder. Raises ArtifactError, StaleLeaseError.

    While the coordinator is away it waits.
    """
    gate = asyncio.Semaphore(PARALLEL)

    async def fetch_one(artifact: ArtifactRef) -> None:
        async with gate:
            await _fetch(client, spec, artifact, folder / artifact.name)

    await _all([fetch_one(artifact) for artifact in chosen_artifacts(spec.dependencies)])


async def _fetch(
    client: CoordinatorClient, spec: StepSpec, artifact: ArtifactRef, target: Path
) -> None:
    damaged = 0

    def failed(error: Exception) -> None:
        nonlocal damaged
        damaged += isinstance(error, DamagedError)
        if damaged == MAX_DAMAGED:
            raise ArtifactError(
                f"artifact {artifact.name!r} came {damaged} times with another content than "
                f"its sha256 {artifact.sha256} says"
            )

    try:
        await keep_trying(
            lambda: _download(client, spec, artifact, target),
            failed,
            on=(CoordinatorUnavailableError, DamagedError),
        )
    except (CallRefusedError, CredentialRefusedError) as error:
        raise ArtifactError(f"artifact {artifact.name!r} can't be fetched: {error}") from error
    except OSError as error:
        raise ArtifactError(f"artifact {artifact.name!r} can't be written: {error}") from error


async def _download(
    client: CoordinatorClient, spec: StepSpec, artifact: ArtifactRef, target: Path
) -> None:
    """Raises DamagedError if it is not what was promised."""
    sha256 = hashlib.sha256()
    size = 0
    target.parent.mkdir(parents=True, exist_ok=True)
    with open(target, "wb") as file:  # noqa: ASYNC230 - local disk, a chunk at a time
        os.fchmod(file.fileno(), artifact.mode & 0o777 | stat.S_IRUSR)
        async with client.get_artifact(spec, artifact.url) as chunks:
            async for chunk in chunks:
                size += len(chunk)
                if size > artifact.size:
                    raise DamagedError
                sha256.update(chunk)
                file.write(chunk)
    if size != artifact.size or sha256.hexdigest() != artifact.sha256:
        raise DamagedError


def output_files(folder: Path) -> list[OutputFile]:
    """The files to store, by name. Blocking. Raises ArtifactError for a name that can't be sent."""
    return sorted(_walk(folder, folder), key=lambda file: file.name)


def _walk(root: Path, folder: Path) -> Iterator[OutputFile]:
    todo = [folder]
    while todo:
        for path in todo.pop().iterdir():
            status = path.lstat()
            if stat.S_ISDIR(status.st_mode):
                todo.append(path)
            elif stat.S_ISREG(status.st_mode):
                name = path.relative_to(root).as_posix()
                yield OutputFile(
                    path=path,
                    name=_sendable(name),
                    mode=stat.S_IMODE(status.st_mode) & 0o777,
                    size=status.st_size,
                )


def _sendable(name: str) -> str:
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        shown = os.fsencode(name).decode("utf-8", "backslashreplace")
        raise ArtifactError(
            f"the output file {shown} can't be stored: its name is not UTF-8"
        ) from None
    return name


async def store_artifacts(
    client: CoordinatorClient,
    spec: StepSpec,
    folder: Path,
    *,
    already_sent: frozenset[str],
    mark_sent: Callable[[str], None],
) -> None:
    """Send every output file not sent yet. Raises ArtifactError, StaleLeaseError.

    While the coordinator is away it waits.
    """
    gate = asyncio.Semaphore(PARALLEL)

    async def store_one(file: OutputFile) -> None:
        async with gate:
            await _store(client, spec, file)
            mark_sent(file.name)

    files = await asyncio.to_thread(output_files, folder)
    await _all([store_one(file) for file in files if file.name not in already_sent])


async def _store(client: CoordinatorClient, spec: StepSpec, file: OutputFile) -> None:
    sha256 = await asyncio.to_thread(_digest, file.path)
    try:
        await keep_trying(
            lambda: client.put_artifact(
                spec,
                file.name,
                mode=file.mode,
                size=file.size,
                sha256=sha256,
                body=_content(file.path),
            ),
            lambda error: logger.info("output file %s waits: %s", file.name, error),
        )
    except (CallRefusedError, CredentialRefusedError) as error:
        raise ArtifactError(f"the output file {file.name} can't be stored: {error}") from error


def _digest(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


async def _content(path: Path) -> AsyncIterator[bytes]:
    with open(path, "rb") as file:  # noqa: ASYNC230 - local disk, a chunk at a time
        while data := file.read(READ_BYTES):
            yield data


async def _all(work: Sequence[Coroutine[None, None, None]]) -> None:
    """Run all; the first failure ends the others and is raised as itself, not in a group."""
    try:
        async with asyncio.TaskGroup() as group:
            for one in work:
                group.create_task(one)
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None
