"""The folders of one run: one that goes with it, and the user's own that stays.

What goes is also removed where the run is killed: by a process beside it that waits for its end
(`janitor`), and should that be killed, too, by the next run.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import secrets
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from pushrod.errors import describe_os_error
from pushrod.local.errors import CannotRun
from pushrod.local.leftovers import LOCK, PREFIX, remove_all_left, remove_run

KEY_BYTES = 32
LEAST_FREE_BYTES = 512 * 1024 * 1024
"""An agent asks for no work with half of it."""
LONGEST_FOLDER = 107 - len("/pushrod-01234567/session.sock")
"""Bytes: sockets of engines are below it, too."""
_PROJECTS = uuid.UUID("6f0b6f3c-9a2e-4d3e-8f0a-70757368726f")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPlace:
    folder: Path
    """Removed with the run: database, repository, logs, outputs, work trees."""
    lasting: Path
    """Caches, and the key that their names are made with."""

    @property
    def data(self) -> Path:
        return self.folder / "coordinator"

    @property
    def agent(self) -> Path:
        return self.folder / "agent"

    @property
    def socket(self) -> Path:
        return self.folder / "s"

    @property
    def scratch(self) -> Path:
        return self.folder / "snapshot"


def lasting_folder(environment: Mapping[str, str]) -> Path:
    """Below the user's folder of caches."""
    home = Path(environment.get("HOME") or "/").absolute()
    return Path(environment.get("XDG_CACHE_HOME") or home / ".cache").absolute() / "pushrod/run"


def project_id_of(root: Path) -> str:
    """The same for each run of the same repository, so that its caches are found again."""
    return str(uuid.uuid5(_PROJECTS, hashlib.sha256(os.fsencode(root.resolve())).hexdigest()))


@contextmanager
def run_place(engine: str) -> Iterator[RunPlace]:
    """Make both, and remove what goes: also what is put into the folder of temporary files, which
    is that folder meanwhile. Raises CannotRun."""
    lasting = _made(lasting_folder(os.environ))
    parent = Path(tempfile.gettempdir())
    remove_all_left(parent)
    folder = _new_folder(parent)
    with (folder / LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.write(f"{lasting}\n{engine}\n")
        lock.flush()
        janitor = _start_janitor(folder)
        place = RunPlace(folder=folder, lasting=lasting)
        before, tempfile.tempdir = tempfile.tempdir, str(folder)
        try:
            _check_room(place)
            yield place
        finally:
            tempfile.tempdir = before
            remove_run(folder)
            _dismiss(janitor)


def _made(lasting: Path) -> Path:
    try:
        lasting.mkdir(mode=0o700, parents=True, exist_ok=True)
        lasting.chmod(0o700)
    except OSError as error:
        raise CannotRun(
            f"{lasting}, where caches are kept, can't be written: {describe_os_error(error)}; name "
            "another folder by XDG_CACHE_HOME"
        ) from error
    return lasting


def _new_folder(parent: Path) -> Path:
    try:
        return Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
    except OSError as error:
        raise CannotRun(f"{parent} can't be written: name another folder by TMPDIR") from error


def _check_room(place: RunPlace) -> None:
    disk = os.statvfs(place.folder)
    if disk.f_bavail * disk.f_frsize < LEAST_FREE_BYTES:
        raise CannotRun(
            f"{place.folder.parent} has less than {LEAST_FREE_BYTES // 1024**2} MiB left: make "
            "room, or name another folder by TMPDIR"
        )
    if len(os.fsencode(place.folder)) > LONGEST_FOLDER:
        raise CannotRun(f"the path of {place.folder.parent} is too long: name another by TMPDIR")


def _start_janitor(folder: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "pushrod.local.janitor", str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C at the terminal is not for it
        cwd="/",
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )


def _dismiss(janitor: subprocess.Popen[bytes]) -> None:
    """There is nothing left for it to do."""
    janitor.kill()
    janitor.communicate()


def lasting_key(lasting: Path) -> bytes:
    """With which caches are named: made once for each user."""
    path = lasting / "key"
    with suppress(FileNotFoundError):
        key = path.read_bytes()
        if len(key) == KEY_BYTES:
            return key
        path.unlink()
    put_once(path, secrets.token_bytes(KEY_BYTES))
    return path.read_bytes()


def put_once(path: Path, content: bytes) -> None:
    """A file for its owner alone; whoever comes first has it."""
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".new-") as file:
        file.write(content)
        file.flush()
        with suppress(FileExistsError):
            os.link(file.name, path)
