"""The source at a commit: one mirror per project, and work trees that outlive attempts.

A work tree is lent to any number of readers of its commit. It goes to another commit only when
nobody reads, and then only what differs is rewritten: files that stay keep their times, so that
incremental sync and cached builds have something to build on. There is no `.git` in it, and its
bytes are those of the commit: no line-end conversion, no filters but Git LFS. Submodules and LFS
files come from the coordinator (`source_parts`).

`source_files` is imported with the first source: libgit2 takes 11 MB, which an idle agent spares.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ParamSpec, Protocol, TypeVar

from agent.removal import remove_folder
from agent.retries import pause_after
from agent.settings import is_safe_name
from pipelines_schema.contract import LfsObject, SourceSpec, SubmoduleRef

P = ParamSpec("P")
T = TypeVar("T")

logger = logging.getLogger(__name__)

COMMIT = re.compile(r"[0-9a-f]{40}")
FETCH_SECONDS = 600.0
"""One fetch, from its start to its end; a stalled one ends after STALLED_SECONDS."""
STALLED_SECONDS = 30
AWAY_SECONDS = 600.0
"""How long a coordinator that can't be reached is waited for."""
IDLE_TREES_PER_PROJECT = 3
MAX_PROJECTS = 50
MAX_KEPT_REFS = 200
"""Commits that later fetches may build on."""
MAX_OTHER_FAILURES = 4
"""How often a fetch is tried that fails for neither of the reasons below."""
AWAY = re.compile(
    r"returned error: (5\d\d|429|408)|Could not resolve|Failed to connect|Couldn't connect|"
    r"Connection (refused|reset|timed out)|Empty reply|Recv failure|git took longer",
    re.IGNORECASE,
)
PERMANENT = re.compile(
    r"returned error: 4\d\d|Authentication failed|not our ref|could not read Username|"
    r"couldn't find remote ref|unable to update url base from redirection",
    re.IGNORECASE,
)


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


class Project:
    """Mirror and work trees of one project."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.mirror = folder / "mirror.git"
        self.lock = asyncio.Lock()
        self.trees: dict[int, WorkTree] = {}

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


class LentSource:
    """A protocol.SourceTree: holds its work tree until it has been read once, or `release`."""

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
    async def open(self) -> AsyncIterator[Path]:
        """Lend the folder. Opened again, it may be another, and SourceError may be raised."""
        if not self._held:
            self._tree = await self._sources.lend(self._project, self._wanted)
            self._held = True
        try:
            yield self._tree.files
        finally:
            self.release()

    def release(self) -> None:
        """Let the tree go where it hasn't been opened; nothing happens the second time."""
        if self._held:
            self._held = False
            self._tree.readers -= 1
            self._tree.used_at = time.time()


