"""The bare repository of each project, read through libgit2 in threads."""

from __future__ import annotations

import asyncio
import codecs
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from coordinator.domain.pushes.submodules import (
    DeclaredSubmodule,
    UnreadableSubmodules,
    declarations,
)
from coordinator.git.environment import git_environment
from coordinator.git.process import git_process
from coordinator.git.stored_files import store_files
from coordinator.ports import MAX_CHANGED_PATHS, MAX_WORKFLOW_FILES, Commit, WorkflowFile
from pipelines_schema import MODULE_FILES

if TYPE_CHECKING:
    # libgit2 brings 11 MB, so it is loaded where a repository is first looked into.
    import pygit2

MAX_WORKFLOW_BYTES = 1024 * 1024
MAX_VALUES_AT_ONCE = 100
"""Of one ref between two looks; more are a lost record, not so many pushes."""
OWN_REFS = "refs/pushrod/"
REMOTE_BRANCHES = f"{OWN_REFS}branches/"
"""Where a remote project's branches are kept, as they were when somebody had to know them all."""
"""Keep what was fetched; no client sees them."""
MAX_GITMODULES_BYTES = 1024 * 1024
TIDY_SECONDS = 600.0
ANCESTRY_SECONDS = 30.0
_CONFIG_SECONDS = 10.0
_NO_COMMIT = "0" * 40
DEFAULT_MAX_INPUT_BYTES = 500 * 1024 * 1024

_PROJECT_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_REVISION = re.compile(r"[0-9a-fA-F]{4,40}")
_WORKFLOW_SUFFIXES = (".yml", ".yaml")
_ROOT_WORKFLOWS = (".pushrod.yml", ".pushrod.yaml")
_WORKFLOW_FOLDER = ".pushrod"

# Old but harmless faults that histories of well-known projects carry, and that no one can mend
# without rewriting them.
TOLERATED_FAULTS = ("badTimezone", "missingSpaceBeforeDate", "zeroPaddedFilemode")


class InvalidProjectId(ValueError):
    """A project id that is not a lower-case UUID: no path is made from it."""


class RepositoryMissing(LookupError):
    """The project has no repository here."""


class CommitMissing(LookupError):
    """The repository has no such commit."""


def repository_path(root: Path, project_id: str) -> Path:
    """Where a project's repository lies. Raises InvalidProjectId."""
    if not _PROJECT_ID.fullmatch(project_id):
        raise InvalidProjectId(project_id)
    return root / f"{project_id}.git"


class HostedRepositories:
    """Implements ports.Repositories below one folder.

    Every call opens the repository afresh: it takes a third of a millisecond, and libgit2 then has
    no cache that a push could leave behind.
    """

    def __init__(self, root: Path, *, max_input_bytes: int = DEFAULT_MAX_INPUT_BYTES) -> None:
        self._root = root
        self._max_input_bytes = max_input_bytes

    def path(self, project_id: str) -> Path:
        return repository_path(self._root, project_id)

    async def create(self, project_id: str) -> None:
        path = self.path(project_id)
        await asyncio.to_thread(_create, path, self._max_input_bytes)

    async def remove(self, project_id: str) -> None:
        await asyncio.to_thread(shutil.rmtree, self.path(project_id), ignore_errors=True)

    async def refs(self, project_id: str) -> Mapping[str, str]:
        """Every direct ref below `refs/` but our own, also others than branches and tags.

        A tag object's own sha is given, not its commit's. Broken and symbolic refs are left out.
        A name that is not UTF-8 has its odd bytes as `\\xNN` (no ref name holds a backslash).
        """
        return await asyncio.to_thread(_refs, self.path(project_id))

    async def values_of_ref(
        self, project_id: str, ref: str, old: str | None, new: str
    ) -> Sequence[str]:
        return await asyncio.to_thread(_values_of_ref, self.path(project_id), ref, old, new)

    async def commit(self, project_id: str, revision: str) -> Commit | None:
        return await asyncio.to_thread(_commit, self.path(project_id), revision)

    async def workflow_files(self, project_id: str, sha: str) -> Sequence[WorkflowFile]:
        """At most MAX_WORKFLOW_FILES + 1 files of at most MAX_WORKFLOW_BYTES + 1 bytes each, so
        that the caller can refuse what is more. Links, submodules and folders are no files.

        Raises: CommitMissing.
        """
        return await asyncio.to_thread(_workflow_files, self.path(project_id), sha)

    async def store_files(
        self, project_id: str, files: Mapping[str, str], *, name: str, message: str
    ) -> str:
        path = self.path(project_id)
        return await asyncio.to_thread(_store_files, path, files, name, message)

    async def module_files(self, project_id: str, sha: str) -> Sequence[WorkflowFile]:
        """As `workflow_files`. Raises: CommitMissing."""
        return await asyncio.to_thread(_module_files, self.path(project_id), sha)

    async def folders_among(
        self, project_id: str, sha: str, paths: Collection[str]
    ) -> Collection[str]:
        """A link to a folder is none. Raises: CommitMissing."""
        return await asyncio.to_thread(_folders_among, self.path(project_id), sha, paths)

    async def submodules(self, project_id: str, sha: str) -> Sequence[DeclaredSubmodule]:
        """Raises UnreadableSubmodules, CommitMissing."""
        return await asyncio.to_thread(_submodules, self.path(project_id), sha)

    async def tidy(self, project_id: str) -> None:
        """`git maintenance`, whose tasks never drop an object: what a ref no longer names stays
        fetchable. At most TIDY_SECONDS, at the lowest priority."""
        tasks = [f"--task={task}" for task in ("pack-refs", "loose-objects", "incremental-repack")]
        repository = str(self.path(project_id))
        command = ["nice", "-n19", "git", "--git-dir", repository, "maintenance", "run", "--quiet"]
        with suppress(TimeoutError):
            async with (
                asyncio.timeout(TIDY_SECONDS),
                git_process([*command, *tasks], git_environment({}), patience_seconds=0) as process,
            ):
                process.end_input()
                await asyncio.gather(_drained(process.read), _drained(process.read_errors))
                await process.exit_code()

    async def is_on_branch(self, project_id: str, sha: str) -> bool:
        """By git itself, which has an index of commits. Raises TimeoutError."""
        command = ["git", "--git-dir", str(self.path(project_id)), "for-each-ref", "--count=1"]
        asked = [f"--contains={sha}", REMOTE_BRANCHES]
        async with (
            asyncio.timeout(ANCESTRY_SECONDS),
            git_process([*command, *asked], git_environment({}), patience_seconds=0) as process,
        ):
            process.end_input()
            found, _ = await asyncio.gather(process.read(), _drained(process.read_errors))
            return bool(found)

    async def default_branch(self, project_id: str) -> str | None:
        return await asyncio.to_thread(_default_branch, self.path(project_id))

    async def changed_paths(
        self, project_id: str, old: str | None, new: str
    ) -> Sequence[str] | None:
        """Names that are not UTF-8 have their odd bytes as `\\xNN`."""
        return await asyncio.to_thread(_changed_paths, self.path(project_id), old, new)

    async def remove_leftovers(self, *, older_than_seconds: float) -> int:
        """Remove what git processes that were killed left behind; return how much it was.

        A lock file shuts its branch to every later push, a quarantine folder takes space. With a
        push's deadline as the age, no push that is under way is touched.
        """
        return await asyncio.to_thread(_remove_leftovers, self._root, older_than_seconds)


