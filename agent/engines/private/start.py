"""Starting and ending the private engine's processes.

    up ─┬─ unshare (holder) ── sh holder.sh (PID 1 inside) ─┬─ dockerd ── containerd
        │                                                   └─ docker-registry
        └─ slirp4netns (the namespace's way out)

The holder has network, mount and process namespaces of its own. Its own *network*: two dockerds
in one network namespace damage each other's bridges and rules. Its own *processes*: when PID 1
inside ends, the kernel ends all that is inside, so whichever part is killed, none outlives the
others, and nothing has to be hunted by name. Its own *mounts*: what the daemon mounted goes with
it. slirp4netns ends by itself when the holder is gone (a pipe's last writer).
"""

from __future__ import annotations

import asyncio
import json
import os
import select
import shutil
import signal
from collections import deque
from dataclasses import replace
from pathlib import Path

from agent.engines.private.commands import CommandFailedError, run_command
from agent.engines.private.errors import EngineStartError, UnsupportedMachineError
from agent.engines.private.packages import EngineRoot
from agent.engines.private.places import EnginePlaces
from agent.engines.private.probe import answers_ping, ask_version, refuses_registry
from agent.engines.private.processes import (
    ProcessIdentity,
    children_of,
    command_name,
    identify,
    is_alive,
    send_signal,
    spawn_detached,
    wait_until_gone,
)
from agent.engines.private.record import EngineRecord, read_record, write_record
from agent.engines.registry_tokens import REGISTRY, authorization_settings, make_keys, share_keys

# Raised when what runs is to be started anew with what is set up here. Kept where every version
# writes it anew, so that it is never that of another start.
SETUP = 1
SETUP_LABEL = "pushrod.setup="
START_SECONDS = 60
NETWORK_SECONDS = 10
STOP_SECONDS = 15
POLL_SECONDS = 0.03
LOG_TAIL_LINES = 25
# BuildKit's own rules drop cache mounts unused for two days; a CI's are its point.
CACHE_KEPT = "30GB"
# slirp4netns's address for the host's resolver.
RESOLVER = "10.0.2.3"
INHERITED_VARIABLES = (
    *("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR"),
)


async def start(places: EnginePlaces, root: EngineRoot) -> EngineRecord:
    """Start all parts and wait until they answer; on failure nothing is left running.

    Raises: EngineStartError with the log's tail.
    """
    _prepare_folders(places)
    record = _start_holder(places, root)
    try:
        async with asyncio.timeout(START_SECONDS):
            record = await _bring_up(places, root, record)
    except TimeoutError as error:
        raise _start_error(places, f"It did not answer within {START_SECONDS} s.") from error
    finally:
        if record.daemon is None:
            # The file knows more than we do: it was written after each part that was started.
            await stop(places, read_record(places.record) or record)
    return record


async def _bring_up(places: EnginePlaces, root: EngineRoot, record: EngineRecord) -> EngineRecord:
    init = await _find_child(places, record.holder, "")
    record = replace(record, init=init)
    write_record(places.record, record)
    record = await connect_network(places, root, record)
    (places.runtime / "network-ready").touch()
    await _wait_for_answers(places, init)
    share_keys(places.runtime, places.socket)
    daemon = await _find_child(places, init, "dockerd")
    version = await asyncio.to_thread(ask_version, places.socket, timeout_seconds=10)
    record = replace(record, daemon=daemon, version=version.version if version else "")
    write_record(places.record, record)
    return record


def _prepare_folders(places: EnginePlaces) -> None:
    """Fresh runtime files, lasting data folders, the last run's log kept once."""
    for folder in (places.docker_data, places.registry_data, places.log.parent, places.runtime):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    places.runtime.chmod(0o711)
    for name in ("network-ready", "alive", "docker.sock", "docker.pid"):
        (places.runtime / name).unlink(missing_ok=True)
    shutil.rmtree(places.runtime / "exec", ignore_errors=True)
    if places.log.exists():
        os.replace(places.log, places.log.with_suffix(".log.1"))
    os.mkfifo(places.runtime / "alive", 0o600)
    (places.runtime / "resolv.conf").write_text(resolver_text(_host_resolver()))
    for script in ("holder.sh", "link_local.sh"):
        # A copy, since sh reads a script as it goes, and an upgrade may replace ours.
        shutil.copyfile(Path(__file__).with_name(script), places.runtime / script)
    make_keys(places.runtime)
    _write_json(places.runtime / "daemon.json", daemon_settings(places))
    _write_json(places.runtime / "registry.json", registry_settings(places))


