"""What stands in a commit: the files that are pushrod's own, folders, submodules; and what it
changed."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Collection, Iterator
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from coordinator.domain.pushes.submodules import (
    DeclaredSubmodule,
    UnreadableSubmodules,
    declarations,
)
from coordinator.git.environment import git_environment
from coordinator.git.head import default_tip
from coordinator.git.opened import CommitMissing, find_commit, opened
from coordinator.ports import MAX_CHANGED_PATHS, MAX_WORKFLOW_FILES, WorkflowFile
from pipelines_schema import MODULE_FILES
from pipelines_schema.modules import WHOLE_REPOSITORY

if TYPE_CHECKING:
    import pygit2

MAX_WORKFLOW_BYTES = 1024 * 1024
MAX_GITMODULES_BYTES = 1024 * 1024
_CONFIG_SECONDS = 10.0
_WORKFLOW_SUFFIXES = (".yml", ".yaml")
_ROOT_WORKFLOWS = (".pushrod.yml", ".pushrod.yaml")
_WORKFLOW_FOLDER = ".pushrod"


def workflow_files(path: Path, sha: str) -> list[WorkflowFile]:
    return _files_of_ours(
        path, sha, lambda name: name not in MODULE_FILES, at_most=MAX_WORKFLOW_FILES + 1
    )


def module_files(path: Path, sha: str) -> list[WorkflowFile]:
    return _files_of_ours(path, sha, MODULE_FILES.__contains__, at_most=len(MODULE_FILES))


def _files_of_ours(
    path: Path, sha: str, wanted: Callable[[str], bool], at_most: int
) -> list[WorkflowFile]:
    with opened(path) as repository:
        commit = find_commit(repository, sha)
        if commit is None:
            raise CommitMissing(sha)
        blobs = sorted(blob for blob in _our_blobs(repository, commit) if wanted(blob[0]))
        return [
            WorkflowFile(path=name, content=_start_of_blob(repository, path, blob_id))
            for name, blob_id in islice(blobs, at_most)
        ]


def _our_blobs(
    repository: pygit2.Repository, commit: pygit2.Commit
) -> Iterator[tuple[str, pygit2.Oid]]:
    import pygit2
    from pygit2.enums import FileMode

    root = commit.tree
    for name, mode, entry_id in _entries(root):
        if name in _ROOT_WORKFLOWS and _is_file(mode):
            yield name, entry_id
        if name == _WORKFLOW_FOLDER and mode == FileMode.TREE:
            folder = repository[entry_id].peel(pygit2.Tree)
            for inner, inner_mode, inner_id in _entries(folder):
                if PurePosixPath(inner).suffix in _WORKFLOW_SUFFIXES and _is_file(inner_mode):
                    yield f"{_WORKFLOW_FOLDER}/{inner}", inner_id


def files_at(path: Path, sha: str, paths: Collection[str]) -> dict[str, bytes]:
    with opened(path) as repository:
        commit = find_commit(repository, sha)
        if commit is None:
            raise CommitMissing(sha)
        entries = {one: _entry_at(commit.tree, one) for one in paths}
        return {
            one: _start_of_blob(repository, path, entry.id)
            for one, entry in entries.items()
            if entry is not None and _is_file(entry.filemode)
        }


def folders_among(path: Path, sha: str, paths: Collection[str]) -> set[str]:
    with opened(path) as repository:
        commit = find_commit(repository, sha)
        if commit is None:
            raise CommitMissing(sha)
        return {one for one in paths if _is_folder(commit.tree, one)}


def files_named(path: Path, sha: str, folder: str, names: Collection[str]) -> list[str]:
    """Those of the folder's own files that have one of the names, which are in lower case, in
    whatever case, in order."""
    import pygit2

    with opened(path) as repository:
        commit = find_commit(repository, sha)
        if commit is None:
            raise CommitMissing(sha)
        tree = commit.tree if folder == WHOLE_REPOSITORY else _entry_at(commit.tree, folder)
        if not isinstance(tree, pygit2.Tree):
            return []  # a submodule's files are not in this repository
        return sorted(
            name for name, mode, _ in _entries(tree) if name.lower() in names and _is_file(mode)
        )


def _is_folder(root: pygit2.Tree, path: str) -> bool:
    from pygit2.enums import FileMode

    entry = _entry_at(root, path)
    return entry is not None and entry.filemode in (FileMode.TREE, FileMode.COMMIT)


def _entries(tree: pygit2.Tree) -> Iterator[tuple[str, int, pygit2.Oid]]:
    for entry in tree:
        yield (entry.raw_name or b"").decode(errors="backslashreplace"), entry.filemode, entry.id


def _is_file(mode: int) -> bool:
    from pygit2.enums import FileMode

    return mode in (FileMode.BLOB, FileMode.BLOB_EXECUTABLE)


def _start_of_blob(repository: pygit2.Repository, path: Path, blob_id: pygit2.Oid) -> bytes:
    from pygit2.enums import ObjectType

    kind, size = repository.odb.read_header(blob_id)
    if kind != ObjectType.BLOB:
        return b""
    if size <= MAX_WORKFLOW_BYTES:
        return repository.odb.read(blob_id)[1]
    return _streamed_start(path, str(blob_id), MAX_WORKFLOW_BYTES + 1)


def _streamed_start(path: Path, blob_id: str, max_bytes: int) -> bytes:
    """Read the start of a big blob, which libgit2 could only load whole."""
    command = ["git", "--git-dir", str(path), "cat-file", "blob", blob_id]
    environment = git_environment({})
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        start = process.stdout.read(max_bytes) if process.stdout else b""
        process.kill()
    return start


def submodules_of(path: Path, sha: str) -> list[DeclaredSubmodule]:
    from pygit2.enums import FileMode

    with opened(path) as repository:
        commit = find_commit(repository, sha)
        if commit is None:
            raise CommitMissing(sha)
        tree = commit.tree
        if ".gitmodules" not in tree or not _is_file(tree[".gitmodules"].filemode):
            return []
        found = {}
        for declared in declarations(_read_config(repository, path, tree[".gitmodules"].id)):
            entry = _entry_at(tree, declared.path)
            if entry is not None and entry.filemode == FileMode.COMMIT:
                # Of two sections with one path the last counts, as in git.
                found[declared.path] = DeclaredSubmodule(
                    path=declared.path,
                    url=declared.url,
                    skipped=declared.skipped,
                    commit=str(entry.id),
                )
        return sorted(found.values(), key=lambda submodule: submodule.path)


def _entry_at(tree: pygit2.Tree, path: str) -> pygit2.Object | None:
    import pygit2

    try:
        return tree[path]
    except (KeyError, ValueError, pygit2.GitError):
        return None  # nothing there, or a tree on the way is broken or missing


def _read_config(repository: pygit2.Repository, path: Path, blob_id: pygit2.Oid) -> bytes:
    """The file's settings as git itself reads them; an `[include]` in it is not followed."""
    if repository.odb.read_header(blob_id)[1] > MAX_GITMODULES_BYTES:
        raise UnreadableSubmodules(f".gitmodules has more than {MAX_GITMODULES_BYTES} bytes")
    command = ["git", "--git-dir", str(path), "config", "--blob", str(blob_id), "--list", "-z"]
    try:
        done = subprocess.run(
            [*command, "--no-includes"],
            env=git_environment({}),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_CONFIG_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise UnreadableSubmodules(
            f".gitmodules can't be read: git took more than {_CONFIG_SECONDS:g} s"
        ) from error
    if done.returncode != 0:
        said = " ".join(done.stderr.decode(errors="replace").split())[:200]
        raise UnreadableSubmodules(f".gitmodules can't be read: {said}")
    return done.stdout


def changed_paths(path: Path, old: str | None, new: str) -> list[str] | None:
    with opened(path) as repository:
        tip = find_commit(repository, new)
        base = find_commit(repository, old) if old else _left_default_branch(repository, tip)
        if tip is None or base is None:
            return None
        difference = base.tree.diff_to_tree(tip.tree)
        if len(difference) > MAX_CHANGED_PATHS:
            return None
        names = (
            file.raw_path
            for delta in difference.deltas
            for file in (delta.old_file, delta.new_file)
        )
        return [name.decode(errors="backslashreplace") for name in dict.fromkeys(names)]


def _left_default_branch(
    repository: pygit2.Repository, tip: pygit2.Commit | None
) -> pygit2.Commit | None:
    """Where a new branch begins; None for the default branch itself, which has no beginning."""
    import pygit2

    default = default_tip(repository)
    if tip is None or default is None or default.id == tip.id:
        return None
    base = repository.merge_base(default.id, tip.id)
    return None if base is None else repository[base].peel(pygit2.Commit)
