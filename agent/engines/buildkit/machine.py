"""Containers as the machine's kernel shows them to root: their processes, networks and limits.

An engine tells nothing of a container's address, nor when its first process is there.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import re
import socket
import struct
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from agent.engines.buildkit.step_graph import HOSTS_FILE
from agent.engines.buildkit.wrapper import PRIVATE, RECORD

T = TypeVar("T")

CLONE_NEWNET = 0x40000000
RTM_GETLINK = 18
NLM_F_DUMP = 0x301
NLMSG_DONE = 3
IFLA_IFNAME = 3
IFLA_LINK = 5
_RUNTIME = "runc"
_LOCAL = re.compile(r"\|-- (\S+)\n\s+/32 host LOCAL")
_LIMITS = ("memory.memsw.limit_in_bytes", "memory.limit_in_bytes")
_libc = ctypes.CDLL(None, use_errno=True)


def first_process(container_id: str, others: Collection[str] = ()) -> int | None:
    """The container's PID 1, by our number; None before it runs, and once it is gone. `others` are
    numbers of processes that it is not one of."""
    for process in processes_of(container_id, others):
        numbers = re.search(r"^NSpid:.*\s1$", _read(process, "status"), re.MULTILINE)
        # Until it becomes the image's program it is the runtime's own.
        if numbers and not _read(process, "comm").startswith(_RUNTIME):
            return process
    return None


def processes_of(container_id: str, others: Collection[str] = ()) -> Iterator[int]:
    for entry in os.listdir("/proc"):
        if entry.isdigit() and entry not in others and container_id in _read(int(entry), "cgroup"):
            yield int(entry)


def address(process: int) -> str | None:
    """The IPv4 address by which others reach it; None where it has none of its own."""
    found = dict.fromkeys(_LOCAL.findall(_read(process, "net/fib_trie")))
    return next((one for one in found if not one.startswith("127.")), None)


def shares_our_network(process: int) -> bool:
    return _namespace(process) == os.readlink("/proc/self/ns/net")


def limit_memory(process: int, limit: int) -> bool:
    """Limit the container's memory, swap included, in bytes; whether that is in force."""
    for line in _read(process, "cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if "memory" in controllers.split(","):
            folder = Path("/sys/fs/cgroup/memory") / path.lstrip("/")
            return _write(folder / _LIMITS[1], limit) and _write(folder / _LIMITS[0], limit, True)
        if not controllers and path != "/":
            folder = Path("/sys/fs/cgroup") / path.lstrip("/")
            if (folder / "memory.max").exists():
                return _write(folder / "memory.max", limit) and _write(
                    folder / "memory.swap.max", 0, True
                )
    return False


def _write(file: Path, value: int, may_lack: bool = False) -> bool:
    try:
        file.write_text(str(value))
    except OSError:
        return may_lack
    return True


def socket_in(process: int) -> socket.socket:
    """A TCP socket in the network of a process. Raises OSError."""
    return in_network(process, lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM))


def outer_interface(process: int, engine: int) -> str | None:
    """What the container's only way out is called in the network of the engine's process."""
    inner = [link for name, (_, link) in in_network(process, _links).items() if name != "lo"]
    outer = {index: name for name, (index, _) in in_network(engine, _links).items()}
    return outer.get(inner[0]) if len(inner) == 1 else None


def let_begin(process: int, name: str) -> None:
    """Leave a file in the record of a step's wrapper, which waits for it. Raises OSError."""
    with _folder_in(process, (PRIVATE.strip("/"), RECORD.rpartition("/")[2])) as folder:
        made = os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW, dir_fd=folder)
        os.close(made)


def when_over(process: int, call: Callable[[], None]) -> Callable[[], None]:
    """Have it called once the process has ended; what forgets that. Raises OSError."""
    handle = os.pidfd_open(process)
    loop = asyncio.get_running_loop()

    def forget() -> None:
        nonlocal handle
        if handle >= 0:
            loop.remove_reader(handle)
            os.close(handle)
            handle = -1

    def over() -> None:
        forget()
        call()

    loop.add_reader(handle, over)
    return forget


