"""Where the machine's private engine keeps its data, its runtime files and its programs."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from agent.engines.private.errors import UnsupportedMachineError

# sockaddr_un holds 108 bytes with its final NUL; containerd's socket is the longest path we make.
SOCKET_PATH_MAX_BYTES = 107
LONGEST_SOCKET = "exec/containerd/containerd.sock.ttrpc"

ROOT_DATA = Path("/var/lib/pushrod/engine")
ROOT_RUNTIME = Path("/run/pushrod/engine")


@dataclass(frozen=True, slots=True, kw_only=True)
class EnginePlaces:
    """The three folders of one engine.

    `data` survives reboots (images, caches, registry, logs); `runtime` holds the socket and
    the record of processes; `packages` holds the programs and may be shared by several engines.
    """

    data: Path
    runtime: Path
    packages: Path
    containerd_images: bool = False
    """Images in containerd's store, as Docker Engines newer than ours have them."""

    @property
    def socket(self) -> Path:
        return self.runtime / "docker.sock"

    @property
    def record(self) -> Path:
        """The file that names the engine's processes."""
        return self.runtime / "engine.json"

    @property
    def lock(self) -> Path:
        return self.runtime / "lock"

    @property
    def log(self) -> Path:
        return self.data / "log" / "engine.log"

    @property
    def docker_data(self) -> Path:
        return self.data / "docker"

    @property
    def registry_data(self) -> Path:
        return self.data / "registry"

    @property
    def images(self) -> Path:
        """Markers of images that were built, and room for their archives."""
        return self.data / "images"

    def require_short_paths(self) -> None:
        """Raise UnsupportedMachineError if a socket's path would not fit its address."""
        longest = self.runtime / LONGEST_SOCKET
        if len(os.fsencode(longest)) > SOCKET_PATH_MAX_BYTES:
            raise UnsupportedMachineError(
                f"The path of the engine's socket is too long: {longest}",
                remedy=f"Choose a PUSHROD_ENGINE_DIR so that it stays under "
                f"{SOCKET_PATH_MAX_BYTES} bytes.",
            )


def engine_places(environment: Mapping[str, str] | None = None) -> EnginePlaces:
    """The folders this user's engine has, from the environment (default: the process's own).

    PUSHROD_ENGINE_DIR moves everything into one folder; PUSHROD_ENGINE_PACKAGES moves the
    programs alone, so that a second engine needn't download them again.
    """
    variables = os.environ if environment is None else environment
    data, runtime = _folders(variables)
    packages = variables.get("PUSHROD_ENGINE_PACKAGES")
    return EnginePlaces(
        data=data,
        runtime=runtime,
        packages=Path(packages).absolute() if packages else data / "packages",
    )


def engine_places_of_root() -> EnginePlaces:
    """The folders of the machine's one engine, which other users may look at."""
    return EnginePlaces(data=ROOT_DATA, runtime=ROOT_RUNTIME, packages=ROOT_DATA / "packages")


def _folders(variables: Mapping[str, str]) -> tuple[Path, Path]:
    if chosen := variables.get("PUSHROD_ENGINE_DIR"):
        folder = Path(chosen).absolute()
        return folder, folder / "run"
    if os.geteuid() == 0:
        return ROOT_DATA, ROOT_RUNTIME
    home = Path(variables.get("HOME", "/")).absolute()
    data = Path(variables.get("XDG_DATA_HOME") or home / ".local/share")
    runtime = Path(variables.get("XDG_RUNTIME_DIR") or f"/run/user/{os.geteuid()}")
    return data / "pushrod/engine", runtime / "pushrod/engine"