def _write_json(path: Path, settings: object) -> None:
    path.write_text(json.dumps(settings, indent=1))


def is_outdated(places: EnginePlaces) -> bool:
    """Whether the engine that runs was started by a version before, which set it up otherwise."""
    try:
        labels = json.loads(_read(places.runtime / "daemon.json")).get("labels", [])
    except ValueError:
        labels = []
    found = [label.removeprefix(SETUP_LABEL) for label in labels if label.startswith(SETUP_LABEL)]
    return int(found[0] if found else 0) < SETUP


def daemon_settings(places: EnginePlaces) -> dict[str, object]:
    """dockerd's configuration; a file of our own keeps the system's from being read."""
    policy = [{"keepStorage": CACHE_KEPT, "all": True}]
    return {
        "builder": {
            "gc": {"enabled": True, "policy": policy},
            # Who may ask for it is decided by agents: nobody else but root reaches the engine.
            "entitlements": {"security-insecure": True},
        },
        "shutdown-timeout": 10,
        "labels": [f"{SETUP_LABEL}{SETUP}"],
        **({"features": {"containerd-snapshotter": True}} if places.containerd_images else {}),
    }


def registry_settings(places: EnginePlaces) -> dict[str, object]:
    """docker-registry's configuration (it reads YAML, so JSON too)."""
    return {
        "version": 0.1,
        "log": {"level": "warn", "accesslog": {"disabled": True}},
        "storage": {
            "filesystem": {"rootdirectory": str(places.registry_data)},
            "delete": {"enabled": True},
        },
        "http": {"addr": REGISTRY},
        "auth": authorization_settings(places.runtime),
    }


def resolver_text(host: str) -> str:
    """The namespace's resolv.conf: slirp4netns as the only server, the host's search domains."""
    kept = [line for line in host.splitlines() if line.split()[:1] in (["search"], ["options"])]
    return "\n".join([f"nameserver {RESOLVER}", *kept]) + "\n"


def _host_resolver() -> str:
    return _read(Path("/etc/resolv.conf"))


