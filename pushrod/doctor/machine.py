"""The machine itself: Python, libraries, programs, disk, port and clock."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
from datetime import UTC, datetime
from importlib import import_module, metadata
from pathlib import Path

from pushrod.doctor.finding import Finding, fail, ok, warn
from pushrod.errors import describe_os_error

OLDEST_PYTHON = (3, 11)
OLDEST_GIT = (2, 31)
COLLECTING_GIT = (2, 39)
"""The first that sets aside what nothing reaches."""
"""The first that takes its configuration from GIT_CONFIG_COUNT, which keeps tokens off argv."""
COMPILED = ("pygit2", "obstore", "grpc", "cryptography.hazmat.bindings._rust")
"""Libraries that need more of the system than pip can see."""
PROGRAM_SECONDS = 2.0
FAIL_BELOW_BYTES = 256 * 1024**2
"""With less an agent asks for no work (`AgentSettings.min_free_bytes`)."""
WARN_BELOW_BYTES = 5 * 1024**3


def check_python(version: tuple[int, ...] = tuple(sys.version_info[:3])) -> Finding:
    shown = ".".join(map(str, version))
    if version >= OLDEST_PYTHON:
        return ok("python", f"Python {shown}")
    return fail("python", f"Python {shown} is older than 3.11", "PYTHON=python3.11 make setup")


def check_libraries() -> Finding:
    """Whether what pushrod depends on is installed and can be loaded here."""
    missing = [name for name in required_distributions() if not _is_installed(name)]
    broken = [] if missing else [f"{name}: {why}" for name, why in _unloadable()]
    if not missing and not broken:
        return ok("libraries", "all are installed and load")
    what = f"not installed: {', '.join(missing)}" if missing else f"not loadable: {broken[0]}"
    command = f"{sys.executable} -m pip install --force-reinstall ."
    return fail("libraries", what, f"{command}  # in pushrod's clone")


def required_distributions() -> list[str]:
    """What the installed pushrod says it needs; extras aside. Empty when it isn't installed."""
    try:
        requirements = metadata.requires("pushrod") or []
    except metadata.PackageNotFoundError:
        return []
    needed = [text for text in requirements if "extra ==" not in text]
    return [re.split(r"[^A-Za-z0-9._-]", text, maxsplit=1)[0] for text in needed]


def _is_installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def _unloadable() -> list[tuple[str, str]]:
    found = []
    for name in COMPILED:
        try:
            import_module(name)
        except ImportError as error:
            found.append((name, " ".join(str(error).split())))
    return found


def check_git() -> Finding:
    """The git command, new enough, with the program that serves repositories over HTTP."""
    says = _first_line("git", "--version")
    if says is None:
        return fail("git", "git is not installed", "apt-get install git")
    version = git_version(says)
    if version is None or version < OLDEST_GIT:
        return fail("git", f"{says} is older than 2.31", "apt-get install git")
    folder = _first_line("git", "--exec-path")
    if folder is None or not (Path(folder) / "git-http-backend").exists():
        return fail("git", f"{says} comes without http-backend", "apt-get install git")
    if version < COLLECTING_GIT:
        return warn("git", f"{says} is older than 2.39: a coordinator's repositories keep what "
                    "nothing reaches any more", "apt-get install git")  # fmt: skip
    return ok("git", f"{says}, with http-backend")


def git_version(says: str) -> tuple[int, int] | None:
    """(2, 39) of `git version 2.39.5 (Apple Git-154)`."""
    found = re.search(r"(\d+)\.(\d+)", says)
    return (int(found[1]), int(found[2])) if found else None


def check_curl() -> Finding:
    if says := _first_line("curl", "--version"):
        return ok("curl", " ".join(says.split()[:2]))
    return warn("curl", "not installed: only the worker of bash and curl needs it",
                "apt-get install curl")  # fmt: skip


def _first_line(*argv: str) -> str | None:
    """What a program prints; None if it isn't there or fails."""
    try:
        ran = subprocess.run(
            argv,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=PROGRAM_SECONDS,
            stdin=subprocess.DEVNULL,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return next(iter(ran.stdout.splitlines()), None)


def check_folder(name: str, folder: Path) -> Finding:
    """Whether the folder is there or can be made, is writable, and has room."""
    place = next(place for place in (folder, *folder.parents) if place.exists())
    if not place.is_dir():
        return fail(name, f"{place} is no folder", f"mv {place} {place}.old")
    if not os.access(place, os.W_OK | os.X_OK):
        user = os.geteuid()
        return fail(
            name, f"{place} can't be written by uid {user}", f"install -d -o {user} {folder}"
        )
    return judge_space(name, folder, shutil.disk_usage(place).free)


def judge_space(name: str, folder: Path, free_bytes: int) -> Finding:
    says = f"{folder}: {free_bytes / 1e9:.1f} GB are free"
    remedy = f"make room on the disk of {folder}, or choose another by --data"
    if free_bytes < FAIL_BELOW_BYTES:
        return fail(name, says, remedy)
    return warn(name, says, remedy) if free_bytes < WARN_BELOW_BYTES else ok(name, says)


def check_port(host: str, port: int) -> Finding:
    """Whether the coordinator could listen there; the port is free again at once."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except OSError as error:
        if _a_coordinator_serves(host, port):
            return ok("port", f"a coordinator serves at {host}:{port} already")
        return fail(
            "port",
            f"can't listen on {host}:{port}: {describe_os_error(error)}",
            "pushrod up --listen 127.0.0.1:0",
        )
    return ok("port", f"{host}:{port} is free")


def _a_coordinator_serves(host: str, port: int) -> bool:
    import http.client

    reachable = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 compared
    connection = http.client.HTTPConnection(reachable, port, timeout=1.0)
    try:
        connection.request("GET", "/healthz")
        answer = connection.getresponse()
        return answer.status == http.HTTPStatus.OK and answer.read(16) == b"ok\n"
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def check_clock(now: datetime | None = None) -> Finding:
    """A clock behind our own files' dates is wrong: tokens and leases would end at odd times."""
    moment = now or datetime.now(UTC)
    written = datetime.fromtimestamp(Path(__file__).stat().st_mtime, UTC)
    if moment < written:
        return fail(
            "clock",
            f"it says {moment:%Y-%m-%d %H:%M}, before pushrod was installed",
            "timedatectl set-ntp true",
        )
    return ok("clock", f"{moment:%Y-%m-%d %H:%M} UTC")
