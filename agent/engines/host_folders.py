"""The folders of one attempt on the host, and how its source and caches come into them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from agent.carried import in_parallel, in_thread
from agent.engines.host_trees import copy_repository, copy_tree, remove_tree
from agent.engines.protocol import CacheMount, SourceTree
from pipelines_schema.paths import WORKSPACE

CONTAINER_HOME = "/root"


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptFolders:
    """The folders of one attempt, all owned by the user who runs the script."""

    root: Path

    @property
    def workspace(self) -> Path:
        return self.root / "workspace"

    @property
    def home(self) -> Path:
        return self.root / "home"

    @property
    def temporary(self) -> Path:
        return self.root / "tmp"

    @property
    def secrets(self) -> Path:
        return self.root / "secrets"

    @property
    def authorities(self) -> Path:
        return self.root / "authorities.pem"

    @property
    def values(self) -> Path:
        """Where the script writes what it hands on."""
        return self.root / "output"

    @property
    def script(self) -> Path:
        return self.root / "script.sh"


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheLinks:
    links: Mapping[Path, CacheMount]
    """Where the script sees a cache → the cache."""
    notes: Sequence[str]


def place_caches(mounts: Sequence[CacheMount], folders: AttemptFolders) -> CacheLinks:
    """Say where each cache's link goes; the host has no mounts, so only two places are possible."""
    links: dict[Path, CacheMount] = {}
    notes = []
    for mount in mounts:
        place = _cache_place(mount.path, folders)
        if place is None:
            notes.append(
                f"cacheDirs: the host engine ignores {mount.path}: it can keep only caches below "
                f"{WORKSPACE} or the home folder (~)."
            )
        else:
            links[place] = mount
    return CacheLinks(links=links, notes=tuple(notes))


def _cache_place(path: str, folders: AttemptFolders) -> Path | None:
    if ".." in Path(path).parts or not Path(path).name:
        return None
    for prefix, folder in (
        (WORKSPACE, folders.workspace),
        (CONTAINER_HOME, folders.home),
        ("~", folders.home),
        ("$HOME", folders.home),
        ("${HOME}", folders.home),
    ):
        if path.startswith(prefix + "/"):
            below = path[len(prefix) :].strip("/")
            return folder / below if Path(below).name else None
    return None if path.startswith(("/", "~", "$")) else folders.workspace / path


def link_cache(place: Path, cache: Path, folders: AttemptFolders) -> None:
    """Put a link to the cache in the attempt's folders, which nobody else can enter yet.

    Links of the source may lead anywhere, also to where somebody changes them: the folder is
    resolved once, and from there on only its real path is used, which nobody can change.
    """
    above = place.parent.resolve()
    if not above.is_relative_to(folders.root.resolve()):
        raise OSError(f"cacheDirs: {place} is behind a symbolic link")
    above.mkdir(parents=True, exist_ok=True)
    link = above / place.name
    if link.is_dir() and not link.is_symlink():
        remove_tree(link)
    else:
        link.unlink(missing_ok=True)
    link.symlink_to(cache)


def begins_in(workspace: Path, workdir: str) -> Path | None:
    """None where there is no such folder below the workspace."""
    if not workdir:
        return workspace
    found = (workspace / workdir).resolve()
    return found if found.is_dir() and found.is_relative_to(workspace.resolve()) else None


async def lay_source(source: SourceTree, workspace: Path) -> None:
    """Its files and, where it has one, its `.git`: both at once, as no file of a commit is in a
    `.git`."""
    async with AsyncExitStack() as opened:
        work = [copy_tree([await opened.enter_async_context(source.open())], workspace)]
        if source.git is not None:
            git = await opened.enter_async_context(source.git.open())
            work.append(in_thread(copy_repository, [git.small, git.large], workspace))
        await in_parallel(work)
