"""Sending a folder tree to the engine, which asks only for the files it lacks.

The tree is announced whole: one STAT packet an entry, in depth-first order with each folder's names
sorted by their bytes, the entries numbered from 0 in that order, then an empty STAT. The engine
compares with what it kept, and for each regular file that differs sends REQ with its number; the
answer is the content in DATA packets and an empty one. Its FIN is answered with FIN.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import grpc

from agent.engines.buildkit.ignore_patterns import EVERYTHING, TreeFilter
from agent.engines.buildkit.llb import TIMESTAMP_NS
from agent.engines.buildkit.odd_names import NAMES_FILE, OddNames, is_utf8, sent_name
from agent.engines.buildkit.pb import fsutil_pb2
from agent.engines.buildkit.session_calls import Call

GO_DIRECTORY = 1 << 31
GO_SYMLINK = 1 << 27
GO_SETUID = 1 << 23
GO_SETGID = 1 << 22
GO_STICKY = 1 << 20
GO_TYPES = GO_DIRECTORY | GO_SYMLINK | 1 << 26 | 1 << 25 | 1 << 24 | 1 << 21 | 1 << 19
"""The bits of which a regular file has none."""
CHUNK_BYTES = 128 * 1024
BATCH_BYTES = 1024 * 1024
BATCH_PACKETS = 512

_END_OF_STATS = fsutil_pb2.Packet(type=fsutil_pb2.Packet.PACKET_STAT).SerializeToString()
_FIN = fsutil_pb2.Packet(type=fsutil_pb2.Packet.PACKET_FIN).SerializeToString()


class UnsendableTreeError(Exception):
    """The folder holds what BuildKit can't be sent; the message names it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    packet: bytes
    """Its STAT packet, serialized."""
    file: str | bytes | None
    """Where its content is, or what it is, if it is a regular file."""


@dataclass(slots=True, kw_only=True)
class TreeSender:
    """One folder tree to send, made of layers of which the later cover the earlier."""

    open: Callable[[], AbstractAsyncContextManager[Sequence[Path]]]
    """Lends the layers' folders while the engine copies them."""
    folder: str = ""
    """The tree's top folder on the engine's side, where all belongs to root; empty for none."""
    names_folder: str = ""
    """Another top folder, before it in the order of names, for NAMES_FILE: the commands that give
    back names which are not UTF-8. Empty where nobody runs them: such a name is refused then."""
    filter: TreeFilter = EVERYTHING
    files_sent: int = field(default=0)
    bytes_sent: int = field(default=0)
    failure: Exception | None = field(default=None)
    """Why the folders could not be opened or sent."""

    async def serve(self, stream: Call) -> None:
        """Answer the engine's DiffCopy call."""
        try:
            async with self.open() as layers:
                await self._send(stream, layers)
        except Exception as error:  # a task root: gRPC's own would only log it
            self.failure = _first_of(error)
            await stream.abort(grpc.StatusCode.FAILED_PRECONDITION, str(self.failure))

    async def _send(self, stream: Call, layers: Sequence[Path]) -> None:
        entries = await asyncio.to_thread(self._entries, layers)
        wanted: asyncio.Queue[int | None] = asyncio.Queue()
        # Two writes at once would mix their messages, so one task alone writes.
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(_read_requests(stream, wanted))
            for at in range(0, len(entries), BATCH_PACKETS):
                await stream.write(*(one.packet for one in entries[at : at + BATCH_PACKETS]))
            await stream.write(_END_OF_STATS)
            await self._answer(stream, entries, wanted)
        await stream.write(_FIN)

    def _entries(self, layers: Sequence[Path]) -> list[Entry]:
        if not self.names_folder:
            return list(walk(layers, self.folder, self.filter))
        odd = OddNames()
        tree = list(walk(layers, self.folder, self.filter, odd))
        return [*_names_entries(self.names_folder, odd.script()), *tree]

    async def _answer(
        self,
        stream: Call,
        entries: Sequence[Entry],
        wanted: asyncio.Queue[int | None],
    ) -> None:
        finished = False
        while not finished:
            numbers = [await wanted.get()]
            while not wanted.empty() and len(numbers) < BATCH_PACKETS:
                numbers.append(wanted.get_nowait())
            finished = numbers[-1] is None
            packets = contents(entries, [number for number in numbers if number is not None])
            while batch := await asyncio.to_thread(_next_batch, packets):
                await stream.write(*(packet for packet, _ in batch))
                self.files_sent += sum(size == 0 for _, size in batch)
                self.bytes_sent += sum(size for _, size in batch)


