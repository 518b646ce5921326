"""The bare repository of each project, read through libgit2 in threads."""

from __future__ import annotations

import asyncio
import codecs
import shutil
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

from coordinator.domain.pushes.stored_repository import RefsMoved
from coordinator.domain.pushes.submodules import DeclaredSubmodule
from coordinator.git import garbage
from coordinator.git.ancestry import changed_paths, merge_base, oldest
from coordinator.git.branch_names import HEADS
from coordinator.git.changes import Changes, ChangesInPlace
from coordinator.git.commit_files import (
    files_at,
    files_named,
    folders_among,
    module_files,
    submodules_of,
    workflow_files,
)
from coordinator.git.environment import git_environment
from coordinator.git.head import (
    default_branch,
    default_commit,
    names_no_branch,
    own_ref,
    set_default_branch,
    settle_default_branch,
)
from coordinator.git.history_refs import history_refs
from coordinator.git.input_files import input_files
from coordinator.git.opened import OWN_REFS, REMOTE_BRANCHES, find_commit, opened
from coordinator.git.process import git_process
from coordinator.git.repository_folders import (
    DEFAULT_MAX_INPUT_BYTES,
    create_repository,
    folder_bytes,
    remove_leftovers,
    repository_path,
)
from coordinator.git.stored_files import store_files
from coordinator.ports import Commit, GarbageLeft, WorkflowFile
from pipelines_schema.contract_sources import GitRef

MAX_VALUES_AT_ONCE = 100
"""Of one ref between two looks; more are a lost record, not so many pushes."""
TIDY_SECONDS = 600.0
ANCESTRY_SECONDS = 30.0
_MAINTENANCE = ["maintenance", "run", "--quiet"] + [
    f"--task={task}" for task in ("pack-refs", "loose-objects", "incremental-repack")
]
_REPACK = ["repack", "--geometric=2", "-d", "--quiet"]
"""Of a copy, in which nobody finds the index of many packs again that the other one works by."""
P = ParamSpec("P")
T = TypeVar("T")
_NO_COMMIT = "0" * 40