def _create(path: Path, max_input_bytes: int) -> None:
    import pygit2

    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".creating-", dir=path.parent) as scratch:
        fresh = Path(scratch, "repository.git")
        repository = pygit2.init_repository(fresh, bare=True, initial_head="main")
        repository.free()
        _configure(fresh / "config", max_input_bytes)
        try:
            fresh.rename(path)
        except OSError:
            if not path.exists():
                raise
    _sync_folder(path.parent)


def _configure(config_file: Path, max_input_bytes: int) -> None:
    import pygit2

    config = pygit2.Config(str(config_file))
    settings: dict[str, str | bool | int] = {
        "transfer.fsckObjects": True,
        "receive.fsckObjects": True,
        "receive.maxInputSize": max_input_bytes,
        "receive.denyDeletes": False,
        "receive.denyDeleteCurrent": "ignore",
        "receive.denyNonFastForwards": False,
        # A rejected or superseded commit stays fetchable: nothing here ever collects garbage.
        "receive.autogc": False,
        "gc.auto": 0,
        "maintenance.auto": False,
        "http.receivepack": False,
        "uploadpack.allowAnySHA1InWant": True,
        "uploadpack.allowReachableSHA1InWant": True,
        "uploadpack.allowFilter": True,
        "core.hooksPath": os.devnull,
        # What a ref pointed to between two looks at it is built, too.
        "core.logAllRefUpdates": True,
        # A ref that is announced as built must still have its objects after a power cut.
        "core.fsync": "committed",
        "core.fsyncMethod": "batch",
        # Deletions of different branches share this lock; git gives up after one second.
        "core.packedRefsTimeout": 30_000,
        "core.filesRefLockTimeout": 10_000,
        **{f"receive.fsck.{fault}": "warn" for fault in TOLERATED_FAULTS},
    }
    for key, value in settings.items():
        config[key] = value


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def opened(path: Path) -> Iterator[pygit2.Repository]:
    import pygit2

    # As git's safe.directory: the operator named this folder, whoever owns it.
    pygit2.settings.owner_validation = False
    # What a build is made of must be there after a power cut, as the build itself is.
    pygit2.settings.enable_fsync_gitdir(True)
    if not path.is_dir():
        raise RepositoryMissing(path.stem)
    repository = pygit2.Repository(str(path))
    try:
        yield repository
    finally:
        repository.free()


def _refs(path: Path) -> dict[str, str]:
    from pygit2.enums import ReferenceType

    with opened(path) as repository:
        return {
            reference.raw_name.decode(errors="backslashreplace"): str(reference.target)
            for reference in repository.references.iterator()
            if reference.type == ReferenceType.DIRECT
            and not reference.raw_name.startswith(OWN_REFS.encode())
        }


