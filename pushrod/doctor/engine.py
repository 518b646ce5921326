"""The engine: one that runs, one of the system, or what a private one needs."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

from agent.engines.private import UnsupportedMachineError, engine_places, status
from agent.engines.private.apt import machine_release
from agent.engines.private.packages import find_root
from agent.engines.private.places import EnginePlaces
from agent.engines.private.record import EngineStatus
from pushrod.doctor.finding import Finding, fail, ok, warn
from pushrod.doctor.machine import judge_space
from pushrod.errors import describe_connection_error

ANSWER_SECONDS = 1.0
"""Of an engine that lives; a slower one is told as such."""
UNSHARE_SECONDS = 1.0
UP = "pushrod engine up"


async def check_engine(chosen: str) -> list[Finding]:
    """`chosen` is as `--engine` has it: auto, buildkit, host, an address; none looks at none."""
    if chosen == "none":
        return []
    if chosen == "host":
        return [_check_bash()]
    if "://" in chosen:
        return [await asyncio.to_thread(check_address, chosen)]
    if chosen not in ("auto", "buildkit"):
        return [fail("engine", f"there is no engine {chosen!r}", "pushrod doctor --engine auto")]
    refused: list[str] = []
    found = await status(answer_seconds=ANSWER_SECONDS, say=refused.append)
    notes = [
        warn("system docker", reason, "apt-get remove docker.io, or leave it: it is not used")
        for reason in refused
    ]
    return notes + _judge(found)


def _judge(found: EngineStatus) -> list[Finding]:
    if found.address is not None:
        address = found.address
        return [
            ok("engine", f"{address.kind.value} engine {address.version} at {address.url}"),
            _check_images_space(found.data),
        ]
    if found.problem is not None:
        return [fail("engine", f"the private engine is broken: {found.problem}", UP)]
    return check_private_engine(engine_places())


def check_private_engine(places: EnginePlaces) -> list[Finding]:
    """Whether a private engine could be brought up here."""
    if os.geteuid() != 0:
        return [
            fail(
                "engine",
                "none runs, and only root can bring the private one up",
                f"sudo {UP}",
            )
        ]
    needs = [
        _check_programs(places),
        _check_namespaces(),
        _check_network_device(),
        _check_cgroups(),
        _check_images_space(places.data),
    ]
    return [warn("engine", "none runs yet: `pushrod up` brings the private one up", UP), *needs]


def _check_programs(places: EnginePlaces) -> Finding:
    name = "engine programs"
    if find_root(places.packages):
        return ok(name, f"unpacked in {places.packages}")
    try:
        release = machine_release()
    except UnsupportedMachineError as error:
        return fail(name, error.what, error.remedy)
    return ok(name, f"will be fetched from the mirror of {release.id} {release.codename}")


def _check_namespaces() -> Finding:
    name = "namespaces"
    if shutil.which("unshare") is None:
        return fail(name, "the program unshare is missing", "apt-get install util-linux")
    try:
        subprocess.run(
            ["unshare", "--net", "--mount", "--pid", "--fork", "--mount-proc", "true"],
            capture_output=True,
            timeout=UNSHARE_SECONDS,
            check=True,
        )
    except (OSError, subprocess.SubprocessError) as error:
        said = getattr(error, "stderr", b"") or str(error).encode()
        reason = " ".join(said.decode(errors="replace").split())
        return fail(
            name,
            f"the kernel refuses them: {reason}",
            "run pushrod on a machine of its own, or in a container started with --privileged",
        )
    return ok(name, "network, mount and process namespaces can be made")


def _check_network_device() -> Finding:
    """slirp4netns, the engine's way out, needs a tap device."""
    device = Path("/dev/net/tun")
    if device.is_char_device():
        return ok("network device", f"{device} is there, for slirp4netns")
    return fail("network device", f"{device} is missing: slirp4netns needs it", "modprobe tun")


def _check_cgroups() -> Finding:
    root = Path("/sys/fs/cgroup")
    version = 2 if (root / "cgroup.controllers").exists() else 1
    if version == 1 and not (root / "memory").is_dir():
        return fail("cgroups", "none are mounted", "mount -t cgroup2 none /sys/fs/cgroup")
    if not os.access(root, os.W_OK) or _is_read_only(root):
        return fail("cgroups", f"{root} is read-only", f"mount -o remount,rw {root}")
    return ok("cgroups", f"version {version}, writable")


def _is_read_only(folder: Path) -> bool:
    return bool(os.statvfs(folder).f_flag & os.ST_RDONLY)


def _check_images_space(folder: Path) -> Finding:
    place = next(place for place in (folder, *folder.parents) if place.exists())
    return judge_space("engine disk", folder, shutil.disk_usage(place).free)


def _check_bash() -> Finding:
    if bash := shutil.which("bash"):
        return warn(
            "engine", f"host: steps run by {bash} as plain processes, isolated from nothing"
        )
    return fail("engine", "host: bash is not installed", "apt-get install bash")


def check_address(address: str) -> Finding:
    """Whether something listens at an engine's address."""
    parts = urlsplit(address)
    try:
        if parts.scheme == "unix":
            with socket.socket(socket.AF_UNIX) as probe:
                probe.settimeout(ANSWER_SECONDS)
                probe.connect(parts.path)
        elif parts.scheme == "tcp" and parts.hostname and parts.port:
            socket.create_connection((parts.hostname, parts.port), ANSWER_SECONDS).close()
        else:
            return fail("engine", f"{address} is no address", "pushrod doctor --engine auto")
    except (OSError, ValueError) as error:
        # `pushrod engine up` would bring up another one, elsewhere.
        remedy = "start the engine that listens there, or see: pushrod doctor --engine auto"
        reason = describe_connection_error(error)
        return fail("engine", f"nothing answers at {address}: {reason}", remedy)
    return ok("engine", f"something listens at {address}")
