"""Work trees as values, and what may be wrong with a source."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pipelines_schema.contract import LfsObject, SourceSpec, SubmoduleRef


class SourceError(Exception):
    """The source can't be had at that commit; the message says why."""


class PartsError(SourceError):
    """Its submodules or LFS files can't be had; the commit itself is fine."""


class Parts(Protocol):
    """What the coordinator knows of a commit besides its own files. Raise PartsError."""

    async def submodules(self) -> Sequence[SubmoduleRef]:
        """Outer ones first; the project's repository has their commits."""
        ...

    async def bring(self, submodule: str, objects: Sequence[LfsObject]) -> None:
        """Let the coordinator fetch these LFS objects."""
        ...

    async def download(self, submodule: str, item: LfsObject, target: Path) -> None:
        """Write an object that was brought to a file."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A commit, and how to get at it."""

    source: SourceSpec
    token: str
    parts: Parts | None
    """None: submodules stay empty folders, LFS files pointers."""


@dataclass(slots=True, kw_only=True)
class WorkTree:
    """One folder and who reads it. Only touched from the event loop, under the project's lock."""

    folder: Path
    commit: str | None
    """None while it is being rewritten: after a kill such a tree is made anew."""
    readers: int = 0
    used_at: float = 0.0

    @property
    def files(self) -> Path:
        return self.folder / "files"

    @property
    def commit_file(self) -> Path:
        return self.folder / "commit"

    @property
    def contents_file(self) -> Path:
        return self.folder / "contents.json"