def _first_of(error: Exception) -> Exception:
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error


async def _read_requests(stream: Call, wanted: asyncio.Queue[int | None]) -> None:
    """Queue the numbers that the engine asks for, and None at its FIN."""
    while True:
        message = await stream.read()
        if message is None:
            raise UnsendableTreeError("the engine ended the source's transfer before it was whole")
        packet = fsutil_pb2.Packet.FromString(message)
        match packet.type:
            case fsutil_pb2.Packet.PACKET_REQ:
                wanted.put_nowait(packet.ID)
            case fsutil_pb2.Packet.PACKET_FIN:
                wanted.put_nowait(None)
                return
            case fsutil_pb2.Packet.PACKET_ERR:
                raise UnsendableTreeError(f"the engine: {packet.data.decode(errors='replace')}")


def contents(entries: Sequence[Entry], numbers: Sequence[int]) -> Iterator[tuple[bytes, int]]:
    """The DATA packets of the files with these numbers, each with its count of bytes."""
    kind = fsutil_pb2.Packet.PACKET_DATA
    for number in numbers:
        file = entries[number].file if number < len(entries) else None
        if file is None:
            raise UnsendableTreeError(f"the engine asks for entry {number}, which is no file")
        with _opened(file) as content:
            while chunk := content.read(CHUNK_BYTES):
                packet = fsutil_pb2.Packet(type=kind, ID=number, data=chunk)
                yield packet.SerializeToString(), len(chunk)
        yield fsutil_pb2.Packet(type=kind, ID=number).SerializeToString(), 0


def _opened(file: str | bytes) -> BinaryIO:
    return io.BytesIO(file) if isinstance(file, bytes) else open(file, "rb", buffering=0)


def _next_batch(packets: Iterator[tuple[bytes, int]]) -> list[tuple[bytes, int]]:
    batch: list[tuple[bytes, int]] = []
    total = 0
    for packet, size in packets:
        batch.append((packet, size))
        total += size
        if total >= BATCH_BYTES or len(batch) >= BATCH_PACKETS:
            break
    return batch


def walk(
    layers: Sequence[Path],
    folder: str,
    wanted: TreeFilter = EVERYTHING,
    odd: OddNames | None = None,
) -> Iterator[Entry]:
    """The entries of `folder`, made of the layers' content, in the order of the wire.

    Raises OSError; without `odd`, UnsendableTreeError for a name that is not UTF-8. Sockets, pipes
    and devices are left out: a source at a commit has none.
    """
    if folder:
        yield _folder_entry(folder)
    yield from _walk_folder(layers, folder, wanted, odd)


def _folder_entry(path: str) -> Entry:
    top = fsutil_pb2.Stat(path=path, mode=GO_DIRECTORY | 0o755, modTime=TIMESTAMP_NS)
    return Entry(packet=_stat_packet(top), file=None)


def _names_entries(folder: str, commands: bytes) -> list[Entry]:
    # The engine takes a file of equal size and time for the one that it has.
    time = int.from_bytes(hashlib.sha256(commands).digest()[:7])
    described = fsutil_pb2.Stat(
        path=f"{folder}/{NAMES_FILE}", mode=0o644, size=len(commands), modTime=time
    )
    return [_folder_entry(folder), Entry(packet=_stat_packet(described), file=commands)]


