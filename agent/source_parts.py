"""Submodules and LFS files of a work tree, from the coordinator with the step's own token.

Where they belong is told by the commit's own trees and pointers; of the coordinator come only the
bytes, and they are what the commits name: nothing it or a `.gitmodules` says can lie elsewhere.
"""

from __future__ import annotations

import asyncio
import os
import stat
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from agent import source_files
from agent.carried import in_parallel, in_thread
from agent.source_mirror import bring_commits, git_environment
from agent.source_trees import Parts, PartsError, Wanted, WorkTree
from agent.tree_contents import TreeContents
from pipelines_schema.contract_sources import SubmoduleRef

DOWNLOADS_AT_ONCE = 4
ATTRIBUTE_SECONDS = 60.0
UNSEEN_SECONDS = 2.0


async def add_parts(
    own: Path, mirror: Path, tree: WorkTree, contents: TreeContents, wanted: Wanted, parts: Parts
) -> None:
    """Lay submodules and LFS files into a tree of the commit. Raises SourceError.

    The commit is in the repository `own`, those of submodules are brought to the mirror.
    """
    if contents.gitlinks:
        await _add_submodules(mirror, tree, contents, wanted, await parts.submodules())
    if contents.pointers:
        await _fill_pointers([own, mirror], tree, contents, wanted.source.commit, parts)


async def _add_submodules(
    mirror: Path,
    tree: WorkTree,
    contents: TreeContents,
    wanted: Wanted,
    found: Sequence[SubmoduleRef],
) -> None:
    for path in contents.laid.keys() - {submodule.path for submodule in found}:
        await in_thread(source_files.empty_submodule, tree, contents, path)
    commits = list(dict.fromkeys(submodule.commit for submodule in found))
    await bring_commits(mirror, wanted, commits)
    for submodule in found:
        if contents.gitlinks.get(submodule.path) != submodule.commit:
            raise PartsError(f"the coordinator names a submodule {submodule.path!r} that is none")
        if contents.laid.get(submodule.path) != submodule.commit:
            await in_thread(source_files.lay_submodule, mirror, tree, contents, submodule.path)


async def _fill_pointers(
    repositories: Sequence[Path],
    tree: WorkTree,
    contents: TreeContents,
    commit: str,
    parts: Parts,
) -> None:
    for submodule, paths in contents.pointers_by_submodule().items():
        root = tree.files / submodule
        ours = await in_thread(_kept_by_lfs, repositories[0], tree.files, root, paths)
        for path in [path for path in paths if path in contents.filled and path not in ours]:
            inside = contents.laid.get(submodule, commit)
            restored = (repositories, tree, contents, submodule, path, inside)
            await in_thread(source_files.restore, *restored)
        needed = [
            path
            for path in paths
            if path in ours and contents.filled.get(path) != contents.pointers[path].oid
        ]
        if needed:
            await _fill(tree, contents, submodule, needed, parts)


def _kept_by_lfs(repository: Path, files: Path, root: Path, paths: Sequence[str]) -> set[str]:
    """Of these files of a repository's root, those whose attribute `filter` is `lfs`. Blocking."""
    names = [os.fsencode(files / path)[len(os.fsencode(root)) + 1 :] for path in paths]
    command = [
        "git",
        f"--git-dir={repository}",
        f"--work-tree={root}",
        "check-attr",
        "-z",
        "--stdin",
    ]
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

    await in_parallel([one(number, path) for number, path in enumerate(paths)])


def _put_in_place(fresh: Path, target: Path) -> None:
    """The pointer's file becomes the content's, with the same mode. Raises PartsError."""
    try:
        fresh.chmod(stat.S_IMODE(target.lstat().st_mode))
        # Older than any index of it: git must not read it, for it is not what the commit has.
        os.utime(fresh, (begun := time.time() - UNSEEN_SECONDS, begun))
        fresh.replace(target)
    except OSError as error:
        raise PartsError(f"the LFS file {target.name} can't be written: {error}") from error
