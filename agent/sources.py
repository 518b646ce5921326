"""The source at a commit: one mirror per project, and work trees that outlive attempts.

A work tree is lent to any number of readers of its commit. It goes to another commit only when
nobody reads, and then only what differs is rewritten: files that stay keep their times, so that
incremental sync and cached builds have something to build on. There is no `.git` in it, and its
bytes are those of the commit: no line-end conversion, no filters.

`source_files` is imported with the first source: libgit2 takes 11 MB, which an idle agent spares.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import random
import re
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from agent.journal import remove_folder
from agent.lease import retry_delay_seconds
from agent.settings import is_safe_name
from pipelines_schema.contract import SourceSpec

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

    def __init__(self, *, sources: Sources, project: Project, tree: WorkTree, commit: str) -> None:
        self._sources = sources
        self._project = project
        self._tree = tree
        self._commit = commit
        self._held = True

    @property
    def key(self) -> str:
        return f"{self._project.folder.name}-{self._tree.folder.name}"

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Path]:
        """Lend the folder. Opened again, it may be another, and SourceError may be raised."""
        if not self._held:
            self._tree = await self._sources.lend(self._project, self._commit)
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

    async def prepare(self, project_id: str, source: SourceSpec, token: str) -> LentSource:
        """Fetch the commit if it isn't here and lend a work tree of it. Raises SourceError."""
        if not is_safe_name(project_id):
            raise SourceError(f"the project's id {project_id!r} can't be a folder")
        if not COMMIT.fullmatch(source.commit):
            raise SourceError(f"{source.commit!r} is not a full commit id")
        project = self._projects.setdefault(project_id, Project(self._folder / project_id))
        tree = await self.lend(project, source.commit, fetch=(source, token))
        await self._prune_projects()
        return LentSource(sources=self, project=project, tree=tree, commit=source.commit)

    async def lend(
        self, project: Project, commit: str, *, fetch: tuple[SourceSpec, str] | None = None
    ) -> WorkTree:
        """Hold a tree of the commit for a reader, who lowers `readers` when done."""
        async with project.lock:
            tree = project.tree_for(commit)
            if tree.commit != commit:
                await self._bring(project, tree, commit, fetch)
            tree.readers += 1
            tree.used_at = time.time()
            await self._prune_trees(project)
        return tree

    async def _bring(
        self,
        project: Project,
        tree: WorkTree,
        commit: str,
        fetch: tuple[SourceSpec, str] | None,
    ) -> None:
        if fetch is None:
            await _switch(project.mirror, tree, commit)
            return
        await _bring_commit(project.mirror, *fetch)
        try:
            await _switch(project.mirror, tree, commit)
        except SourceError as error:
            # A mirror that lost objects (a power cut) never gets well by itself.
            logger.warning("%s; fetching anew", error)
            await asyncio.to_thread(remove_folder, project.mirror)
            await _bring_commit(project.mirror, *fetch)
            await _switch(project.mirror, tree, commit)

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


async def _bring_commit(mirror: Path, source: SourceSpec, token: str) -> None:
    """Have the commit in the mirror. Raises SourceError."""
    if await asyncio.to_thread(_has_commit, mirror, source.commit):
        return
    deadline = time.monotonic() + AWAY_SECONDS
    failures = 0
    while True:
        problem = await _fetch(mirror, source, token)
        if problem is None and await asyncio.to_thread(_has_commit, mirror, source.commit):
            return
        problem = problem or "the fetched repository does not have it"
        failures += 1
        if time.monotonic() > deadline or not _worth_a_try(problem, failures):
            raise SourceError(f"commit {source.commit} can't be fetched: {problem}")
        logger.info("fetching commit %s: %s", source.commit, problem)
        if failures == MAX_OTHER_FAILURES - 1 and not AWAY.search(problem):
            # A mirror that a power cut damaged never gets well by itself; a new one costs little.
            await asyncio.to_thread(remove_folder, mirror)
        await asyncio.sleep(retry_delay_seconds(failures, random.random()))  # noqa: S311


def _worth_a_try(problem: str, failures: int) -> bool:
    if AWAY.search(problem):
        return True
    return not PERMANENT.search(problem) and failures < MAX_OTHER_FAILURES


async def _fetch(mirror: Path, source: SourceSpec, token: str) -> str | None:
    """Fetch one commit without its history; return what went wrong, or None."""
    await asyncio.to_thread(_ready_mirror, mirror)
    arguments = [
        "git",
        *("-c", "gc.autoDetach=false", "-c", "maintenance.autoDetach=false"),
        *("-c", f"http.lowSpeedTime={STALLED_SECONDS}", "-c", "http.lowSpeedLimit=100"),
        *("-c", "http.followRedirects=false", "-c", "credential.helper="),
        *("-c", "gc.packRefs=false", "-c", "core.hooksPath=/dev/null"),
        f"--git-dir={mirror}",
        *("fetch", "--quiet", "--no-tags", "--depth=1", "--force", "--no-write-fetch-head"),
        *("--end-of-options", source.url, f"{source.commit}:refs/pushrod/{source.commit}"),
    ]
    return await _run_git(arguments, _git_environment(token), FETCH_SECONDS)


def _git_environment(token: str) -> dict[str, str]:
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


def _has_commit(mirror: Path, commit: str) -> bool:
    from agent import source_files

    return source_files.has_commit(mirror, commit)


async def _switch(mirror: Path, tree: WorkTree, commit: str) -> None:
    """Bring a tree nobody reads to a commit. Not interrupted half-way by a cancel."""
    before, tree.commit = tree.commit, None
    work = asyncio.ensure_future(asyncio.to_thread(_rewrite, mirror, tree, before, commit))
    try:
        await asyncio.shield(work)
    except asyncio.CancelledError:
        # The thread can't be stopped, and nobody else may have the tree while it writes.
        with contextlib.suppress(SourceError):
            await work
        raise
    tree.commit = commit


def _rewrite(mirror: Path, tree: WorkTree, before: str | None, commit: str) -> None:
    """Make the tree's files those of the commit. Raises SourceError."""
    from agent import source_files

    source_files.rewrite(mirror, tree, before, commit)
