"""The engine's programs: fetched once from the distribution, unpacked into a folder of their own.

Nothing of the system changes. dockerd must be Engine 26 or newer (BuildKit 0.13); where the
release's own is older (Debian 12), it comes from Debian 13, which runs on Debian 12's libraries;
containerd and runc stay the release's own, since newer ones need a newer glibc.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from agent.engines.private.apt import (
    Apt,
    Release,
    archive_keyring,
    machine_release,
    machine_sources,
    other_suite,
)
from agent.engines.private.commands import CommandFailedError, run_command
from agent.engines.private.errors import PackagesUnavailableError, UnsupportedMachineError
from agent.engines.private.locks import locked

Say = Callable[[str], None]

OLDEST_ENGINE = 26
PARTS = [
    *("containerd", "runc", "slirp4netns", "docker-registry", "iptables", "mount"),
    # Often on the machine already; ours, lest their removal there stops the engine here.
    *("libslirp0", "libseccomp2", "libxtables12", "libmnl0", "libnftnl11", "libip4tc2"),
    "libip6tc2",
]
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# Raised whenever what is unpacked changes: an older root is then left aside.
ROOT_NAME = "root-1"
STAMP_NAME = "complete.json"
PROGRAMS = ("dockerd", "containerd", "runc", "slirp4netns", "docker-registry")
NEWER_SUITES = {"bookworm": "trixie"}
UNPACK_SECONDS = 120
LOCK_SECONDS = 1800


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineRoot:
    """The folder the programs were unpacked into."""

    folder: Path

    def environment(self) -> dict[str, str]:
        """The variables under which these programs find each other, their libraries and modules."""
        libraries = [
            folder
            for place in ("usr/lib", "lib")
            for folder in (*sorted((self.folder / place).glob("*-linux-gnu*")), self.folder / place)
            if folder.is_dir()
        ]
        modules = sorted((self.folder / "usr/lib").glob("*-linux-gnu*/xtables"))
        programs = [self.folder / place for place in ("usr/sbin", "usr/bin", "sbin", "bin")]
        return {
            "PATH": ":".join([*map(str, programs), SYSTEM_PATH]),
            "LD_LIBRARY_PATH": ":".join(map(str, libraries)),
            "XTABLES_LIBDIR": ":".join(map(str, modules)),
        }

    def program(self, name: str) -> Path | None:
        """Where a program stands, if it is here."""
        return next((path for path in self._candidates(name) if path.exists()), None)

    def is_complete(self) -> bool:
        """Whether it was unpacked to its end and nothing was removed since."""
        stamp = self.folder / STAMP_NAME
        return stamp.exists() and all(self.program(name) for name in PROGRAMS)

    def _candidates(self, name: str) -> list[Path]:
        return [self.folder / place / name for place in ("usr/sbin", "usr/bin", "sbin", "bin")]


def find_root(packages: Path) -> EngineRoot | None:
    """The programs if they are here and whole; costs a few stat calls."""
    root = EngineRoot(folder=packages / ROOT_NAME)
    return root if root.is_complete() else None


async def ensure_root(packages: Path, say: Say) -> EngineRoot:
    """The engine's programs, fetched if they aren't here yet.

    Raises: UnsupportedMachineError, PackagesUnavailableError, EngineBusyError.
    """
    if root := find_root(packages):
        return root
    async with locked(packages / "lock", timeout_seconds=LOCK_SECONDS, say=say):
        return find_root(packages) or await _build_root(packages, say)


async def ensure_installed(program: str, package: str, packages: Path, say: Say) -> str:
    """The path of a program that must be installed properly; installs it as root, saying so.

    Raises: UnsupportedMachineError when not root, PackagesUnavailableError.
    """
    if path := shutil.which(program):
        return path
    if os.geteuid() != 0:
        raise UnsupportedMachineError(
            f"{program} is missing and only root can install it.",
            remedy=f"As root: apt-get install {package}",
        )
    async with locked(packages / "lock", timeout_seconds=LOCK_SECONDS, say=say):
        say(f"installing the package {package} (apt-get install)")
        with tempfile.TemporaryDirectory(prefix=".apt-", dir=packages) as scratch:
            apt = await _own_apt(Path(scratch), machine_release())
            await apt.install([package])
    path = shutil.which(program)
    if path is None:
        raise PackagesUnavailableError(
            f"The package {package} was installed but holds no {program}.",
            remedy=f"Install {program} yourself, then repeat.",
        )
    return path


async def fetch_package_files(names: list[str], folder: Path, say: Say) -> None:
    """Unpack the release's packages into `folder`, with nothing they depend on."""
    say(f"fetching {', '.join(names)}")
    with tempfile.TemporaryDirectory(prefix=".apt-", dir=folder.parent) as scratch:
        apt = await _own_apt(Path(scratch), machine_release())
        archives = await apt.download(names, Path(scratch) / "debs")
        await _unpack(archives, folder)


