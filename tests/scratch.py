"""What tests write lies in memory where there is room: a file made on a disk costs a millisecond of
processor time, in memory next to nothing, and a suite makes a hundred thousands.

Who sets TMPDIR has it there instead, also what a failed test has left, which else goes at the end.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

MEMORY = Path("/dev/shm")
LEAST_BYTES = 8 * 2**30
"""Free, in it and of the machine's memory: engines of a test's own keep their images there."""
HINDRANCES = {"noexec", "nosuid", "nodev"}
"""Options of its mount: tests start what they write, also with images' set-user-id programs."""
_PREFIX = "t."
"""Short, since names of sockets end after 107 bytes; the process's id follows."""


def begin() -> Path | None:
    """A folder for this process and all that it starts, to be given to `end`; None without one."""
    if "TMPDIR" in os.environ or not has_room(MEMORY):
        return None
    _remove_left(MEMORY)
    folder = MEMORY / f"{_PREFIX}{os.getpid()}"
    folder.mkdir(mode=0o700)
    folder.chmod(0o1777)  # as /tmp: users whom the host engine makes pass through it
    os.environ["TMPDIR"] = tempfile.tempdir = str(folder)
    return folder


def end(folder: Path | None) -> None:
    if folder is not None:
        os.environ.pop("TMPDIR", None)
        tempfile.tempdir = None
        shutil.rmtree(folder, ignore_errors=True)


def has_room(folder: Path, mounts: str | None = None, memory: str | None = None) -> bool:
    """Whether it is in memory, with enough of it free and nothing forbidden. `mounts` and `memory`
    are the contents of /proc/self/mounts and /proc/meminfo."""
    try:
        mounts = mounts or Path("/proc/self/mounts").read_text()
        memory = memory or Path("/proc/meminfo").read_text()
        free = shutil.disk_usage(folder).free
    except OSError:
        return False
    lines = (line.split() for line in mounts.splitlines())
    options = {fields[1]: set(fields[3].split(",")) for fields in lines if fields[2] == "tmpfs"}
    available = {name: value for name, value, *_ in map(str.split, memory.splitlines())}
    return (
        str(folder) in options
        and not options[str(folder)] & HINDRANCES
        and free >= LEAST_BYTES
        and int(available["MemAvailable:"]) * 1024 >= LEAST_BYTES
    )


def _remove_left(memory: Path) -> None:
    """By tests that were killed."""
    for folder in memory.glob(f"{_PREFIX}[0-9]*"):
        number = folder.name.removeprefix(_PREFIX)
        ours = number.isdigit() and folder.lstat().st_uid == os.geteuid()
        if ours and not Path(f"/proc/{number}").exists():
            shutil.rmtree(folder, ignore_errors=True)