def _read(path: Path) -> str:
    """Empty if there is none."""
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def _start_holder(places: EnginePlaces, root: EngineRoot) -> EngineRecord:
    unshare = shutil.which("unshare")
    if unshare is None:
        raise UnsupportedMachineError(
            "The program unshare is missing.", remedy="Install it: apt-get install util-linux"
        )
    namespaces = ["--net", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child=SIGKILL"]
    script = [
        *("--propagation", "private"),
        *("sh", str(places.runtime / "holder.sh"), *daemon_arguments(places)),
    ]
    pid = spawn_detached(
        [unshare, *namespaces, *script],
        environment=_environment(places, root),
        output=places.log,
    )
    holder = identify(pid)
    if holder is None:
        raise _start_error(places, "Its namespaces could not be made.")
    record = EngineRecord(holder=holder, packages=str(root.folder))
    write_record(places.record, record)
    return record


def daemon_arguments(places: EnginePlaces) -> list[str]:
    """dockerd's arguments: nothing of a system's engine is read, written or shared."""
    return [
        *("--config-file", str(places.runtime / "daemon.json")),
        *("--data-root", str(places.docker_data)),
        *("--exec-root", str(places.runtime / "exec")),
        *("--host", f"unix://{places.socket}"),
        *("--pidfile", str(places.runtime / "docker.pid")),
        # systemd isn't reachable from inside (see DBUS below), on cgroup v2 either.
        *("--exec-opt", "native.cgroupdriver=cgroupfs"),
    ]


def _environment(places: EnginePlaces, root: EngineRoot) -> dict[str, str]:
    inherited = {name: os.environ[name] for name in INHERITED_VARIABLES if name in os.environ}
    return {
        **inherited,
        **root.environment(),
        "HOME": "/root",
        "LANG": "C.UTF-8",
        "ENGINE_RUN": str(places.runtime),
        "ENGINE_ROOT": str(root.folder),
        "REGISTRY_CONFIG": str(places.runtime / "registry.json"),
        # Else dockerd would find the *host's* firewalld there and change the host's rules.
        "DBUS_SYSTEM_BUS_ADDRESS": "unix:path=/nonexistent",
        # A step's log is never clipped (the default: 2 MiB, 200 KiB/s).
        "BUILDKIT_STEP_LOG_MAX_SIZE": "-1",
        "BUILDKIT_STEP_LOG_MAX_SPEED": "-1",
    }


async def connect_network(
    places: EnginePlaces, root: EngineRoot, record: EngineRecord
) -> EngineRecord:
    """Start slirp4netns on the holder's namespace (also again, after it died), and record it.

    Raises: EngineStartError.
    """
    # Non-blocking, since the holder may not have opened its end yet.
    alive = os.open(places.runtime / "alive", os.O_RDONLY | os.O_NONBLOCK)
    ready, ready_child = os.pipe()
    try:
        pid = spawn_detached(
            _network_command(record.holder, root),
            environment=root.environment(),
            output=places.log,
            pass_descriptors={8: ready_child, 9: alive},
        )
        os.close(ready_child)
        ready_child = -1
        network = identify(pid)
        if network is None or not await asyncio.to_thread(_wait_ready, ready):
            raise _start_error(places, "slirp4netns could not connect its network.")
    finally:
        for descriptor in (alive, ready, ready_child):
            if descriptor >= 0:
                os.close(descriptor)
    record = replace(record, network=network)
    write_record(places.record, record)
    return record


def _network_command(holder: ProcessIdentity, root: EngineRoot) -> list[str]:
    program = root.program("slirp4netns")
    return [
        *(str(program), "--configure", "--mtu=65520"),
        # Steps must not reach what listens on the host's loopback.
        "--disable-host-loopback",
        *("--ready-fd=8", "--exit-fd=9", str(holder.pid), "tap0"),
    ]


def _wait_ready(descriptor: int) -> bool:
    readable, _, _ = select.select([descriptor], [], [], NETWORK_SECONDS)
    return bool(readable) and os.read(descriptor, 1) == b"1"


async def _find_child(places: EnginePlaces, parent: ProcessIdentity, name: str) -> ProcessIdentity:
    """The parent's child of that command name (any, if empty), once it is there."""
    while is_alive(parent):
        for pid in children_of(parent.pid):
            child = identify(pid)
            if child is not None and name in ("", command_name(pid)):
                return child
        await asyncio.sleep(POLL_SECONDS)
    raise _start_error(places, "It ended while it was starting.")


async def _wait_for_answers(places: EnginePlaces, init: ProcessIdentity) -> None:
    while not await asyncio.to_thread(_all_answer, places):
        if not is_alive(init):
            raise _start_error(places, "It ended while it was starting.")
        await asyncio.sleep(POLL_SECONDS)


def _all_answer(places: EnginePlaces) -> bool:
    return answers_ping(places.socket, timeout_seconds=5) and not refuses_registry(
        places.socket, REGISTRY, timeout_seconds=10
    )


async def stop(places: EnginePlaces, record: EngineRecord) -> None:
    """End exactly the recorded processes, the daemon gracefully first; remove what they left."""
    if record.init is not None and record.daemon is not None:
        send_signal(record.init, signal.SIGTERM)
        await wait_until_gone(record.init, timeout_seconds=STOP_SECONDS)
    for process in (record.init, record.holder, record.network):
        if process is not None:
            send_signal(process, signal.SIGKILL)
            await wait_until_gone(process, timeout_seconds=STOP_SECONDS)
    await _unmount_leftovers(places)
    for path in (places.socket, places.runtime / "alive", places.record):
        path.unlink(missing_ok=True)


async def _unmount_leftovers(places: EnginePlaces) -> None:
    """Mounts die with their namespace; this is for what another version or a hand left."""
    table = await asyncio.to_thread(Path("/proc/self/mountinfo").read_text, errors="replace")
    folders = (places.docker_data, places.runtime / "exec")
    for mount in reversed(mounts_below(table, folders)):
        try:
            await run_command("umount", "--lazy", mount, timeout_seconds=10)
        except CommandFailedError as error:
            raise EngineStartError(
                f"{mount} is still mounted: {error}", remedy=f"Unmount it: umount -l {mount}"
            ) from error


def mounts_below(mountinfo: str, folders: tuple[Path, ...]) -> list[str]:
    """The mount points inside the folders, in the table's order (outer before inner)."""
    points = (line.split()[4].replace("\\040", " ") for line in mountinfo.splitlines())
    return [point for point in points if any(Path(point).is_relative_to(f) for f in folders)]


def _start_error(places: EnginePlaces, what: str) -> EngineStartError:
    return EngineStartError(
        f"The private engine did not come up. {what} The end of its log, {places.log}:\n"
        f"{log_tail(places.log)}",
        remedy="Mend what the log names, then repeat `pushrod engine up`. If its programs are "
        f"damaged, remove {places.packages} first: they are fetched again.",
    )


def log_tail(path: Path) -> str:
    """The log's last lines; empty if there is none."""
    try:
        with path.open(errors="replace") as lines:
            return "".join(deque(lines, maxlen=LOG_TAIL_LINES))
    except OSError:
        return ""
