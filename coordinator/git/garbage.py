"""What no ref of a repository reaches any more, taken out of it in two steps.

First git writes it into a pack of its own below `garbage/`, where nobody finds it, and only then
drops it; what turns out to be needed after all is put back as a whole. After DAYS_ASIDE days the
pack is deleted. Commits that rows of ours name, of a deleted branch or from before a force push,
get refs of their own (KEPT), which no client sees. A kill at any time leaves a repository that has
all it had: git drops objects once their pack is whole, and packs are moved one file after the
other, the index last.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
from collections.abc import AsyncIterator, Collection, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from coordinator.git.environment import git_environment
from coordinator.git.opened import OWN_REFS, REMOTE_BRANCHES, REMOTE_TAGS
from coordinator.git.pack_files import GARBAGE as FOLDER
from coordinator.git.pack_files import INDEX_LAST
from coordinator.git.process import GitProcess, git_process
from coordinator.git.repository_folders import folder_bytes
from coordinator.ports import GarbageLeft
from pipelines_schema.lfs_pointer import MAX_POINTER_BYTES, pointed_object

ROOTS = "roots"
"""What was reached when something was collected last, a file in FOLDER: garbage is made by what is
lost of it. Its time is that of the look."""
UNNEEDED = "unneeded"
"""Refs of ours that no build needed at the last look, and since when."""
KEPT = f"{OWN_REFS}kept/"
UNREACHED_DAYS = 14
"""Objects that came later stay: a push brings them before its refs."""
DAYS_ASIDE = 7
DAY_SECONDS = 86_400.0
COLLECT_SECONDS = 600.0
NAME_BYTES = 20
"""Of SHA-1, which all our repositories have."""
_MISSING = b" missing"
_NOT_FETCHED = (KEPT, REMOTE_BRANCHES, REMOTE_TAGS, f"{OWN_REFS}modules")


async def collect(path: Path, needed: Collection[str], *, now: float) -> int:
    """Put aside what neither a ref nor one of the commits `needed` reaches; how many bytes it is.

    Refs of ours that are dropped make garbage of the next look alone: whoever fetched the same
    commit meanwhile has a build of it by then. Raises GarbageLeft.
    """
    await restore(path, needed)
    await asyncio.to_thread(_delete_old, path / FOLDER, now)
    await expire_logs(path, now)
    await keep(path, needed)
    roots = await _roots(path)
    if not await _is_due(path, roots, now):
        return 0
    aside = path / FOLDER / f"{int(now)}"
    (aside / "pack").mkdir(parents=True, exist_ok=True)
    limits = [f"--cruft-expiration={_date(now - UNREACHED_DAYS * DAY_SECONDS)}"]
    await _run(
        path, "repack", "-d", "--quiet", "--cruft", *limits, f"--expire-to={aside}/pack/pack"
    )
    # Of loose ones the copies alone were packed.
    before = now - UNREACHED_DAYS * DAY_SECONDS
    await asyncio.to_thread(_drop_loose, path / "objects", aside / "pack", before)
    await asyncio.to_thread(_write_roots, path, roots, now)
    return await asyncio.to_thread(_settled_bytes, aside)


async def expire_logs(path: Path, now: float) -> None:
    """What refs were, weeks ago. Raises GarbageLeft."""
    await _run(path, "reflog", "expire", "--all", *_reflog_limits(now))


def _drop_loose(objects: Path, aside: Path, before: float) -> None:
    """Those that were put aside and came before that. What a push has brought since git looked for
    what is reached is aside as well, as nothing was seen to reach it, and stays here."""
    for index in aside.glob("*.idx"):
        for name in _names_in(index.read_bytes()):
            loose = objects / name[:2] / name[2:]
            with suppress(FileNotFoundError):
                if loose.stat().st_mtime < before:
                    loose.unlink()


def _names_in(index: bytes) -> Iterator[str]:
    """Of a pack's objects, by its index of version 2: a head of 8 bytes, how many there are up to
    each first byte (4 bytes each), then their names."""
    names = 8 + 256 * 4
    count = int.from_bytes(index[names - 4 : names], "big")
    for at in range(names, names + count * NAME_BYTES, NAME_BYTES):
        yield index[at : at + NAME_BYTES].hex()


async def restore(path: Path, needed: Collection[str]) -> bool:
    """Whether one of those commits was put aside: then all that went with it is back."""
    missing = await _missing(path, needed)
    found = False
    for aside in _asides(path) if missing else ():
        if len(await _missing(path, missing, aside=[aside])) < len(missing):
            await asyncio.to_thread(_put_back, aside, path / "objects" / "pack")
            found = True
    return found


async def keep(path: Path, needed: Collection[str]) -> None:
    """Have refs of ours for those of the commits that nothing else reaches, and no others."""
    here = set(needed) - await _missing(path, needed)
    others = ("--not", f"--exclude={KEPT}*", "--all")
    listed = await _lines(path, here, "rev-list", "--ignore-missing", "--stdin", *others)
    wanted = here & {line.decode() for line in listed}
    named = await _lines(path, (), "for-each-ref", "--format=%(refname)", KEPT)
    have = {line.decode().removeprefix(KEPT) for line in named}
    moves = [f"update {KEPT}{sha} {sha}" for sha in sorted(wanted - have)]
    moves += [f"delete {KEPT}{sha}" for sha in sorted(have - wanted)]
    if moves:
        await _lines(path, moves, "update-ref", "--stdin")


async def drop_fetched(path: Path, needed: Collection[str], *, now: float) -> None:
    """The refs that keep what was fetched from a forge for builds that are gone: those that are
    seen to be of none at two looks, DAYS_ASIDE days apart. What a forge's branches and tags are,
    and its modules, stays."""
    format_ = "--format=%(refname) %(objectname)"
    listed = [
        line.decode().split() for line in await _lines(path, (), "for-each-ref", format_, OWN_REFS)
    ]
    fetched = {name: sha for name, sha in listed if not name.startswith(_NOT_FETCHED)}
    seen = await asyncio.to_thread(_read_seen, path / FOLDER / UNNEEDED)
    idle = {name: sha for name, sha in fetched.items() if sha not in needed}
    since = {(name, sha): seen.get((name, sha), now) for name, sha in idle.items()}
    going = [one for one, first in since.items() if now - first >= DAYS_ASIDE * DAY_SECONDS]
    if going:
        # Only from the value that was looked at: it may have been fetched anew meanwhile.
        moves = [f"delete {name} {sha}" for name, sha in going]
        await _lines(path, moves, "update-ref", "--stdin")
    left = {one: first for one, first in since.items() if one not in set(going)}
    await asyncio.to_thread(_write_seen, path / FOLDER, left)


async def pointed_objects(path: Path) -> set[str]:
    """The oids of all pointers of Git LFS that the repository has, in any commit, also of what was
    put aside. Raises GarbageLeft."""
    oids = set()
    async for content in _small_files(path):
        if (found := pointed_object(content)) is not None:
            oids.add(found.oid)
    return oids


async def _small_files(path: Path) -> AsyncIterator[bytes]:
    """Among which are the pointers; bounded in memory."""
    asides = _asides(path)
    async with _git(
        path, "cat-file", "--batch-all-objects", "--unordered", _SMALL_BLOBS, aside=asides
    ) as listing:
        listing.end_input()
        drained = asyncio.create_task(_drain(listing))
        some: list[bytes] = []
        async for line in _read_lines(listing):
            sha, kind, size = line.split()
            if kind == b"blob" and _SMALLEST_POINTER <= int(size) <= MAX_POINTER_BYTES:
                some.append(sha)
            if len(some) == _BLOBS_AT_ONCE:
                async for content in _contents(path, some, asides):
                    yield content
                some = []
        await drained
    async for content in _contents(path, some, asides):
        yield content


_SMALLEST_POINTER = 100
_BLOBS_AT_ONCE = 5_000
_SMALL_BLOBS = "--batch-check=%(objectname) %(objecttype) %(objectsize)"


async def _contents(
    path: Path, blobs: Sequence[bytes], asides: Sequence[Path]
) -> AsyncIterator[bytes]:
    if not blobs:
        return
    async with _git(path, "cat-file", "--batch", "--buffer", aside=asides) as reading:
        feeding = _feed(reading, blobs)
        output, _, _ = await asyncio.gather(_whole(reading), _drain(reading), feeding)
    while output:
        head, _, output = output.partition(b"\n")
        if not head.endswith(_MISSING):
            size = int(head.rpartition(b" ")[2])
            yield output[:size]
            output = output[size + 1 :]


def aside_bytes(path: Path) -> int:
    """Of what was put aside and is still to be deleted. Blocking."""
    return sum(folder_bytes(aside) for aside in _asides(path))


def _asides(path: Path) -> list[Path]:
    folder = path / FOLDER
    return sorted(one for one in folder.iterdir() if one.is_dir()) if folder.is_dir() else []


def _read_seen(file: Path) -> dict[tuple[str, str], float]:
    lines = file.read_text().splitlines() if file.exists() else []
    parts = (line.split() for line in lines)
    return {(name, sha): float(first) for name, sha, first in parts}


def _write_seen(folder: Path, seen: Mapping[tuple[str, str], float]) -> None:
    folder.mkdir(exist_ok=True)
    fresh = folder / f"{UNNEEDED}.new"
    fresh.write_text("".join(f"{name} {sha} {first:.0f}\n" for (name, sha), first in seen.items()))
    os.replace(fresh, folder / UNNEEDED)


def _delete_old(folder: Path, now: float) -> None:
    for aside in folder.iterdir() if folder.is_dir() else ():
        if aside.name.isdigit() and now - int(aside.name) >= DAYS_ASIDE * DAY_SECONDS:
            shutil.rmtree(aside)


def _put_back(aside: Path, packs: Path) -> None:
    files = list((aside / "pack").iterdir())
    for suffix in INDEX_LAST:
        for file in files:
            if file.suffix == suffix:
                os.replace(file, packs / file.name)
    shutil.rmtree(aside)


def _settled_bytes(aside: Path) -> int:
    size = folder_bytes(aside)
    if not size:
        shutil.rmtree(aside)
    return size


async def _roots(path: Path) -> frozenset[str]:
    """What refs and their logs name."""
    refs = await _lines(path, (), "for-each-ref", "--format=%(objectname)")
    logs = await _lines(path, (), "rev-list", "--no-walk", "--ignore-missing", "--all", "--reflog")
    return frozenset(line.decode() for line in (*refs, *logs))


async def _is_due(path: Path, roots: frozenset[str], now: float) -> bool:
    """Whether something was reached at the last look and is no more; or may have come and gone
    since that, or was too young then."""
    file = path / FOLDER / ROOTS
    if not file.exists():
        return True
    objects, *before = (await asyncio.to_thread(file.read_text)).split()
    if now - file.stat().st_mtime >= UNREACHED_DAYS * DAY_SECONDS:
        packs = path / "objects" / "pack"
        if any(packs.glob("*.mtimes")) or objects != await asyncio.to_thread(_objects, path):
            return True
    lost = set(before) - roots
    if not lost:
        return False
    wanted = ("rev-list", "--objects", "--ignore-missing", "--max-count=1", "--stdin")
    reached = ("--not", "--all", "--reflog")
    return bool(await _lines(path, lost, *wanted, *reached))


def _objects(path: Path) -> str:
    """Another one when objects came or went: of the names of packs and loose objects."""
    names = sorted(one.name for one in (path / "objects").glob("*/*"))
    return hashlib.sha256("\n".join(names).encode()).hexdigest()


def _write_roots(path: Path, roots: frozenset[str], now: float) -> None:
    fresh = path / FOLDER / f"{ROOTS}.new"
    fresh.write_text("\n".join([_objects(path), *sorted(roots)]))
    os.utime(fresh, (now, now))
    os.replace(fresh, path / FOLDER / ROOTS)


def _reflog_limits(now: float) -> Sequence[str]:
    date = _date(now - UNREACHED_DAYS * DAY_SECONDS)
    return (f"--expire={date}", f"--expire-unreachable={date}")


def _date(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S+00:00")


async def _missing(path: Path, commits: Collection[str], *, aside: Sequence[Path] = ()) -> set[str]:
    if not commits:
        return set()
    lines = await _lines(path, commits, "cat-file", "--batch-check", "--buffer", aside=aside)
    return {line.removesuffix(_MISSING).decode() for line in lines if line.endswith(_MISSING)}


async def _run(path: Path, *arguments: str, aside: Sequence[Path] = ()) -> None:
    await _lines(path, (), *arguments, aside=aside)


async def _lines(
    path: Path, fed: Collection[str], *arguments: str, aside: Sequence[Path] = ()
) -> list[bytes]:
    """Of git's output. Raises GarbageLeft."""
    async with _git(path, *arguments, aside=aside) as process:
        feeding = _feed(process, [line.encode() for line in fed])
        output, words, _ = await asyncio.gather(_whole(process), _drain(process), feeding)
        if code := await process.exit_code():
            raise GarbageLeft(f"git {arguments[0]} ended with {code}: {words.decode()}")
    return output.splitlines()


