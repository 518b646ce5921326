"""Submodules and LFS files of a work tree, from the coordinator with the step's own token.

Where they belong is told by the commit's own trees and pointers; of the coordinator come only the
bytes, and they are what the commits name: nothing it or a `.gitmodules` says can lie elsewhere.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import stat
import subprocess
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from agent.coordinator_client import (
    CallRefusedError,
    CoordinatorClient,
    CredentialRefusedError,
)
from agent.retries import keep_trying
from agent.sources import (
    Parts,
    PartsError,
    Wanted,
    WorkTree,
    bring_commits,
    git_environment,
    to_end,
)
from agent.tree_contents import TreeContents
from pipelines_schema.contract import (
    LFS_OBJECTS_AT_ONCE,
    LfsObject,
    LfsRequest,
    StepSpec,
    SubmoduleRef,
)

Answer = TypeVar("Answer")

PATIENCE_SECONDS = 3600.0
"""How long the coordinator may fetch from forges, or be away."""
QUIET_SECONDS = 5.0
"""After which the step's log says what is waited for."""
LONGEST_PAUSE_SECONDS = 1.6
"""Between two questions whether the coordinator has it by now."""
DOWNLOADS_AT_ONCE = 4
MAX_DAMAGED = 3
ATTRIBUTE_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class StepParts:
    """Implements sources.Parts for one attempt."""

    client: CoordinatorClient
    spec: StepSpec
    tell: Callable[[str], None]
    """Given a line for the step's log."""

    async def submodules(self) -> Sequence[SubmoduleRef]:
        answer = await self._patiently(lambda: self.client.submodules(self.spec), "the submodules")
        return answer.submodules

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


async def add_parts(
    mirror: Path, tree: WorkTree, contents: TreeContents, wanted: Wanted, parts: Parts
) -> None:
    """Lay submodules and LFS files into a tree of the commit. Raises SourceError."""
    if contents.gitlinks:
        await _add_submodules(mirror, tree, contents, wanted, await parts.submodules())
    if contents.pointers:
        await _fill_pointers(mirror, tree, contents, wanted.source.commit, parts)


async def _add_submodules(
    mirror: Path,
    tree: WorkTree,
    contents: TreeContents,
    wanted: Wanted,
    found: Sequence[SubmoduleRef],
) -> None:
    from agent import source_files

    for path in contents.laid.keys() - {submodule.path for submodule in found}:
        await to_end(source_files.empty_submodule, tree, contents, path)
    commits = list(dict.fromkeys(submodule.commit for submodule in found))
    await bring_commits(mirror, wanted, commits)
    for submodule in found:
        if contents.gitlinks.get(submodule.path) != submodule.commit:
            raise PartsError(f"the coordinator names a submodule {submodule.path!r} that is none")
        if contents.laid.get(submodule.path) != submodule.commit:
            await to_end(source_files.lay_submodule, mirror, tree, contents, submodule.path)


async def _fill_pointers(
    mirror: Path, tree: WorkTree, contents: TreeContents, commit: str, parts: Parts
) -> None:
    from agent import source_files

    for submodule, paths in contents.pointers_by_submodule().items():
        root = tree.files / submodule
        ours = await to_end(_kept_by_lfs, mirror, tree.files, root, paths)
        for path in [path for path in paths if path in contents.filled and path not in ours]:
            inside = contents.laid.get(submodule, commit)
            await to_end(source_files.restore, mirror, tree, contents, submodule, path, inside)
        needed = [
            path
            for path in paths
            if path in ours and contents.filled.get(path) != contents.pointers[path].oid
        ]
        if needed:
            await _fill(tree, contents, submodule, needed, parts)


def _kept_by_lfs(mirror: Path, files: Path, root: Path, paths: Sequence[str]) -> set[str]:
    """Of these files of a repository's root, those whose attribute `filter` is `lfs`. Blocking."""
    names = [os.fsencode(files / path)[len(os.fsencode(root)) + 1 :] for path in paths]
    command = ["git", f"--git-dir={mirror}", f"--work-tree={root}", "check-attr", "-z", "--stdin"]
    try:
        done = subprocess.run(
            [*command, "filter"],
            cwd=root,
            env=git_environment("") | {"GIT_ATTR_NOSYSTEM": "1"},
            input=b"\0".join(names) + b"\0",
            capture_output=True,
            timeout=ATTRIBUTE_SECONDS,
            check=True,
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise PartsError(f".gitattributes can't be read: {error}") from error
    fields = done.stdout.split(b"\0")
    kept = {fields[i] for i in range(0, len(fields) - 2, 3) if fields[i + 2] == b"lfs"}
    return {path for path, name in zip(paths, names, strict=True) if name in kept}


async def _fill(
    tree: WorkTree, contents: TreeContents, submodule: str, paths: Sequence[str], parts: Parts
) -> None:
    objects = {contents.pointers[path].oid: contents.pointers[path] for path in paths}
    await parts.bring(submodule, list(objects.values()))
    gate = asyncio.Semaphore(DOWNLOADS_AT_ONCE)

    async def one(number: int, path: str) -> None:
        async with gate:
            item, fresh = contents.pointers[path], tree.folder / f"lfs-{number}"
            await parts.download(submodule, item, fresh)
            _put_in_place(fresh, tree.files / path)
            contents.filled[path] = item.oid

    try:
        async with asyncio.TaskGroup() as tasks:
            for number, path in enumerate(paths):
                tasks.create_task(one(number, path))
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None


def _put_in_place(fresh: Path, target: Path) -> None:
    """The pointer's file becomes the content's, with the same mode. Raises PartsError."""
    try:
        fresh.chmod(stat.S_IMODE(target.lstat().st_mode))
        fresh.replace(target)
    except OSError as error:
        raise PartsError(f"the LFS file {target.name} can't be written: {error}") from error
