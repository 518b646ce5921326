"""The source at a commit: one mirror per project, and work trees that outlive attempts.

A work tree is lent to any number of readers of its commit. It goes to another commit only when
nobody reads, and then only what differs is rewritten: files that stay keep their times, so that
incremental sync and cached builds have something to build on. There is no `.git` in it, and its
bytes are those of the commit: no line-end conversion, no filters but Git LFS. Submodules and LFS
files come from the coordinator (`source_parts`).

`source_parts` and `source_files` are imported with the first source: libgit2 takes 11 MB, which an
idle agent spares.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from agent.carried import in_thread
from agent.picked_files import name_of, pick
from agent.removal import remove_folder
from agent.settings import KEEP_DAYS, is_safe_name
from agent.source_mirror import bring_commits
from agent.source_trees import GitFolder, Parts, PartsError, SourceError, Wanted, WorkTree
from pipelines_schema.contract_sources import GitSpec, SourceSpec

logger = logging.getLogger(__name__)

COMMIT = re.compile(r"[0-9a-f]{40}")
IDLE_TREES_PER_PROJECT = 3
MAX_PROJECTS = 50


class Project:
    """Mirror and work trees of one project."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.mirror = folder / "mirror.git"
        self.lock = asyncio.Lock()
        self.trees: dict[int, WorkTree] = {}

    def store_of(self, git: GitSpec) -> Path:
        """The repository of which a `.git` is made, unless that is apart."""
        kind = "full" if git.depth is None else f"{git.depth}-tags" if git.tags else f"{git.depth}"
        return self.folder / f"git-{kind}" / "store"

    def home_of(self, git: GitSpec | None) -> Path:
        """Where a commit is fetched to: what its step's `.git` is made of, if that holds no more
        than the commit or all; else the mirror, which has what forks and submodules have, too."""
        if git is None or git.apart or git.depth not in (1, None):
            return self.mirror
        return self.store_of(git)

    def repositories(self, first: Path) -> list[Path]:
        """All that are here, beginning with that one. Blocking."""
        others = [self.mirror, *self.folder.glob("git-*/store")]
        return [first, *(other for other in others if other != first and other.exists())]

    @property
    def used_at(self) -> float:
        """By a step of this process, or of an earlier one; 0 where nothing is there yet."""
        try:
            return self.folder.stat().st_mtime
        except OSError:
            return 0.0

    @property
    def in_use(self) -> bool:
        return self.lock.locked() or any(tree.readers for tree in self.trees.values())

    def load_trees(self) -> None:
        """Find the trees an earlier process left. Blocking."""
        for folder in self.folder.glob("tree-*"):
            number = folder.name.removeprefix("tree-")
            if number.isdigit():
                tree = WorkTree(folder=folder, commit=None, used_at=0.0)
                with contextlib.suppress(OSError):
                    tree.commit = tree.commit_file.read_text("ascii").strip()
                self.trees[int(number)] = tree

    def tree_for(self, commit: str) -> WorkTree:
        """The tree that has the commit, else the idle one used last, else a new one."""
        idle = [tree for tree in self.trees.values() if tree.readers == 0]
        same = [tree for tree in self.trees.values() if tree.commit == commit]
        if same:
            return same[0]
        if idle:
            return max(idle, key=lambda tree: tree.used_at)
        number = next(n for n in range(len(self.trees) + 1) if n not in self.trees)
        self.trees[number] = WorkTree(folder=self.folder / f"tree-{number}", commit=None)
        return self.trees[number]

    def surplus_trees(self) -> list[int]:
        idle = [number for number, tree in self.trees.items() if tree.readers == 0]
        idle.sort(key=lambda number: self.trees[number].used_at, reverse=True)
        return idle[IDLE_TREES_PER_PROJECT:]