class Sources:
    """All projects' sources below one folder, which no other process uses."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
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
        wanted = Wanted(source=source, token=token, parts=parts)
        tree = await self.lend(project, wanted)
        await self._prune_projects()
        return LentSource(sources=self, project=project, tree=tree, wanted=wanted)

    async def lend(self, project: Project, wanted: Wanted) -> WorkTree:
        """Hold a tree of the commit for a reader, who lowers `readers` when done."""
        async with project.lock:
            tree = project.tree_for(wanted.source.commit)
            if tree.commit != wanted.source.commit:
                await self._bring(project, tree, wanted)
            tree.readers += 1
            tree.used_at = time.time()
            await self._prune_trees(project)
        return tree

    async def _bring(self, project: Project, tree: WorkTree, wanted: Wanted) -> None:
        commits = [wanted.source.commit]
        await bring_commits(project.mirror, wanted, commits)
        try:
            await _switch(project.mirror, tree, wanted)
        except PartsError:
            raise
        except SourceError as error:
            # A mirror that lost objects (a power cut) never gets well by itself.
            logger.warning("%s; fetching anew", error)
            await asyncio.to_thread(remove_folder, project.mirror)
            await bring_commits(project.mirror, wanted, commits)
            await _switch(project.mirror, tree, wanted)

    async def _prune_trees(self, project: Project) -> None:
        for number in project.surplus_trees():
            tree = project.trees.pop(number)
            await asyncio.to_thread(remove_folder, tree.folder)

    async def _prune_projects(self) -> None:
        """Forget the projects unused for longest."""
        by_use = sorted(
            self._projects.items(),
            key=lambda item: max((tree.used_at for tree in item[1].trees.values()), default=0.0),
        )
        surplus = max(0, len(by_use) - MAX_PROJECTS)
        for name, project in [item for item in by_use if not item[1].in_use][:surplus]:
            async with project.lock:
                del self._projects[name]
                await asyncio.to_thread(remove_folder, project.folder)


async def bring_commits(mirror: Path, wanted: Wanted, commits: Sequence[str]) -> None:
    """Have the commits in the mirror. Raises SourceError."""
    missing = await asyncio.to_thread(_missing_commits, mirror, commits)
    deadline = time.monotonic() + AWAY_SECONDS
    failures = 0
    while missing:
        problem = await _fetch(mirror, wanted, missing)
        missing = await asyncio.to_thread(_missing_commits, mirror, missing)
        if not missing:
            return
        problem = problem or "the fetched repository does not have it"
        failures += 1
        if time.monotonic() > deadline or not _worth_a_try(problem, failures):
            raise SourceError(f"commit {missing[0]} can't be fetched: {problem}")
        logger.info("fetching commit %s: %s", missing[0], problem)
        if failures == MAX_OTHER_FAILURES - 1 and not AWAY.search(problem):
            # A mirror that a power cut damaged never gets well by itself; a new one costs little.
            await asyncio.to_thread(remove_folder, mirror)
            missing = list(commits)
        await pause_after(failures)


def _worth_a_try(problem: str, failures: int) -> bool:
    if AWAY.search(problem):
        return True
    return not PERMANENT.search(problem) and failures < MAX_OTHER_FAILURES


async def _fetch(mirror: Path, wanted: Wanted, commits: Sequence[str]) -> str | None:
    """Fetch commits without their history; return what went wrong, or None."""
    await asyncio.to_thread(_ready_mirror, mirror)
    arguments = [
        "git",
        *("-c", "gc.autoDetach=false", "-c", "maintenance.autoDetach=false"),
        *("-c", f"http.lowSpeedTime={STALLED_SECONDS}", "-c", "http.lowSpeedLimit=100"),
        *("-c", "http.followRedirects=false", "-c", "credential.helper="),
        *("-c", "gc.packRefs=false", "-c", "core.hooksPath=/dev/null"),
        f"--git-dir={mirror}",
        *("fetch", "--quiet", "--no-tags", "--depth=1", "--force", "--no-write-fetch-head"),
        *("--end-of-options", wanted.source.url),
        *(f"{commit}:refs/pushrod/{commit}" for commit in commits),
    ]
    return await _run_git(arguments, git_environment(wanted.token), FETCH_SECONDS)


def git_environment(token: str) -> dict[str, str]:
    """The token goes by the environment: a URL or an argument can be seen by every user."""
    return {
        "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
        "LC_ALL": "C",
        "HOME": "/nonexistent",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ALLOW_PROTOCOL": "http:https",
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": "http.extraHeader",
        "GIT_CONFIG_VALUE_0": f"Authorization: Bearer {token}",
    }


async def _run_git(
    arguments: Sequence[str], environment: Mapping[str, str], seconds: float
) -> str | None:
    process = await asyncio.create_subprocess_exec(
        *arguments,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=environment,
        start_new_session=True,
    )
    try:
        async with asyncio.timeout(seconds):
            _, errors = await process.communicate()
    except TimeoutError:
        return f"git took longer than {seconds:g} s"
    finally:
        if process.returncode is None:
            # git's transport is a process of its own: end the whole group.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await asyncio.shield(process.wait())
    if process.returncode == 0:
        return None
    return errors.decode("utf-8", "replace").strip() or f"git ended with {process.returncode}"


def _ready_mirror(mirror: Path) -> None:
    """Make the mirror where there is none; remove the locks that a killed git left."""
    if not (mirror / "HEAD").exists():
        remove_folder(mirror)
        mirror.parent.mkdir(mode=0o700, exist_ok=True)
        from agent import source_files

        source_files.make_mirror(mirror)
    for folder, _, files in os.walk(mirror):
        for name in files:
            if name.endswith(".lock"):
                Path(folder, name).unlink()
    refs = mirror / "refs" / "pushrod"
    if refs.is_dir():
        oldest_first = sorted(refs.iterdir(), key=lambda ref: ref.stat().st_mtime)
        for ref in oldest_first[:-MAX_KEPT_REFS]:
            ref.unlink()


def _missing_commits(mirror: Path, commits: Sequence[str]) -> list[str]:
    from agent import source_files

    return [commit for commit in commits if not source_files.has_commit(mirror, commit)]


async def _switch(mirror: Path, tree: WorkTree, wanted: Wanted) -> None:
    """Bring a tree nobody reads to a commit. Raises SourceError."""
    from agent import source_files
    from agent.source_parts import add_parts

    commit, before = wanted.source.commit, tree.commit
    tree.commit = None
    contents = await to_end(source_files.rewrite, mirror, tree, before, commit)
    if wanted.parts is not None and (contents.gitlinks or contents.pointers):
        await add_parts(mirror, tree, contents, wanted, wanted.parts)
    await to_end(source_files.seal, tree, commit, contents)
    tree.commit = commit


async def to_end(work: Callable[P, T], *args: P.args, **options: P.kwargs) -> T:
    """Run in a thread that a cancel waits for: it can't be stopped, and nobody else may have the
    tree while it writes."""
    running = asyncio.ensure_future(asyncio.to_thread(work, *args, **options))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        with contextlib.suppress(SourceError):
            await running
        raise
