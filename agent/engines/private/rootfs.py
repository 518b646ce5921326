"""Root file systems as tar archives: Debian's by mmdebstrap, a tiny one for tests by hand."""

from __future__ import annotations

import io
import stat
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from agent.engines.private.apt import AptSource, Release
from agent.engines.private.commands import CommandFailedError, run_command
from agent.engines.private.errors import ImageError

BASE_PACKAGES = ("bash", "git", "python3", "python3-pip", "ca-certificates", "curl")
PYTHON_PACKAGES = (*BASE_PACKAGES, "make", "mmdebstrap", "python3-venv")
"""What this project's own checks need of the distribution."""
DOCKER_PACKAGES = ("docker.io", "busybox-static")
SERVICE_PACKAGES = ("postgresql", "redis-server", "python3")
LEFT_OUT = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/info/*", "/usr/share/locale/*")
DEBOOTSTRAP_SECONDS = 900
BUILDER_UID = 1000
USERS = "root:x:0:0:root:/root:/bin/sh\nbuilder:x:1000:1000:builder:/srv:/bin/sh\n"
GROUPS = "root:x:0:\nbuilder:x:1000:\n"


async def build_debian(
    archive: Path,
    *,
    program: str,
    release: Release,
    sources: Sequence[AptSource],
    keyring: Path | None,
    packages: Sequence[str] = BASE_PACKAGES,
) -> None:
    """Write the root file system of an image with these packages to `archive` (the base image's:
    about 200 MB, half a minute).

    Raises: ImageError.
    """
    command = mmdebstrap_command(program, archive, release, sources, keyring, packages)
    try:
        await run_command(*command, timeout_seconds=DEBOOTSTRAP_SECONDS)
    except CommandFailedError as error:
        raise ImageError(
            f"The base image could not be put together: {error}",
            remedy="Check that the machine's package mirror answers and the disk has 1 GB free, "
            "then repeat.",
        ) from error


def mmdebstrap_command(
    program: str,
    archive: Path,
    release: Release,
    sources: Sequence[AptSource],
    keyring: Path | None,
    packages: Sequence[str] = BASE_PACKAGES,
) -> list[str]:
    """mmdebstrap's command line; documentation and translations are left out."""
    return [
        program,
        "--quiet",
        "--variant=apt",
        "--format=tar",
        f"--include={','.join(packages)}",
        *(f"--dpkgopt=path-exclude={pattern}" for pattern in LEFT_OUT),
        # The archive is what counts; the folder it is made in needn't survive a power cut.
        "--dpkgopt=force-unsafe-io",
        '--aptopt=Acquire::Languages "none"',
        *([f"--keyring={keyring}"] if keyring else []),
        release.codename,
        str(archive),
        *(source.line(None) for source in sources),
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class StaticPrograms:
    """The two programs the test image is made of, and busybox's names."""

    busybox: bytes
    bash: bytes
    applets: tuple[str, ...]


async def read_static_programs(folder: Path) -> StaticPrograms:
    """Read what Debian's busybox-static and bash-static were unpacked to."""
    busybox = _first_existing(folder, ("usr/bin/busybox", "bin/busybox"))
    bash = _first_existing(folder, ("usr/bin/bash-static", "bin/bash-static"))
    listing = await run_command(str(busybox), "--list", timeout_seconds=10)
    return StaticPrograms(
        busybox=busybox.read_bytes(), bash=bash.read_bytes(), applets=tuple(listing.split())
    )


def write_test_archive(archive: Path, programs: StaticPrograms, *, bash: bool = True) -> None:
    """Write the test image's root file system: a shell, coreutils, two users."""
    with tarfile.open(archive, "w") as tar:
        for folder, mode in (("usr", 0o755), ("usr/bin", 0o755), ("etc", 0o755), ("root", 0o700)):
            _add_folder(tar, folder, mode)
        _add_folder(tar, "tmp", 0o1777)
        _add_folder(tar, "srv", 0o755, owner=BUILDER_UID)
        for link in ("bin", "sbin", "usr/sbin"):
            _add_link(tar, link, "bin" if "/" in link else "usr/bin")
        _add_file(tar, "usr/bin/busybox", programs.busybox, 0o755)
        if bash:
            _add_file(tar, "usr/bin/bash", programs.bash, 0o755)
        for applet in programs.applets:
            if applet not in ("busybox", "bash"):
                _add_link(tar, f"usr/bin/{applet}", "busybox")
        _add_file(tar, "etc/passwd", USERS.encode(), 0o644)
        _add_file(tar, "etc/group", GROUPS.encode(), 0o644)


def _first_existing(folder: Path, names: Sequence[str]) -> Path:
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise ImageError(
        f"The package holds none of {', '.join(names)}.",
        remedy="This distribution's packages differ from Debian's: report it.",
    )


def _add_folder(tar: tarfile.TarFile, name: str, mode: int, owner: int = 0) -> None:
    entry = tarfile.TarInfo(name)
    entry.type, entry.mode, entry.uid, entry.gid = tarfile.DIRTYPE, mode, owner, owner
    tar.addfile(entry)


def _add_link(tar: tarfile.TarFile, name: str, target: str) -> None:
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname, entry.mode = tarfile.SYMTYPE, target, stat.S_IRWXU
    tar.addfile(entry)


def _add_file(tar: tarfile.TarFile, name: str, content: bytes, mode: int) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(content), mode
    tar.addfile(entry, io.BytesIO(content))