def _values_of_ref(path: Path, ref: str, old: str | None, new: str) -> list[str]:
    with opened(path) as repository:
        if ref not in repository.references:
            return [new]
        before = old or _NO_COMMIT
        values: list[str] = []
        for entry in repository.references[ref].log():  # newest first
            # The ref may have moved on since `new` was read: that is another look's business.
            if values or str(entry.oid_new) == new:
                values.append(str(entry.oid_new))
                if str(entry.oid_old) == before:
                    return values[::-1] if len(values) <= MAX_VALUES_AT_ONCE else [new]
        return [new]


def _store_files(path: Path, files: Mapping[str, str], name: str, message: str) -> str:
    with opened(path) as repository:
        return store_files(repository, files, ref=OWN_REFS + name, message=message)


def _default_branch(path: Path) -> str | None:
    with opened(path) as repository:
        if repository.head_is_unborn:
            return None
        return repository.head.raw_shorthand.decode(errors="backslashreplace")


def _changed_paths(path: Path, old: str | None, new: str) -> list[str] | None:
    with opened(path) as repository:
        tip = _find_commit(repository, new)
        base = _find_commit(repository, old) if old else _left_default_branch(repository, tip)
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

    if tip is None or repository.head_is_unborn or repository.head.target == tip.id:
        return None
    base = repository.merge_base(repository.head.target, tip.id)
    return None if base is None else repository[base].peel(pygit2.Commit)


def _find_commit(repository: pygit2.Repository, revision: str) -> pygit2.Commit | None:
    import pygit2

    if not _REVISION.fullmatch(revision):
        return None
    try:
        found = repository.get(revision)
        return found.peel(pygit2.Commit) if found is not None else None
    except (ValueError, KeyError, pygit2.GitError):
        # Ambiguous, a blob or a tree, or an object that is broken or missing.
        return None


def _commit(path: Path, revision: str) -> Commit | None:
    with opened(path) as repository:
        found = _find_commit(repository, revision)
        if found is None:
            return None
        name, email = found.author.raw_name, found.author.raw_email
        return Commit(
            sha=str(found.id),
            message=_text(found.raw_message, found.message_encoding),
            author=_text(b"%s <%s>" % (name or b"", email or b""), found.message_encoding),
        )


def _text(raw: bytes, encoding: str | None) -> str:
    try:
        codec = codecs.lookup(encoding or "utf-8").name
        return raw.decode(codec, errors="replace")
    except LookupError:
        return raw.decode(errors="replace")


def _workflow_files(path: Path, sha: str) -> list[WorkflowFile]:
    return _files_of_ours(
        path, sha, lambda name: name not in MODULE_FILES, at_most=MAX_WORKFLOW_FILES + 1
    )


def _module_files(path: Path, sha: str) -> list[WorkflowFile]:
    return _files_of_ours(path, sha, MODULE_FILES.__contains__, at_most=len(MODULE_FILES))


def _files_of_ours(
    path: Path, sha: str, wanted: Callable[[str], bool], at_most: int
) -> list[WorkflowFile]:
    with opened(path) as repository:
        commit = _find_commit(repository, sha)
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


def _folders_among(path: Path, sha: str, paths: Collection[str]) -> set[str]:
    with opened(path) as repository:
        commit = _find_commit(repository, sha)
        if commit is None:
            raise CommitMissing(sha)
        return {one for one in paths if _is_folder(commit.tree, one)}


def _is_folder(root: pygit2.Tree, path: str) -> bool:
    import pygit2
    from pygit2.enums import FileMode

    try:
        return root[path].filemode in (FileMode.TREE, FileMode.COMMIT)
    except (KeyError, ValueError, pygit2.GitError):
        return False  # nothing there, or a tree on the way is broken or missing


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


def _submodules(path: Path, sha: str) -> list[DeclaredSubmodule]:
    from pygit2.enums import FileMode

    with opened(path) as repository:
        commit = _find_commit(repository, sha)
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
    try:
        return tree[path]
    except (KeyError, ValueError):
        return None


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


async def _drained(read: Callable[[], Awaitable[bytes]]) -> None:
    while await read():
        pass


def _remove_leftovers(root: Path, older_than_seconds: float) -> int:
    limit, removed = time.time() - older_than_seconds, 0
    for path in list(_leftovers(root)):
        # Its owner may live after all and remove it first.
        with suppress(FileNotFoundError):
            if path.lstat().st_mtime < limit:
                _remove(path)
                removed += 1
    return removed


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()


def _leftovers(root: Path) -> Iterator[Path]:
    yield from root.glob(".creating-*")
    for repository in root.glob("*.git"):
        yield from repository.glob("*.lock")
        yield from repository.glob("refs/**/*.lock")
        yield from repository.glob("objects/tmp_objdir-*")
        yield from repository.glob("objects/*.lock")
        yield from repository.glob("objects/pack/*.lock")
