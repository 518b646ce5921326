"""The working tree as a commit, uncommitted and untracked files included.

It is made with an index and an object store of its own, in a scratch folder; nothing of the user's
repository is written. What is ignored stays out, line ends and filters are those of a `git add`.
Submodules are laid into the commit as the folders that they are here, LFS files as their content.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pushrod.local.errors import CannotRun
from pushrod.local.git_calls import GitFailed, git, git_text

LARGE_BYTES = 50 * 1024 * 1024
MOST_NAMED = 3
LFS_POINTER = b"version https://git-lfs.github.com/spec/"
GITLINK = b"160000"
MAX_SUBMODULE_DEPTH = 20
NOBODY = ("pushrod run", "run@pushrod.invalid")


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    root: Path
    commit: str
    head: str | None
    """The commit that is checked out; None where there is none yet."""
    is_dirty: bool
    """Something differs from that."""
    objects: tuple[Path, ...]
    """Folders of git objects that together hold the commit and its history."""
    shallow: Path
    """Where the user's repository names the commits whose parents it lacks, if there is such."""
    notes: tuple[str, ...] = ()
    """For the user: what is large, or only a pointer."""


async def take_snapshot(folder: Path, scratch: Path) -> Snapshot:
    """Of the repository that `folder` is in. `scratch` is new, and must live as long as the commit
    is needed. Raises CannotRun."""
    root = await _root_of(folder)
    objects = scratch / "objects"
    objects.mkdir(parents=True)
    own = Path(await _path_in(root, "objects"))
    taking = _Taking(scratch=scratch, objects=objects, alternates=[own])
    taken = await taking.tree(root, root, depth=0)
    head = await git_text(root, "rev-parse", "--verify", "--quiet", "HEAD^{commit}")
    extra = taking.environment()
    commit = head
    if head is None or taken.is_dirty or taken.sha != await _tree_of(root, head):
        commit = await _commit(root, taken.sha, head, taken.is_dirty, extra)
    return Snapshot(
        root=root,
        commit=str(commit),
        head=head,
        is_dirty=taken.is_dirty,
        objects=(objects, *taking.alternates),
        shallow=Path(await _path_in(root, "shallow")),
        notes=tuple(taking.notes),
    )


async def _root_of(folder: Path) -> Path:
    try:
        found = await git(folder, "rev-parse", "--show-toplevel")
    except GitFailed as error:
        if "not a git repository" in error.message:
            raise CannotRun(
                f"{folder} is not in a git repository: change to one, or make one by `git init`"
            ) from error
        raise
    form = await git_text(folder, "rev-parse", "--show-object-format")
    if form != "sha1":
        raise CannotRun(f"this repository names objects by {form}; only sha1 is supported")
    return Path(os.fsdecode(found).rstrip("\n"))


async def _path_in(root: Path, name: str) -> str:
    found = await git(root, "rev-parse", "--path-format=absolute", "--git-path", name)
    return os.fsdecode(found).rstrip("\n")


async def _tree_of(root: Path, commit: str) -> str | None:
    return await git_text(root, "rev-parse", "--verify", "--quiet", f"{commit}^{{tree}}")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tree:
    sha: str
    is_dirty: bool