def _walk_folder(
    layers: Sequence[Path | str], folder: str, wanted: TreeFilter, odd: OddNames | None
) -> Iterator[Entry]:
    for name, same in _listed(layers):
        sent = os.fsdecode(name if odd is None else sent_name(name))
        path = f"{folder}/{sent}" if folder else sent
        is_folder = _is_folder(same[-1])
        if wanted.leaves_out(path, is_folder=is_folder):
            continue
        if not is_utf8(name):
            _note_name(folder, name, odd)
        described = _describe(path, same[-1], odd)
        if described is None:
            continue
        if not is_folder:
            yield described
            continue
        below = _walk_folder([entry.path for entry in same], path, wanted, odd)
        yield from _with_children(described, below, only_for_children=wanted.ignores(path))


def _note_name(folder: str, name: bytes, odd: OddNames | None) -> None:
    if odd is None:
        raise UnsendableTreeError(
            f"the name {name!r} in {folder or '.'} is not UTF-8, which BuildKit can't be sent for "
            "an image: rename it, or leave it out by .dockerignore"
        )
    odd.rename(_in_workspace(folder), name)


def _in_workspace(path: str) -> str:
    """Less the tree's top folder."""
    return path.partition("/")[2]


def _with_children(
    entry: Entry, below: Iterator[Entry], *, only_for_children: bool
) -> Iterator[Entry]:
    """The entry and those below it; an ignored folder is sent only for what is taken in again."""
    if only_for_children:
        first = next(below, None)
        if first is None:
            return
        yield entry
        yield first
    else:
        yield entry
    yield from below


def _listed(layers: Sequence[Path | str]) -> Iterator[tuple[bytes, list[os.DirEntry[str]]]]:
    """Each name with its entries in the layers that make it up, the last one on top."""
    found: dict[bytes, list[os.DirEntry[str]]] = {}
    for layer in layers:
        with os.scandir(layer) as listing:
            for entry in listing:
                same = found.setdefault(os.fsencode(entry.name), [])
                # A folder over a folder joins it; anything else replaces what is below.
                if same and not (_is_folder(entry) and _is_folder(same[-1])):
                    same.clear()
                same.append(entry)
    for name in sorted(found, key=sent_name):
        yield name, found[name]


def _is_folder(entry: os.DirEntry[str]) -> bool:
    return entry.is_dir(follow_symlinks=False)


def _describe(path: str, entry: os.DirEntry[str], odd: OddNames | None) -> Entry | None:
    status = entry.stat(follow_symlinks=False)
    message = fsutil_pb2.Stat(path=path, modTime=status.st_mtime_ns)
    file = None
    if stat.S_ISDIR(status.st_mode):
        message.mode = GO_DIRECTORY | go_permissions(status.st_mode)
    elif stat.S_ISLNK(status.st_mode):
        message.mode = GO_SYMLINK | 0o777
        target = os.readlink(os.fsencode(entry.path))
        if not is_utf8(target):
            if odd is None:
                raise UnsendableTreeError(f"the target of the link {path} is not UTF-8")
            odd.link(_in_workspace(path), target)
            return None
        message.linkname = target.decode()
        message.size = status.st_size
    elif stat.S_ISREG(status.st_mode):
        message.mode = go_permissions(status.st_mode)
        message.size = status.st_size
        file = entry.path
    else:
        return None
    return Entry(packet=_stat_packet(message), file=file)


def go_permissions(mode: int) -> int:
    """The permission bits as Go's os.FileMode has them."""
    return (
        (mode & 0o777)
        | (GO_SETUID if mode & stat.S_ISUID else 0)
        | (GO_SETGID if mode & stat.S_ISGID else 0)
        | (GO_STICKY if mode & stat.S_ISVTX else 0)
    )


def _stat_packet(message: fsutil_pb2.Stat) -> bytes:
    packet = fsutil_pb2.Packet(type=fsutil_pb2.Packet.PACKET_STAT, stat=message)
    return packet.SerializeToString()