class HostedRepositories:
    """Implements ports.Repositories below one folder.

    Every call opens the repository afresh: it takes a third of a millisecond, and libgit2 then has
    no cache that a push could leave behind.
    """

    def __init__(
        self,
        root: Path,
        changes: Changes | None = None,
        *,
        max_input_bytes: int = DEFAULT_MAX_INPUT_BYTES,
    ) -> None:
        """Without `changes` they are made in place."""
        self._root = root
        self._changes = changes or ChangesInPlace(root)
        self._max_input_bytes = max_input_bytes

    def path(self, project_id: str) -> Path:
        return repository_path(self._root, project_id)

    async def _look(
        self,
        look: Callable[Concatenate[Path, P], T],
        project_id: str,
        *args: P.args,
        **kw: P.kwargs,
    ) -> T:
        path = await self._changes.ready(project_id)
        return await asyncio.to_thread(look, path, *args, **kw)

    async def create(self, project_id: str) -> None:
        path = self.path(project_id)
        await asyncio.to_thread(create_repository, path, self._max_input_bytes)
        await self._changes.ready(project_id)

    async def remove(self, project_id: str) -> bool:
        await self._changes.forget(project_id)
        path = self.path(project_id)
        await asyncio.to_thread(shutil.rmtree, path, ignore_errors=True)
        return not path.exists()

    async def size(self, project_id: str) -> int:
        stored = await self._changes.stored_bytes(project_id)
        if stored is not None:
            return stored
        return await asyncio.to_thread(folder_bytes, self.path(project_id))

    async def refs(self, project_id: str) -> Mapping[str, str]:
        """Every direct ref below `refs/` but our own, also others than branches and tags.

        A tag object's own sha is given, not its commit's. Broken and symbolic refs are left out.
        A name that is not UTF-8 has its odd bytes as `\\xNN` (no ref name holds a backslash).
        """
        stored = await self._changes.stored_refs(project_id)
        if stored is None:
            return await self._look(_refs, project_id)
        return {ref: sha for ref, sha in stored.refs.items() if not ref.startswith(OWN_REFS)}

    async def history_refs(
        self, project_id: str, *, remote: bool, tag: str | None
    ) -> Sequence[GitRef]:
        names = [] if tag is None else [f"refs/tags/{tag}"]
        also = {name: own_ref(name) for name in names} if remote else {}
        return await self._look(history_refs, project_id, remote=remote, also=also)

    async def values_of_ref(
        self, project_id: str, ref: str, old: str | None, new: str
    ) -> Sequence[str]:
        return await self._look(_values_of_ref, project_id, ref, old, new)

    async def commit(self, project_id: str, revision: str) -> Commit | None:
        return await self._look(_commit, project_id, revision)

    async def workflow_files(self, project_id: str, sha: str) -> Sequence[WorkflowFile]:
        """At most MAX_WORKFLOW_FILES + 1 files of at most MAX_WORKFLOW_BYTES + 1 bytes each, so
        that the caller can refuse what is more. Links, submodules and folders are no files.

        Raises: CommitMissing.
        """
        return await self._look(workflow_files, project_id, sha)

    async def store_files(
        self, project_id: str, files: Mapping[str, str], *, name: str, message: str
    ) -> str:
        async with self._changes.changing(project_id) as draft:
            return await asyncio.to_thread(_store_files, draft.path, files, name, message)

    async def module_files(self, project_id: str, sha: str) -> Sequence[WorkflowFile]:
        """As `workflow_files`. Raises: CommitMissing."""
        return await self._look(module_files, project_id, sha)

    async def files_at(
        self, project_id: str, sha: str, paths: Collection[str]
    ) -> Mapping[str, bytes]:
        """Raises: CommitMissing."""
        return await self._look(files_at, project_id, sha, paths)

    async def files_named(
        self, project_id: str, sha: str, folder: str, names: Collection[str]
    ) -> Sequence[str]:
        """Raises: CommitMissing."""
        return await self._look(files_named, project_id, sha, folder, names)

    async def input_files(
        self, project_id: str, sha: str, wanted: Sequence[Sequence[str]]
    ) -> Sequence[Mapping[str, str]]:
        """Raises: CommitMissing, TooManyFiles."""
        return await self._look(input_files, project_id, sha, wanted)

    async def folders_among(
        self, project_id: str, sha: str, paths: Collection[str]
    ) -> Collection[str]:
        """A link to a folder is none. Raises: CommitMissing."""
        return await self._look(folders_among, project_id, sha, paths)

    async def submodules(self, project_id: str, sha: str) -> Sequence[DeclaredSubmodule]:
        """Raises UnreadableSubmodules, CommitMissing."""
        return await self._look(submodules_of, project_id, sha)

    async def tidy(self, project_id: str) -> None:
        """By tasks that never drop an object: what a ref no longer names stays fetchable. At most
        TIDY_SECONDS, at the lowest priority."""
        if not await self._is_here(project_id):
            return
        async with self._changes.changing(project_id, whole=True) as draft:
            command = ["nice", "-n19", "git", "--git-dir", str(draft.path)]
            command += _REPACK if draft.whole else _MAINTENANCE
            try:
                async with (
                    asyncio.timeout(TIDY_SECONDS),
                    git_process(command, git_environment({}), patience_seconds=0) as process,
                ):
                    process.end_input()
                    await asyncio.gather(_drained(process.read), _drained(process.read_errors))
                    if await process.exit_code():
                        draft.abandon()
            except TimeoutError:
                draft.abandon()

    async def collect_garbage(self, project_id: str, needed: Collection[str], now: float) -> int:
        if not await self._is_here(project_id):
            return 0
        try:
            async with self._changes.changing(project_id, whole=True, alone=True) as draft:
                size = await garbage.collect(draft.path, needed, now=now)
                await garbage.drop_fetched(draft.path, needed, now=now)
        except RefsMoved as error:
            raise GarbageLeft(str(error)) from error
        await self._changes.expire_moves(project_id, now)
        return size

    async def restore_garbage(self, project_id: str, needed: Collection[str]) -> bool:
        if not await self._is_here(project_id):
            return False
        async with self._changes.changing(project_id, whole=True) as draft:
            return await garbage.restore(draft.path, needed)

    async def garbage_bytes(self, project_id: str) -> int:
        stored = await self._changes.stored_bytes(project_id, aside=True)
        if stored is not None:
            return stored
        return await asyncio.to_thread(garbage.aside_bytes, self.path(project_id))

    async def pointed_objects(self, project_id: str) -> Collection[str]:
        path = await self._changes.ready(project_id)
        return await garbage.pointed_objects(path) if path.is_dir() else ()

    async def _is_here(self, project_id: str) -> bool:
        return (await self._changes.ready(project_id)).is_dir()

    async def is_on_branch(self, project_id: str, sha: str) -> bool:
        """By git itself, which has an index of commits. Raises TimeoutError."""
        path = await self._changes.ready(project_id)
        command = ["git", "--git-dir", str(path), "for-each-ref", "--count=1"]
        asked = [f"--contains={sha}", REMOTE_BRANCHES]
        async with (
            asyncio.timeout(ANCESTRY_SECONDS),
            git_process([*command, *asked], git_environment({}), patience_seconds=0) as process,
        ):
            process.end_input()
            found, _ = await asyncio.gather(process.read(), _drained(process.read_errors))
            return bool(found)

    async def default_branch(self, project_id: str) -> str | None:
        stored = await self._changes.stored_refs(project_id)
        if stored is None:
            return await self._look(default_branch, project_id)
        if stored.refs.keys().isdisjoint({stored.head, own_ref(stored.head)}):
            return None
        return stored.head.removeprefix(HEADS)

    async def default_commit(self, project_id: str) -> str | None:
        return await self._look(default_commit, project_id)

    async def set_default_branch(self, project_id: str, branch: str) -> bool:
        async with self._changes.changing(project_id) as draft:
            return await asyncio.to_thread(set_default_branch, draft.path, branch)

    async def settle_default_branch(
        self, project_id: str, gone: Mapping[str, str]
    ) -> tuple[str, str | None] | None:
        stored = await self._changes.stored_refs(project_id)
        if stored is not None and stored.head in stored.refs:
            return None
        if stored is None and not await self._look(names_no_branch, project_id):
            return None
        async with self._changes.changing(project_id) as draft:
            return await asyncio.to_thread(settle_default_branch, draft.path, gone)

    async def changed_paths(
        self, project_id: str, old: str | None, new: str
    ) -> Sequence[str] | None:
        """Names that are not UTF-8 have their odd bytes as `\\xNN`."""
        return await self._look(changed_paths, project_id, old, new)

    async def oldest(self, project_id: str, commits: Sequence[str]) -> str | None:
        return await self._look(oldest, project_id, commits)

    async def merge_base(self, project_id: str, branch: str, sha: str) -> str | None:
        return await self._look(merge_base, project_id, branch, sha)

    async def remove_leftovers(self, *, older_than_seconds: float) -> int:
        """Remove what git processes that were killed left behind; return how much it was.

        A lock file shuts its branch to every later push, a quarantine folder takes space. With a
        push's deadline as the age, no push that is under way is touched.
        """
        return await asyncio.to_thread(remove_leftovers, self._root, older_than_seconds)


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


def _commit(path: Path, revision: str) -> Commit | None:
    with opened(path) as repository:
        found = find_commit(repository, revision)
        if found is None:
            return None
        name, email = found.author.raw_name, found.author.raw_email
        return Commit(
            sha=str(found.id),
            # git ends every message by a line end, which no condition would expect.
            message=_text(found.raw_message, found.message_encoding).rstrip("\r\n"),
            author=_text(b"%s <%s>" % (name or b"", email or b""), found.message_encoding),
        )


def _text(raw: bytes, encoding: str | None) -> str:
    try:
        codec = codecs.lookup(encoding or "utf-8").name
        return raw.decode(codec, errors="replace")
    except LookupError:
        return raw.decode(errors="replace")


async def _drained(read: Callable[[], Awaitable[bytes]]) -> None:
    while await read():
        pass