async def _build_root(packages: Path, say: Say) -> EngineRoot:
    """Build the root beside its place and rename it there: a half root is never believed."""
    final = packages / ROOT_NAME
    await asyncio.to_thread(_remove_leftovers, packages)
    scratch = Path(tempfile.mkdtemp(prefix=".unpack-", dir=packages))
    try:
        root = EngineRoot(folder=scratch / "root")
        versions = await _fetch_parts(scratch, root.folder, say)
        _link_iptables(root.folder)
        await _verify(root)
        _write_stamp(root.folder, versions)
        root.folder.chmod(0o755)
        root.folder.rename(final)
    finally:
        await asyncio.to_thread(shutil.rmtree, scratch, ignore_errors=True)
    return EngineRoot(folder=final)


def _remove_leftovers(packages: Path) -> None:
    """What a killed predecessor left (we hold the lock, so nobody is at work there)."""
    for leftover in (*packages.glob(".unpack-*"), *packages.glob(".apt-*"), packages / ROOT_NAME):
        shutil.rmtree(leftover, ignore_errors=True)


async def _fetch_parts(scratch: Path, folder: Path, say: Say) -> list[str]:
    """Download and unpack everything; the names of the package files, which carry versions."""
    release = machine_release()
    own = await _own_apt(scratch / "own", release)
    daemon = await _daemon_apt(own, release, scratch / "newer")
    say(f"fetching the engine's programs from {own.sources[0].uri}")
    names = PARTS + await own.missing_dependencies(PARTS)
    archives = await own.download(names, scratch / "debs")
    archives += await daemon.download(["docker.io"], scratch / "daemon")
    await _unpack(archives, folder)
    return [archive.name for archive in archives]


async def _own_apt(folder: Path, release: Release) -> Apt:
    sources = await machine_sources(release)
    apt = Apt(
        folder=folder,
        sources=tuple(sources),
        keyring=archive_keyring(release),
        status=Path("/var/lib/dpkg/status"),
    )
    await apt.update()
    return apt


async def _daemon_apt(own: Apt, release: Release, folder: Path) -> Apt:
    """The archive whose docker.io is new enough: the release's own, else a newer release's."""
    version = await own.candidate("docker.io")
    if version and major_version(version) >= OLDEST_ENGINE:
        return own
    newer = NEWER_SUITES.get(release.codename)
    if newer is None:
        raise UnsupportedMachineError(
            f"{release.id} {release.codename} has docker.io {version}; pushrod needs "
            f"{OLDEST_ENGINE} or newer (BuildKit 0.13).",
            remedy="Install and start a newer Docker yourself: pushrod uses it when it finds it.",
        )
    apt = Apt(
        folder=folder,
        sources=tuple(other_suite(list(own.sources), newer)),
        keyring=own.keyring,
        status=Path("/dev/null"),
    )
    await apt.update()
    return apt


def major_version(version: str) -> int:
    """26 of `26.1.5+dfsg1-9`, also behind an epoch; 0 of what isn't a version."""
    number = version.rpartition(":")[2].partition(".")[0]
    return int(number) if number.isdigit() else 0


async def _unpack(archives: list[Path], folder: Path) -> None:
    await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
    for archive in archives:
        try:
            await run_command(
                "dpkg", "-x", str(archive), str(folder), timeout_seconds=UNPACK_SECONDS
            )
        except CommandFailedError as error:
            raise PackagesUnavailableError(
                f"{archive.name} could not be unpacked: {error}",
                remedy="Check the free space of the disk, then repeat.",
            ) from error


def _link_iptables(folder: Path) -> None:
    """Name both flavours `iptables`, which on an installed system Debian's alternatives do."""
    flavours = {"iptables-nft": "xtables-nft-multi", "iptables-legacy": "xtables-legacy-multi"}
    for flavour, program in flavours.items():
        (folder / flavour).mkdir(exist_ok=True)
        for name in ("iptables", "ip6tables"):
            (folder / flavour / name).symlink_to(f"../usr/sbin/{program}")


async def _verify(root: EngineRoot) -> None:
    """Run each program once: a wrong libc or a missing library shows here, not in a step."""
    for name in PROGRAMS:
        program = root.program(name)
        try:
            await run_command(
                str(program or name),
                "--version",
                timeout_seconds=30,
                environment=root.environment(),
            )
        except CommandFailedError as error:
            raise PackagesUnavailableError(
                f"The unpacked {name} doesn't run on this machine: {error}",
                remedy="Install and start Docker 26 or newer: pushrod uses it when it finds it.",
            ) from error


def _write_stamp(folder: Path, archives: list[str]) -> None:
    with (folder / STAMP_NAME).open("w") as stamp:
        json.dump({"archives": archives}, stamp, indent=1)
        stamp.flush()
        os.fsync(stamp.fileno())
