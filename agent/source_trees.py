"""Work trees as values, and what may be wrong with a source."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from pipelines_schema.contract_sources import GitRef, LfsObject, SourceSpec, SubmoduleRef


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

    async def refs(self, *, history: bool) -> Sequence[GitRef]:
        """The tags of the commit, or all tags and branches that its step may see."""
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
    repository: str | None = None
    """URL of the repository on this machine's disk that is fetched from instead of the source's."""


@dataclass(frozen=True, slots=True)
class GitFolder:
    """A `.git` as it is lent: two folders to be laid over each other."""

    path: Path

    @property
    def small(self) -> Path:
        """All but the packs, in a folder `.git`."""
        return self.path / "small"

    @property
    def large(self) -> Path:
        """`.git/objects/pack`."""
        return self.path / "large"

    @property
    def dot(self) -> Path:
        return self.small / ".git"

    @property
    def packs(self) -> Path:
        return self.large / ".git" / "objects" / "pack"


@dataclass(slots=True)
class IndexedFolder:
    """What an index says of a folder's files, to be taken over while its tree stays the same."""

    tree: bytes
    parts: list[bytes | IndexedFolder] = field(default_factory=list)
    """Entries of its own and folders, in the order of the index, which is that of the tree."""
    folders: dict[bytes, IndexedFolder] = field(default_factory=dict)
    entries: int = 0
    """Of its own, without those of its folders."""


@dataclass(slots=True, kw_only=True)
class WorkTree:
    """One folder and who reads it. Only touched from the event loop, under the project's lock."""

    folder: Path
    commit: str | None
    """None while it is being rewritten: after a kill such a tree is made anew."""
    readers: int = 0
    used_at: float = 0.0
    picked: set[Path] = field(default_factory=set)
    """Folders with some of the commit's files, whole; they stay as long as `lent_git`."""
    lent_git: set[GitFolder] = field(default_factory=set)
    """Of the commit, whole; they stay until the tree goes to another one."""
    indexed: IndexedFolder | None = None
    """Of this commit or an earlier one, if what stayed since then has not been written anew."""

    @property
    def git_folder(self) -> Path:
        return self.folder / "git"

    @property
    def picked_folder(self) -> Path:
        return self.folder / "picked"

    @property
    def files(self) -> Path:
        return self.folder / "files"

    @property
    def commit_file(self) -> Path:
        return self.folder / "commit"

    @property
    def contents_file(self) -> Path:
        return self.folder / "contents.json"
