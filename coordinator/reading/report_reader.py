"""The files of a step's reports, brought to this machine's disk and read in a process of limits."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from coordinator.domain.model import Artifact
from coordinator.domain.results.values import ReadResults, ReportKind
from coordinator.object_ports import BlobStore
from coordinator.reading.processes import ReadingProcesses
from coordinator.reading.report_files import read_files
from coordinator.reading.turns import Turns

AT_ONCE = 2
"""Of different accounts: each may have a quarter of a GiB on the disk meanwhile."""


@dataclass(frozen=True, slots=True)
class ReportFiles:
    blobs: BlobStore
    folder: Path
    """For files on their way; what an earlier coordinator left in it is removed."""
    _processes: ReadingProcesses
    _turns: Turns = field(default_factory=lambda: Turns(AT_ONCE))

    def begin(self) -> None:
        """Once, before anything is read."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True, mode=0o700)

    async def read(
        self,
        account_id: str,
        files: Sequence[tuple[ReportKind, Artifact]],
        secrets: Sequence[str],
    ) -> ReadResults:
        """Raises NotRead."""
        if not files:
            return ReadResults()
        async with self._turns.turn(account_id):
            place = await asyncio.to_thread(tempfile.mkdtemp, dir=self.folder)
            try:
                local: list[tuple[ReportKind, str, str]] = []
                for kind, artifact in files:
                    path = Path(place, str(len(local)))
                    await _write(path, self.blobs.get(account_id, artifact.sha256))
                    local.append((kind, artifact.name, str(path)))
                run = self._processes.run_alone if secrets else self._processes.run
                return await run(account_id, read_files, local, secrets)
            finally:
                await asyncio.to_thread(shutil.rmtree, place, ignore_errors=True)


async def _write(path: Path, pieces: AsyncIterator[bytes]) -> None:
    with open(path, "wb") as file:  # noqa: ASYNC230 - local disk, a piece at a time
        async for piece in pieces:
            await asyncio.to_thread(file.write, piece)
