"""What the coordinator knows of a commit besides its own files, asked for with a step's token."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from agent.coordinator_client import CoordinatorClient
from agent.coordinator_errors import CallRefusedError, CredentialRefusedError
from agent.retries import keep_trying
from agent.source_trees import PartsError
from pipelines_schema.contract import StepSpec
from pipelines_schema.contract_sources import (
    LFS_OBJECTS_AT_ONCE,
    GitRef,
    LfsObject,
    LfsRequest,
    SubmoduleRef,
)

Answer = TypeVar("Answer")

PATIENCE_SECONDS = 3600.0
"""How long the coordinator may fetch from forges, or be away."""
QUIET_SECONDS = 5.0
"""After which the step's log says what is waited for."""
LONGEST_PAUSE_SECONDS = 1.6
"""Between two questions whether the coordinator has it by now."""
MAX_DAMAGED = 3


@dataclass(frozen=True, slots=True)
class StepParts:
    """Implements source_trees.Parts for one attempt."""

    client: CoordinatorClient
    spec: StepSpec
    tell: Callable[[str], None]
    """Given a line for the step's log."""

    async def submodules(self) -> Sequence[SubmoduleRef]:
        answer = await self._patiently(lambda: self.client.submodules(self.spec), "the submodules")
        return answer.submodules

    async def refs(self, *, history: bool) -> Sequence[GitRef]:
        answer = await self._patiently(
            lambda: self.client.git_refs(self.spec, history=history), "the tags"
        )
        return answer.refs

    async def bring(self, submodule: str, objects: Sequence[LfsObject]) -> None:
        for start in range(0, len(objects), LFS_OBJECTS_AT_ONCE):
            some = list(objects[start : start + LFS_OBJECTS_AT_ONCE])
            await self._bring(LfsRequest(submodule=submodule, objects=some))

    async def _bring(self, request: LfsRequest) -> None:
        await self._patiently(lambda: self.client.bring_lfs(self.spec, request), "LFS files")

    async def download(self, submodule: str, item: LfsObject, target: Path) -> None:
        for _ in range(MAX_DAMAGED):
            if await self._patiently(
                lambda: self._download(submodule, item, target), f"the LFS file {item.oid[:12]}"
            ):
                return
        raise PartsError(f"the LFS file {item.oid[:12]} came with another content than its sha256")

    async def _download(self, submodule: str, item: LfsObject, target: Path) -> bool:
        """Whether it came as promised."""
        sha256, size = hashlib.sha256(), 0
        with open(target, "wb") as file:  # noqa: ASYNC230 - local disk, a chunk at a time
            async with self.client.get_lfs(self.spec, submodule, item) as chunks:
                async for chunk in chunks:
                    size += len(chunk)
                    if size > item.size:
                        return False
                    sha256.update(chunk)
                    file.write(chunk)
        return size == item.size and sha256.hexdigest() == item.oid

    async def _patiently(self, call: Callable[[], Awaitable[Answer]], what: str) -> Answer:
        """Ask until there is an answer: the coordinator says "not yet" while it fetches itself."""
        begun, told = time.monotonic(), False

        def failed(error: Exception) -> None:
            nonlocal told
            waited = time.monotonic() - begun
            if waited > PATIENCE_SECONDS:
                raise PartsError(f"{what} can't be fetched: {error}") from error
            if waited > QUIET_SECONDS and not told:
                self.tell(f"fetching {what}: {error}")
                told = True

        try:
            return await keep_trying(call, failed, longest_seconds=LONGEST_PAUSE_SECONDS)
        except CallRefusedError as error:
            raise PartsError(error.message) from error  # which names what, and from where
        except CredentialRefusedError as error:
            raise PartsError(f"{what} can't be fetched: {error}") from error
        except OSError as error:
            raise PartsError(f"{what} can't be written: {error}") from error
