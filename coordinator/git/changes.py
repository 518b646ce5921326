"""How a repository is changed: at once, where it lies on this machine's disk alone."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Protocol

from coordinator.domain.pushes.stored_repository import StoredRefs
from coordinator.git.drafts import Draft
from coordinator.git.repository_folders import repository_path


class Changes(Protocol):
    async def ready(self, project_id: str) -> Path:
        """The repository, as it is now; there may be none. Raises InvalidProjectId."""
        ...

    async def stored_refs(self, project_id: str) -> StoredRefs | None:
        """Of one that need not be brought here for that; None: `ready` costs nothing more."""
        ...

    def changing(
        self, project_id: str, *, whole: bool = False, alone: bool = False
    ) -> AbstractAsyncContextManager[Draft]:
        """The repository to be changed. On leaving without an exception the change is kept.

        `whole`: packs may go, too; `alone`: it is kept only if nobody else changed it meanwhile.
        Raises RefsMoved, and what database and object store raise: then nothing is changed.
        RepositoryMissing where it is elsewhere.
        """
        ...

    async def expire_moves(self, project_id: str, now: float) -> None:
        """What branches were before weeks, where that is not in the repository alone."""
        ...

    async def forget(self, project_id: str) -> None:
        """Delete what is stored elsewhere."""
        ...

    async def stored_bytes(self, project_id: str, *, aside: bool = False) -> int | None:
        """What is stored elsewhere, or of that what was put aside as garbage; None: nothing is."""
        ...


class ChangesInPlace:
    """Implements Changes for one machine's disk."""

    def __init__(self, root: Path) -> None:
        self._root = root

    async def ready(self, project_id: str) -> Path:
        return repository_path(self._root, project_id)

    async def stored_refs(self, project_id: str) -> StoredRefs | None:
        return None

    @asynccontextmanager
    async def changing(
        self, project_id: str, *, whole: bool = False, alone: bool = False
    ) -> AsyncIterator[Draft]:
        yield Draft(repository_path(self._root, project_id))

    async def expire_moves(self, project_id: str, now: float) -> None:
        pass

    async def forget(self, project_id: str) -> None:
        pass

    async def stored_bytes(self, project_id: str, *, aside: bool = False) -> int | None:
        return None