@asynccontextmanager
async def _git(
    path: Path, *arguments: str, aside: Sequence[Path] = ()
) -> AsyncIterator[GitProcess]:
    """At the lowest priority. Raises GarbageLeft after COLLECT_SECONDS."""
    environment: Mapping[str, str] = git_environment({})
    if aside:
        others = ":".join(f"{folder}" for folder in aside)
        environment = {**environment, "GIT_ALTERNATE_OBJECT_DIRECTORIES": others}
    command = ["nice", "-n19", "git", "--git-dir", str(path), *arguments]
    try:
        async with (
            asyncio.timeout(COLLECT_SECONDS),
            git_process(command, environment, patience_seconds=0) as process,
        ):
            yield process
    except TimeoutError as error:
        raise GarbageLeft(f"git {arguments[0]} took too long") from error


async def _feed(process: GitProcess, lines: Sequence[bytes]) -> None:
    for line in lines:
        await process.write(line + b"\n")
    process.end_input()


async def _whole(process: GitProcess) -> bytes:
    chunks = []
    while chunk := await process.read():
        chunks.append(chunk)
    return b"".join(chunks)


async def _drain(process: GitProcess) -> bytes:
    """The beginning of what git complains of."""
    words = b""
    while chunk := await process.read_errors():
        words = (words + chunk)[:500]
    return words


async def _read_lines(process: GitProcess) -> AsyncIterator[bytes]:
    left = b""
    while chunk := await process.read():
        *lines, left = (left + chunk).split(b"\n")
        for line in lines:
            yield line
