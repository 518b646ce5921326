"""What a coordinator has for itself on its machine: its data folder and its address."""

from __future__ import annotations

import fcntl
import json
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from coordinator.services.keys import write_private
from coordinator.settings import Settings


class DataFolderInUse(Exception):
    """Another coordinator works on this data folder."""


class HalfRestored(DataFolderInUse):
    """A restore of a backup to this data folder was begun and not finished."""


class MovedAway(DataFolderInUse):
    """What the settings name is what `pushrod migrate` moved elsewhere."""


class CannotListen(Exception):
    """The address is taken or not ours."""


BACKLOG = 1024
"""Connections that the kernel keeps until we accept them."""
RESTORING = "restoring"
"""The file that stands in a data folder while a backup is restored to it."""


@contextmanager
def only_one(data: Path) -> Iterator[None]:
    """Two coordinators over one embedded database would hand each step out twice."""
    with only_one_restores(data):
        if (data / RESTORING).exists():
            raise HalfRestored(
                f"a restore to {data} was begun and not finished: run `pushrod restore` again, it "
                "goes on where it stopped"
            )
        yield


@contextmanager
def only_one_restores(data: Path) -> Iterator[None]:
    """As `only_one`, also for a folder that is being made. Raises DataFolderInUse."""
    with (data / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise DataFolderInUse(
                f"another pushrod works on {data}: stop it, or give this one its own --data"
            ) from error
        yield


MOVED = "moved"
"""The file of a data folder that says what was moved away, and where to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    what: str
    """The setting that names it: `database` or `objects`."""
    source: str
    target: str


def named_place(settings: Settings, what: str) -> str:
    """Of the database or the objects; a place in the data folder without that folder."""
    if what == "database":
        return settings.database or "pushrod.db"
    location = settings.objects_location
    if isinstance(location, Path) and location.is_relative_to(settings.data):
        return location.relative_to(settings.data).as_posix()
    return str(location).rstrip("/")


def read_moved(data: Path) -> Sequence[Moved]:
    try:
        return [Moved(**one) for one in json.loads((data / MOVED).read_bytes())]
    except FileNotFoundError:
        return []


def write_moved(data: Path, moved: Sequence[Moved]) -> None:
    write_private(data / MOVED, json.dumps([asdict(one) for one in moved]).encode() + b"\n")


def refuse_moved(settings: Settings) -> None:
    """Two installations would come of one: that which was left goes on from where it was, hands out
    what the other has handed out, under the same epochs, and tells forges. Raises MovedAway."""
    for one in read_moved(settings.data):
        if one.source == named_place(settings, one.what):
            raise MovedAway(
                f"the {one.what} of this installation was moved to {one.target}: write {one.what} "
                f'= "{one.target}" into the settings. To go on with {one.source} as it was before '
                f"that, and lose all since, remove {settings.data / MOVED}"
            )


@contextmanager
def listen_socket(settings: Settings) -> Iterator[socket.socket]:
    with _bound(settings.listen, "--listen") as listening:
        yield listening


@contextmanager
def peer_socket(settings: Settings) -> Iterator[socket.socket]:
    """Where other coordinators connect to; it listens. Raises CannotListen."""
    with _bound(settings.peer_listen or "", "`peer_listen`") as listening:
        listening.listen(BACKLOG)
        yield listening


@contextmanager
def _bound(address: str, setting: str) -> Iterator[socket.socket]:
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((host, int(port)))
        except OSError as error:
            raise CannotListen(
                f"can't listen on {address}: {error.strerror}; "
                f"stop what uses it, or give another {setting} HOST:PORT"
            ) from error
        listening.setblocking(False)
        yield listening


@contextmanager
def listen_socket_at(path: Path) -> Iterator[socket.socket]:
    """On a path instead of a port: whoever may enter its folder reaches it, nobody else."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listening:
        try:
            listening.bind(str(path))
        except OSError as error:
            raise CannotListen(f"can't listen on {path}: {error}") from error
        listening.setblocking(False)
        yield listening


def shown_host(host: str) -> str:
    """An address that listens everywhere is reached locally by loopback."""
    if host in ("0.0.0.0", "::"):  # noqa: S104 - compared, not bound
        return "127.0.0.1" if host == "0.0.0.0" else "[::1]"  # noqa: S104
    return f"[{host}]" if ":" in host else host


def shown_address(listening: socket.socket) -> str:
    """HOST:PORT that it listens on."""
    host, port, *_ = listening.getsockname()
    return f"{shown_host(host)}:{port}"
