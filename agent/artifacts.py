"""Storing a step's outputs at the coordinator: small files, links and folders in batches."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path

from agent.artifact_errors import ArtifactError
from agent.batches import divided
from agent.carried import in_parallel, in_thread
from agent.coordinator_client import CoordinatorClient
from agent.coordinator_errors import CallRefusedError, CredentialRefusedError
from agent.kept_artifacts import KeptArtifacts
from agent.output_tree import FoundFile, OutputTree, read_tree
from agent.retries import keep_trying
from pipelines_schema.contract import StepSpec
from pipelines_schema.contract_outputs import BATCH_BYTES, OutputBatch, OutputFile

logger = logging.getLogger(__name__)

PARALLEL = 4
READ_BYTES = 1 << 18


async def store_artifacts(
    client: CoordinatorClient,
    spec: StepSpec,
    folder: Path,
    *,
    kept: KeptArtifacts,
    already_sent: frozenset[str],
    mark_sent: Callable[[Sequence[str]], None],
) -> None:
    """Send every output not sent yet. Raises ArtifactError, StaleLeaseError.

    While the coordinator is away it waits. One that knows no batches can't keep links either, and
    they are not left out in silence.
    """
    tree = await asyncio.to_thread(read_tree, folder)
    if tree.links and not spec.batches:
        raise ArtifactError(
            f"the link {tree.links[0].name} can't be stored: the coordinator is older than this "
            "agent and keeps no links; update it"
        )
    files = [file for file in tree.files if file.name not in already_sent]
    gate = asyncio.Semaphore(PARALLEL)

    async def store(work: Awaitable[Sequence[str]], stored: Sequence[FoundFile]) -> None:
        async with gate:
            digests = await work
        if stored:
            mark_sent([file.name for file in stored])
            await in_thread(kept.keep, stored, digests)

    def is_small(file: FoundFile) -> bool:
        return spec.batches and file.size <= BATCH_BYTES

    small = divided(filter(is_small, files), lambda file: file.size)
    work = [store(_store_batch(client, spec, batch), batch) for batch in small]
    work += [store(_store_one(client, spec, file), [file]) for file in files if not is_small(file)]
    if spec.batches:
        work += [store(_store_rest(client, spec, tree), [])]
    await in_parallel(work)


async def _store_rest(client: CoordinatorClient, spec: StepSpec, tree: OutputTree) -> Sequence[str]:
    for links in divided(tree.links, lambda link: len(link.target)):
        await _send(client, spec, OutputBatch(links=links), b"", f"the link {links[0].name}")
    for folders in divided(tree.folders, lambda _: 0):
        await _send(client, spec, OutputBatch(folders=folders), b"", f"folder {folders[0].name}")
    return []


async def _store_batch(
    client: CoordinatorClient, spec: StepSpec, files: Sequence[FoundFile]
) -> Sequence[str]:
    """Their digests."""
    batch, contents = await asyncio.to_thread(_read_batch, files)
    await _send(client, spec, batch, contents, f"the output file {files[0].name}")
    return [file.sha256 for file in batch.files]


def _read_batch(files: Sequence[FoundFile]) -> tuple[OutputBatch, bytes]:
    contents = [file.path.read_bytes() for file in files]
    described = [
        OutputFile(
            name=file.name,
            size=len(content),
            sha256=hashlib.sha256(content).hexdigest(),
            mode=file.mode,
            modified=file.modified,
        )
        for file, content in zip(files, contents, strict=True)
    ]
    return OutputBatch(files=described), b"".join(contents)


async def _send(
    client: CoordinatorClient, spec: StepSpec, batch: OutputBatch, contents: bytes, first: str
) -> None:
    things = len(batch.files) + len(batch.links) + len(batch.folders)
    what = first if things == 1 else f"{first} and {things - 1} more"
    await _trying(lambda: client.put_batch(spec, batch, contents), what)


async def _store_one(client: CoordinatorClient, spec: StepSpec, file: FoundFile) -> Sequence[str]:
    """Its digest."""
    sha256 = await asyncio.to_thread(_digest, file.path)
    await _trying(
        lambda: client.put_artifact(
            spec,
            file.name,
            mode=file.mode,
            modified=file.modified if spec.batches else None,
            size=file.size,
            sha256=sha256,
            body=_content(file.path),
        ),
        f"the output file {file.name}",
    )
    return [sha256]


async def _trying(call: Callable[[], Awaitable[None]], what: str) -> None:
    try:
        await keep_trying(call, lambda error: logger.info("%s waits: %s", what, error))
    except (CallRefusedError, CredentialRefusedError) as error:
        raise ArtifactError(f"{what} can't be stored: {error}") from error


def _digest(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


async def _content(path: Path) -> AsyncIterator[bytes]:
    with open(path, "rb") as file:  # noqa: ASYNC230 - local disk, a chunk at a time
        while data := file.read(READ_BYTES):
            yield data