class Lent:
    """Holds a work tree until it has been read once, or `release`."""

    def __init__(
        self, *, sources: Sources, project: Project, tree: WorkTree, wanted: Wanted
    ) -> None:
        self._sources = sources
        self._project = project
        self._tree = tree
        self._wanted = wanted
        self._held = True

    @property
    def key(self) -> str:
        return f"{self._project.folder.name}-{self._tree.folder.name}"

    @asynccontextmanager
    async def _opened(self) -> AsyncIterator[WorkTree]:
        if not self._held:
            self._tree = await self._sources.lend(self._project, self._wanted)
            self._held = True
        try:
            yield self._tree
        finally:
            self._let_go()

    def _let_go(self) -> None:
        if self._held:
            self._held = False
            self._tree.readers -= 1
            self._tree.used_at = time.time()


class LentGit(Lent):
    """A protocol.GitTree."""

    @property
    def key(self) -> str:
        return f"{super().key}-git"

    @asynccontextmanager
    async def open(self) -> AsyncIterator[GitFolder]:
        """Lend the `.git`. Opened again, it may be another, and SourceError may be raised."""
        async with self._opened() as tree:
            yield await self._sources.git_of(self._project, tree, self._wanted)

    def release(self) -> None:
        self._let_go()


class LentSource(Lent):
    """A protocol.SourceTree."""

    git: LentGit | None = None

    @property
    def key(self) -> str:
        inputs = self._wanted.source.inputs
        return super().key if inputs is None else f"{super().key}-{name_of(inputs)}"

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Path]:
        """Lend the folder. Opened again, it may be another, and SourceError may be raised."""
        async with self._opened() as tree:
            inputs = self._wanted.source.inputs
            if inputs is None:
                yield tree.files
            else:
                yield await self._sources.picked_of(self._project, tree, inputs)

    def written_ns(self) -> int:
        """None of the tree's files is newer. Blocking. Raises OSError."""
        return self._tree.commit_file.stat().st_mtime_ns

    def release(self) -> None:
        """Let the tree go where it hasn't been opened; nothing happens the second time."""
        self._let_go()
        if self.git is not None:
            self.git.release()

    async def prepare_git(self) -> None:
        """Have its `.git`, and hold the tree for a reader of that, too."""
        await self._sources.git_of(self._project, self._tree, self._wanted)
        self._tree.readers += 1
        self.git = LentGit(
            sources=self._sources, project=self._project, tree=self._tree, wanted=self._wanted
        )


