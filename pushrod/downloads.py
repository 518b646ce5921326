"""What steps have left, laid into a folder that is new or empty.

What comes was written by scripts: nothing of it may lead outside. Names are relative and of one
kind each, files and folders are made first, and links, which are never followed, are laid last.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from agent.artifact_errors import ArtifactError
from agent.dependencies import Inputs, chosen_inputs
from pipelines_schema.contract_outputs import ArtifactRef, DependencySpec, OutputFolder, OutputLink
from pushrod.client import Client
from pushrod.errors import CommandError, NotFoundError
from pushrod.transport import Json

AT_ONCE = 4
NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW


@dataclass(frozen=True, slots=True, kw_only=True)
class StepOutputs:
    """Of one step, checked."""

    step: Json
    inputs: Inputs

    @property
    def files(self) -> list[ArtifactRef]:
        return [file for _, file in self.inputs.files]

    def __bool__(self) -> bool:
        return self.inputs != Inputs()


async def outputs_of(client: Client, step: Json) -> StepOutputs:
    """Raises CommandError for names that no folder may be given."""
    step_id = str(step["id"])
    artifacts, others = await asyncio.gather(
        client.artifacts(step_id), client.links_and_folders(step_id)
    )
    left = DependencySpec(
        step_id=step_id,
        name=str(step["name"]),
        artifacts=[ArtifactRef.model_validate(one) for one in artifacts],
        links=[OutputLink.model_validate(one) for one in others.get("links", [])],
        folders=[OutputFolder.model_validate(one) for one in others.get("folders", [])],
    )
    try:
        return StepOutputs(step=step, inputs=chosen_inputs([left]))
    except ArtifactError as error:
        raise CommandError(str(error)) from error


def folder_of(step: Json, within: Path) -> Path:
    """A folder of the step's name. Raises CommandError for a name that leads elsewhere."""
    name = str(step["name"])
    if name in ("", ".", "..") or "/" in name or "\0" in name:
        raise CommandError(f"no folder can be named {name!r}, as a step is that left something")
    return within / name


async def lay(client: Client, outputs: StepOutputs, folder: Path) -> None:
    """Raises CommandError where the folder is there with something in it, or can't be written."""
    with _told(folder):
        _make_folders(outputs.inputs, folder)
    gate = asyncio.Semaphore(AT_ONCE)
    async with asyncio.TaskGroup() as tasks:
        for file in outputs.files:
            tasks.create_task(_fetch(client, outputs, file, folder / file.name, gate))
    with _told(folder):
        for link in outputs.inputs.links:
            os.symlink(link.target, folder / link.name)
        for one in reversed(outputs.inputs.folders):
            os.chmod(folder / one.name, one.mode & 0o777 | 0o700)


@contextmanager
def _told(path: Path) -> Iterator[None]:
    try:
        yield
    except FileExistsError as error:
        raise CommandError(f"{path} is there already: remove it, or name another place") from error
    except OSError as error:
        raise CommandError(f"{path} can't be written: {error}") from error


def _make_folders(inputs: Inputs, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise CommandError(f"{folder} is not empty: remove it, or name another place by --to")
    names = [*(file.name for _, file in inputs.files), *(link.name for link in inputs.links)]
    above = {name.rpartition("/")[0] for name in names}
    for name in sorted({*above, *(one.name for one in inputs.folders)}):
        (folder / name).mkdir(parents=True, exist_ok=True)


async def _fetch(
    client: Client, outputs: StepOutputs, file: ArtifactRef, path: Path, gate: asyncio.Semaphore
) -> None:
    async with gate:
        step_id = quote(str(outputs.step["id"]), safe="")
        chunks = client.download(f"/api/steps/{step_id}/artifacts/{quote(file.name)}")
        if await save(chunks, path, file.mode & 0o777 | 0o600) != file.sha256:
            os.unlink(path)
            raise CommandError(f"{file.name} came with another content than its sha256 says")
        if file.modified is not None:
            os.utime(path, (file.modified, file.modified))


async def save(chunks: AsyncIterator[bytes], path: Path, mode: int = 0o644) -> str:
    """To a file that is not there yet; the sha256. Half a file is removed. Raises CommandError."""
    digest = hashlib.sha256()
    with _told(path), os.fdopen(os.open(path, NEW_FILE, mode), "wb") as file:
        try:
            async for chunk in chunks:
                digest.update(chunk)
                file.write(chunk)
        except BaseException:
            os.unlink(path)
            raise
    return digest.hexdigest()


async def save_one(client: Client, outputs: StepOutputs, name: str, folder: Path) -> Path:
    """One file, under the last part of its name. Raises CommandError."""
    file = next((one for one in outputs.files if one.name == name), None)
    if file is None:
        step = outputs.step["name"]
        raise NotFoundError(f"step {step} has no artifact {name!r}{_those(outputs)}")
    path = folder / name.rpartition("/")[2]
    with _told(folder):
        os.makedirs(folder, exist_ok=True)
    await _fetch(client, outputs, file, path, asyncio.Semaphore(1))
    return path


def _those(outputs: StepOutputs) -> str:
    names = [file.name for file in outputs.files[:10]]
    return f"; it has: {', '.join(names)}" if names else ": it has none"


def rows_of(outputs: Sequence[StepOutputs]) -> list[Json]:
    """Each thing with its step, name, kind, and size or target."""
    rows: list[Json] = []
    for one in outputs:
        found: list[Json] = [
            *({"name": file.name, "kind": "file", "size": file.size} for file in one.files),
            *({"name": x.name, "kind": "link", "target": x.target} for x in one.inputs.links),
            *({"name": folder.name, "kind": "folder"} for folder in one.inputs.folders),
        ]
        rows += [{"step": one.step["name"], **row} for row in found]
    return rows