@dataclass(slots=True, kw_only=True)
class _Taking:
    scratch: Path
    objects: Path
    alternates: list[Path]
    notes: list[str] = field(default_factory=list)
    _indexes: int = 0

    def environment(self, index: Path | None = None) -> dict[str, str]:
        """By which git writes nothing but below the scratch folder."""
        separated = os.pathsep.join(_quoted(path) for path in self.alternates)
        extra = {
            "GIT_OBJECT_DIRECTORY": str(self.objects),
            "GIT_ALTERNATE_OBJECT_DIRECTORIES": separated,
        }
        return extra if index is None else {**extra, "GIT_INDEX_FILE": str(index)}

    async def tree(self, root: Path, above: Path, *, depth: int) -> _Tree:
        """Of a working tree below `above`, the user's. Raises CannotRun."""
        if depth > MAX_SUBMODULE_DEPTH:
            raise CannotRun(f"{root}: submodules are nested too deep")
        index = await self._index_of(root)
        await self._note_large(root, above)
        await self._take_lfs_out(root, index)
        await git(root, "add", "--all", "--", ".", extra=self.environment(index))
        written = (await git(root, "write-tree", extra=self.environment(index))).decode().strip()
        head = await git_text(root, "rev-parse", "--verify", "--quiet", "HEAD^{tree}")
        is_dirty = written != head and await self._differs(root, index)
        links = await self._gitlinks(root, index)
        for path, sha in links.items():
            inner = await self._submodule(root / path, above, depth)
            is_dirty = is_dirty or inner.sha != await _tree_of(root / path, sha)
            await self._lay(root, index, path, inner.sha)
        if links:
            written = (await git(root, "write-tree", extra=self.environment(index))).decode()
        return _Tree(sha=written.strip(), is_dirty=is_dirty)

    async def _index_of(self, root: Path) -> Path:
        """A copy, by whose times git need not read what has not changed."""
        self._indexes += 1
        index = self.scratch / f"index-{self._indexes}"
        _copy_index(Path(await _path_in(root, "index")), index)
        return index

    async def _note_large(self, root: Path, above: Path) -> None:
        listed = await git(root, "ls-files", "--others", "--exclude-standard", "-z")
        names = map(os.fsdecode, filter(None, listed.split(b"\0")))
        sizes = {name: _size_of(root / name) for name in names}
        large = [
            f"{(root / name).relative_to(above)} ({size // 1024**2} MiB)"
            for name, size in sizes.items()
            if size > LARGE_BYTES
        ]
        if large:
            more = f" and {len(large) - MOST_NAMED} more" if len(large) > MOST_NAMED else ""
            self.notes.append(
                f"untracked and large: {', '.join(large[:MOST_NAMED])}{more}; steps get it at each "
                "run, unless .gitignore names it"
            )

    async def _take_lfs_out(self, root: Path, index: Path) -> None:
        """So that they are added anew, as what they are here."""
        extra = self.environment(index)
        listed = await git(root, "ls-files", "-z", "--", ":(attr:filter=lfs)", extra=extra)
        names = [name for name in listed.split(b"\0") if name]
        pointers = [name for name in names if _is_pointer(root / os.fsdecode(name))]
        if pointers:
            self.notes.append(
                f"{len(pointers)} Git LFS files are but pointers here, such as "
                f"{os.fsdecode(pointers[0])}: fetch them by `git lfs pull`"
            )
        there = b"\0".join(name for name in names if name not in pointers)
        if there:
            arguments = ("update-index", "-z", "--force-remove", "--stdin")
            await git(root, *arguments, given=there + b"\0", extra=extra)

    async def _differs(self, root: Path, index: Path) -> bool:
        """But for LFS files, which differ from their pointers in any case."""
        extra = self.environment(index)
        if await git_text(root, "rev-parse", "--verify", "--quiet", "HEAD") is None:
            return True
        changed = await git(
            root, "diff-index", "--cached", "--name-only", "-z", "HEAD", extra=extra
        )
        names = {name for name in changed.split(b"\0") if name}
        listed = await git(root, "ls-files", "-z", "--", ":(attr:filter=lfs)", extra=extra)
        lfs = names & set(listed.split(b"\0"))
        if names - lfs:
            return True
        paths = [os.fsdecode(name) for name in sorted(lfs)]
        status = await git(root, "diff-files", "--name-only", "-z", "--", *paths) if paths else b""
        return bool(status)

    async def _gitlinks(self, root: Path, index: Path) -> dict[str, str]:
        listed = await git(root, "ls-files", "--stage", "-z", extra=self.environment(index))
        found = {}
        for line in listed.split(b"\0"):
            if line.startswith(GITLINK):
                facts, _, name = line.partition(b"\t")
                found[os.fsdecode(name)] = facts.split()[1].decode()
        return found

    async def _submodule(self, folder: Path, above: Path, depth: int) -> _Tree:
        if not _is_repository(folder):
            path = folder.relative_to(above)
            raise CannotRun(
                f"the submodule {path} is not checked out: `git submodule update --init {path}`"
            )
        self.alternates.append(Path(await _path_in(folder, "objects")))
        return await self.tree(folder, above, depth=depth + 1)

    async def _lay(self, root: Path, index: Path, path: str, tree: str) -> None:
        """The tree in the place of the link to a commit of another repository."""
        extra = self.environment(index)
        await git(root, "update-index", "--force-remove", "--", path, extra=extra)
        await git(root, "read-tree", f"--prefix={path}/", tree, extra=extra)


def _copy_index(users: Path, index: Path) -> None:
    if users.exists():
        shutil.copyfile(users, index)
        times = users.stat()  # an index as new as a file makes git look into that
        os.utime(index, ns=(times.st_atime_ns, times.st_mtime_ns))


def _size_of(path: Path) -> int:
    try:
        return path.lstat().st_size
    except OSError:
        return 0


def _is_repository(folder: Path) -> bool:
    return (folder / ".git").exists()


def _quoted(path: Path) -> str:
    text = str(path)
    if os.pathsep in text or text.startswith('"'):
        return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return text


def _is_pointer(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(LFS_POINTER)) == LFS_POINTER
    except OSError:
        return False


async def _commit(
    root: Path, tree: str, head: str | None, is_dirty: bool, extra: Mapping[str, str]
) -> str:
    """On top of what is checked out; with the same words where nothing was changed. The same tree
    makes the same commit."""
    author, message, date = NOBODY, "the working tree", "@0 +0000"
    if head is not None:
        shown = await git(root, "show", "-s", "--format=%an%x00%ae%x00%at%x00%B", head)
        name, email, at, said = shown.decode(errors="replace").split("\0", 3)
        author, message, date = (name, email), said.rstrip("\n"), f"@{at} +0000"
    if is_dirty:
        author = await _user(root) or author
        subject = message.partition("\n")[0]
        message = f"Uncommitted changes on {head[:10]}: {subject}" if head else message
    person = {
        f"GIT_{role}_{part}": text
        for role in ("AUTHOR", "COMMITTER")
        for part, text in zip(("NAME", "EMAIL", "DATE"), (*author, date), strict=True)
    }
    parents = ("-p", head) if head is not None else ()
    made = await git(
        root,
        *("commit-tree", "--no-gpg-sign", *parents, tree),
        given=message.encode(errors="surrogateescape"),
        extra={**extra, **person},
    )
    return made.decode().strip()


async def _user(root: Path) -> tuple[str, str] | None:
    """Who would commit here, if git knows."""
    found = await git_text(root, "var", "GIT_AUTHOR_IDENT")
    if found is None:
        return None
    name, _, rest = found.partition(" <")
    return name or NOBODY[0], rest.partition(">")[0] or NOBODY[1]