class Sources:
    """All projects' sources below one folder, which no other process uses."""

    def __init__(
        self, folder: Path, repositories: Path | None = None, *, keep_days: int = KEEP_DAYS
    ) -> None:
        """`repositories`: of a coordinator on this machine that git can't fetch from otherwise.
        What no step has used for `keep_days` goes."""
        self._folder = folder
        self._keep_seconds = keep_days * 86_400.0
        self._repositories = repositories
        self._projects: dict[str, Project] = {}

    def open(self) -> None:
        """Find what an earlier process left. Blocking."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for folder in self._folder.iterdir():
            project = Project(folder)
            project.load_trees()
            self._projects[folder.name] = project

    def warm(self) -> list[str]:
        """The projects whose source is here."""
        return [name for name, project in self._projects.items() if project.trees]

    async def prepare(
        self, project_id: str, source: SourceSpec, token: str, parts: Parts | None = None
    ) -> LentSource:
        """Fetch the commit if it isn't here and lend a work tree of it. Raises SourceError."""
        if not is_safe_name(project_id):
            raise SourceError(f"the project's id {project_id!r} can't be a folder")
        if not COMMIT.fullmatch(source.commit):
            raise SourceError(f"{source.commit!r} is not a full commit id")
        project = self._projects.setdefault(project_id, Project(self._folder / project_id))
        wanted = Wanted(
            source=source, token=token, parts=parts, repository=self._repository_of(project_id)
        )
        tree = await self.lend(project, wanted)
        lent = LentSource(sources=self, project=project, tree=tree, wanted=wanted)
        try:
            if source.git is not None:
                await lent.prepare_git()
            await self._prune_projects()
        except BaseException:
            lent.release()
            raise
        return lent

    def _repository_of(self, project_id: str) -> str | None:
        """As a URL: of a plain path git takes all of the history."""
        if self._repositories is None:
            return None
        return (self._repositories.absolute() / f"{project_id}.git").as_uri()

    async def lend(self, project: Project, wanted: Wanted) -> WorkTree:
        """Hold a tree of the commit for a reader, who lowers `readers` when done."""
        async with project.lock:
            tree = project.tree_for(wanted.source.commit)
            if tree.commit != wanted.source.commit:
                await self._bring(project, tree, wanted)
            tree.readers += 1
            tree.used_at = time.time()
            os.utime(project.folder)  # what the next process goes by
            await self._prune_trees(project)
        return tree

    async def git_of(self, project: Project, tree: WorkTree, wanted: Wanted) -> GitFolder:
        """The `.git` that is wanted for a tree somebody holds. Raises SourceError."""
        from agent.source_git import bring_git

        if wanted.source.git is None:
            raise SourceError("no .git was asked for")
        async with project.lock:
            store = project.store_of(wanted.source.git)
            return await bring_git(store, project.mirror, tree, wanted, wanted.source.git)

    async def picked_of(self, project: Project, tree: WorkTree, inputs: Sequence[str]) -> Path:
        """A folder with those files alone of a tree somebody holds. Raises SourceError."""
        async with project.lock:
            folder = tree.picked_folder / name_of(inputs)
            if folder not in tree.picked:
                await in_thread(pick, tree, folder, inputs)
                tree.picked.add(folder)
            return folder

    async def _bring(self, project: Project, tree: WorkTree, wanted: Wanted) -> None:
        home, commits = project.home_of(wanted.source.git), [wanted.source.commit]
        git = wanted.source.git
        depth = 1 if git is None or home == project.mirror else git.depth
        await bring_commits(home, wanted, commits, depth=depth)
        try:
            await _switch(project, home, tree, wanted)
        except PartsError:
            raise
        except SourceError as error:
            # A repository that lost objects (a power cut) never gets well by itself.
            logger.warning("%s; fetching anew", error)
            for damaged in {home, project.mirror}:
                await asyncio.to_thread(remove_folder, damaged)
            await bring_commits(home, wanted, commits, depth=depth)
            await _switch(project, home, tree, wanted)

    async def _prune_trees(self, project: Project) -> None:
        for number in project.surplus_trees():
            tree = project.trees.pop(number)
            await asyncio.to_thread(remove_folder, tree.folder)

    async def _prune_projects(self) -> None:
        """Forget the projects unused for longest, and those that were not used for too long."""
        by_use = sorted(self._projects.items(), key=lambda item: item[1].used_at)
        idle = [item for item in by_use if not item[1].in_use]
        surplus = max(0, len(by_use) - MAX_PROJECTS)
        before = time.time() - self._keep_seconds
        old = [item for item in idle[surplus:] if item[1].used_at < before]
        for name, project in [*idle[:surplus], *old]:
            async with project.lock:
                del self._projects[name]
                await asyncio.to_thread(remove_folder, project.folder)


async def _switch(project: Project, home: Path, tree: WorkTree, wanted: Wanted) -> None:
    """Bring a tree nobody reads to a commit that is in `home`. Raises SourceError."""
    from agent import source_files
    from agent.source_parts import add_parts

    commit, before = wanted.source.commit, tree.commit
    tree.commit = None
    tree.lent_git.clear()
    tree.picked.clear()
    await asyncio.to_thread(remove_folder, tree.picked_folder)
    repositories = await asyncio.to_thread(project.repositories, home)
    contents = await in_thread(source_files.rewrite, repositories, tree, before, commit)
    if contents.pointers:
        tree.indexed = None  # a file may have got its content, and another time, in the same tree
    if wanted.parts is not None and (contents.gitlinks or contents.pointers):
        await add_parts(home, project.mirror, tree, contents, wanted, wanted.parts)
    await in_thread(source_files.seal, tree, commit, contents)
    tree.commit = commit