def tell_hosts(process: int, hosts: Mapping[str, str]) -> None:
    """Add addresses by name to what a step's container has as its /etc/hosts. Raises OSError.

    What an image has there may be a link: the file was mounted where that leads. So the kernel is
    asked for the place, and whether what was opened is what it mounted.
    """
    lines = "".join(f"{address}\t{host}\n" for host, address in hosts.items())
    _append(process, _mount_of(process, HOSTS_FILE), lines)


def _append(process: int, place: Sequence[str], text: str) -> None:
    mount, *folders, name = place
    with _folder_in(process, folders) as folder:
        file = os.open(name, os.O_PATH | os.O_NOFOLLOW, dir_fd=folder)
    try:
        if f"\nmnt_id:\t{mount}\n" not in Path(f"/proc/self/fdinfo/{file}").read_text():
            raise OSError(f"/{'/'.join((*folders, name))} is not the file that was mounted there")
        with Path(f"/proc/self/fd/{file}").open("a") as opened:
            opened.write(text)
    finally:
        os.close(file)


def _mount_of(process: int, file: str) -> list[str]:
    """The id of the mount whose own root is `file`, and its place, by folders."""
    for line in _read(process, "mountinfo").splitlines():
        mount, _, _, root, place, *_ = line.split(" ")
        if root.endswith(file):
            told = re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), place)
            return [mount, *told.strip("/").split("/")]
    raise OSError("its /etc/hosts was not mounted")


@contextmanager
def _folder_in(process: int, path: Sequence[str]) -> Iterator[int]:
    """A folder of a container. Folder by folder, since an image's links would be followed in our
    own files."""
    flags = os.O_PATH | os.O_DIRECTORY
    folder = os.open(f"/proc/{process}/root", flags)
    try:
        for part in path:
            inner = os.open(part, flags | os.O_NOFOLLOW, dir_fd=folder)
            os.close(folder)
            folder = inner
        yield folder
    finally:
        os.close(folder)


def in_network(process: int, make: Callable[[], T]) -> T:
    """What `make`, which does not wait, gives in the network of a process. Raises OSError."""
    own = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        other = os.open(f"/proc/{process}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            _enter(other)
        finally:
            os.close(other)
        try:
            return make()
        finally:
            _enter(own)
    finally:
        os.close(own)


def _enter(network: int) -> None:
    if _libc.setns(network, CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _links() -> dict[str, tuple[int, int]]:
    """Name → (index, index of the other end) of the interfaces of this thread's network."""
    found: dict[str, tuple[int, int]] = {}
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as kernel:
        head = struct.pack("=IHHII", 32, RTM_GETLINK, NLM_F_DUMP, 1, 0)
        kernel.send(head + struct.pack("=BxHiII", 0, 0, 0, 0, 0))
        while True:
            data = kernel.recv(1 << 17)
            while len(data) >= 16:
                size, kind = struct.unpack_from("=IH", data)
                if kind == NLMSG_DONE or size < 16:
                    return found
                name, index, link = _link(data[16:size])
                found[name] = (index, link)
                data = data[(size + 3) & ~3 :]


def _link(message: bytes) -> tuple[str, int, int]:
    (index,) = struct.unpack_from("=i", message, 4)
    name, link, at = "", 0, 16
    while at + 4 <= len(message):
        size, kind = struct.unpack_from("=HH", message, at)
        value = message[at + 4 : at + size]
        if kind == IFLA_IFNAME:
            name = value.rstrip(b"\0").decode()
        elif kind == IFLA_LINK:
            (link,) = struct.unpack("=I", value)
        at += max((size + 3) & ~3, 4)
    return name, index, link


def _namespace(process: int) -> str:
    try:
        return os.readlink(f"/proc/{process}/ns/net")
    except OSError:
        return ""


def _read(process: int, name: str) -> str:
    """Empty once the process is gone."""
    try:
        return Path(f"/proc/{process}/{name}").read_text(errors="replace")
    except OSError:
        return ""
