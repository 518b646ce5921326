"""Opening paths that somebody else may change meanwhile, without ever leaving their folder.

A path that was looked at and is then opened can have become a link to anywhere in between. Here the
kernel itself resolves the whole path below a descriptor, or refuses it (openat2(2), Linux 5.6).
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

_SYS_OPENAT2 = 437
"""The same on every architecture."""
_NO_MAGIC_LINKS, _NO_SYMLINKS, _BENEATH = 0x02, 0x04, 0x08
_TRIES = 100
"""The kernel gives up with EAGAIN where a rename crosses its way."""

_libc = ctypes.CDLL(None, use_errno=True)


class _OpenHow(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


def open_beneath(folder: int, path: str, flags: int, *, follow: bool = True) -> int:
    """A descriptor of what `path` names below the open folder; `""` and `.` are the folder.

    Links are followed as far as they stay below it; with `follow=False` there may be none.
    Raises OSError: EXDEV for a link that leads out or an absolute one, ELOOP for any link where
    none is followed, ENOSYS on an old kernel.
    """
    resolve = _BENEATH | _NO_MAGIC_LINKS | (0 if follow else _NO_SYMLINKS)
    how = _OpenHow(flags=flags | os.O_CLOEXEC, mode=0, resolve=resolve)
    name = os.fsencode(path or ".")
    for _ in range(_TRIES):
        found: int = _libc.syscall(
            _SYS_OPENAT2, folder, name, ctypes.byref(how), ctypes.sizeof(how)
        )
        if found >= 0:
            return found
        code = ctypes.get_errno()
        if code not in (errno.EAGAIN, errno.EINTR):
            break
    raise OSError(code, os.strerror(code), path)


@contextmanager
def opened_beneath(folder: int, path: str, flags: int, *, follow: bool = True) -> Iterator[int]:
    """As `open_beneath`, closed at the end."""
    descriptor = open_beneath(folder, path, flags, follow=follow)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def opened_folder(path: str | os.PathLike[str]) -> Iterator[int]:
    """A folder by its path, all of which is ours."""
    descriptor = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def path_of(descriptor: int) -> str:
    """Through which what a descriptor of O_PATH stands for is opened, and nothing else."""
    return f"/proc/self/fd/{descriptor}"
