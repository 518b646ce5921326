"""The units under a systemd that is really booted: as process 1 of namespaces of its own.

Its root is this machine's with a tmpfs laid over it, so nothing has to be downloaded and nothing
stays. Of the guide's install only the place of the program differs: a script that starts this
checkout stands at /opt/pushrod/bin/pushrod.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import site
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import TestEngine
from tests.e2e.processes import Api, Repository
from tests.ports import free_port

ROOT = Path(__file__).parents[3]
SYSTEMD = Path("/lib/systemd/systemd")
BOOT = Path(__file__).with_name("boot_systemd.sh")
NAMESPACES = ["--mount", "--pid", "--fork", "--cgroup", "--uts", "--ipc", "--kill-child"]
PATIENCE_SECONDS = 60.0
PROBE = """\
mount --make-rprivate /
mount -t tmpfs scratch "$0"
mkdir "$0/upper" "$0/work" "$0/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$0/upper,workdir=$0/work" "$0/root"
mount -t proc proc "$0/root/proc"
mount -t sysfs -o ro sysfs "$0/root/sys"
mount -t cgroup2 cgroup2 "$0/root/sys/fs/cgroup"
"""
"""What booting needs of the kernel and of who runs the tests."""
PROGRAM = f"""\
#!/bin/sh
export LD_LIBRARY_PATH=/opt/pushrod/python/lib PYTHONDONTWRITEBYTECODE=1
export PYTHONPATH=/opt/pushrod/source:/opt/pushrod/source/pipelines-schema:/opt/pushrod/packages
exec /opt/pushrod/python/bin/python{sys.version_info.major}.{sys.version_info.minor} \\
    -m pushrod "$@"
"""
TARGET = """\
[Unit]
Description=what the test boots
Requires=basic.target
Wants=pushrod-coordinator.service
"""
# What would touch the machine's own kernel and devices, or wait for what is not there.
MASKED = [
    "systemd-sysctl.service",
    "systemd-udevd.service",
    "systemd-udev-trigger.service",
    "systemd-binfmt.service",
    "systemd-modules-load.service",
    "systemd-random-seed.service",
    "systemd-firstboot.service",
    "systemd-repart.service",
    "systemd-update-utmp.service",
    "systemd-pcrphase.service",
    "systemd-pcrphase-sysinit.service",
    "systemd-tmpfiles-setup-dev.service",
    "kmod-static-nodes.service",
    "systemd-journal-flush.service",
    "dev-hugepages.mount",
    "dev-mqueue.mount",
    "sys-fs-fuse-connections.mount",
    "sys-kernel-config.mount",
    "sys-kernel-debug.mount",
    "sys-kernel-tracing.mount",
    "network-online.target",
    "proc-sys-fs-binfmt_misc.automount",
    "timers.target",
    "cryptsetup.target",
    "integritysetup.target",
    "veritysetup.target",
]


def reason_not_to_boot() -> str | None:
    if os.geteuid() != 0:
        return "needs root"
    if not SYSTEMD.exists():
        return "no systemd: apt-get install systemd"
    if control_groups() is None:
        return "no control groups of version 2 here"
    with tempfile.TemporaryDirectory() as scratch:
        command = ["unshare", *NAMESPACES, "sh", "-ec", PROBE, scratch]
        tried = subprocess.run(command, capture_output=True, text=True, check=False)
    return f"can't be done here: {tried.stderr.strip()}" if tried.returncode else None


def control_groups() -> Path | None:
    """Our own control group, where it may have children."""
    for line in Path("/proc/mounts").read_text().splitlines():
        _, place, kind, options, *_ = line.split()
        if kind == "cgroup2" and "rw" in options.split(","):
            lines = Path("/proc/self/cgroup").read_text().splitlines()
            own = next(text for text in lines if text.startswith("0::")).removeprefix("0::")
            return Path(place, own.lstrip("/"))
    return None


@dataclass(frozen=True, slots=True)
class Machine:
    """The booted systemd, by its process id out here."""

    pid: int
    api_url: str

    def run(self, *command: str, check: bool = True) -> str:
        inside = ["nsenter", "--target", str(self.pid), "--mount", "--pid", "--cgroup"]
        ran = subprocess.run(
            [*inside, *command], capture_output=True, text=True, timeout=PATIENCE_SECONDS
        )
        assert not check or ran.returncode == 0, f"{command}: {ran.stderr}\n{self.journal()}"
        return ran.stdout

    def systemctl(self, *arguments: str) -> str:
        return self.run("systemctl", "--no-pager", *arguments)

    def show(self, unit: str, name: str) -> str:
        return self.systemctl("show", unit, f"--property={name}", "--value").strip()

    def journal(self) -> str:
        return self.run("journalctl", "--no-pager", "--lines=80", check=False)

    def wait_until(self, unit: str, name: str, wanted: str) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while (found := self.show(unit, name)) != wanted:
            assert time.monotonic() < deadline, f"{unit} {name}: {found}\n{self.journal()}"
            time.sleep(0.1)

    @property
    def api(self) -> Api:
        data = "/var/lib/pushrod/coordinator"
        return Api(self.api_url, self.run("cat", f"{data}/admin-token").strip())


@pytest.fixture(scope="module")
def sockets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shown to the machine as /run/test."""
    folder = tmp_path_factory.mktemp("sockets")
    folder.chmod(0o755)
    return folder


@pytest.fixture(scope="module")
def machine(sockets: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    if reason := reason_not_to_boot():
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("boot")
    port = free_port()
    lay_out(folder / "files", port)
    with control_group() as group, (folder / "boot.log").open("wb") as log:
        booted = boot(folder, sockets, group, log.fileno())
        try:
            yield until_up(booted, folder, f"http://127.0.0.1:{port}")
        finally:
            booted.kill()  # and with it, by --kill-child, the whole machine
            booted.wait()


def lay_out(files: Path, port: int) -> None:
    """What an administrator installs by docs/systemd.md, and masks for what a test must not do."""
    units, etc = files / "etc/systemd/system", files / "etc/pushrod"
    for folder in (units, etc, files / "etc/sysusers.d", files / "opt/pushrod/bin"):
        folder.mkdir(parents=True)
    for unit in (ROOT / "systemd").glob("*.service"):
        shutil.copy(unit, units)
    shutil.copy(ROOT / "systemd/pushrod.sysusers.conf", files / "etc/sysusers.d/pushrod.conf")
    (etc / "coordinator.toml").write_text(f'listen = "127.0.0.1:{port}"\n')
    (etc / "agent.env").write_text(
        f"PUSHROD_URL=http://127.0.0.1:{port}\nPUSHROD_AGENT_ENGINE=unix:///run/test/engine.sock\n"
    )
    program = files / "opt/pushrod/bin/pushrod"
    program.write_text(PROGRAM)
    program.chmod(0o755)
    (units / "pushrod-test.target").write_text(TARGET)
    for name in (*MASKED, "pushrod-engine.service"):
        (units / name).unlink(missing_ok=True)
        (units / name).symlink_to("/dev/null")


@contextlib.contextmanager
def control_group() -> Iterator[Path]:
    own = control_groups()
    assert own is not None
    group = own / f"pushrod-boot-{os.getpid()}"
    group.mkdir()
    try:
        yield group
    finally:
        remove_group(group)


def remove_group(group: Path) -> None:
    """Once the last of its processes is gone, which takes the kernel a moment."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    below = [Path(folder) for folder, _, _ in os.walk(group, topdown=False)]
    while below and time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            below[0].rmdir()
        below = [folder for folder in below if folder.exists()]


def boot(folder: Path, sockets: Path, group: Path, log: int) -> subprocess.Popen[bytes]:
    scratch = folder / "scratch"
    scratch.mkdir()
    packages = site.getsitepackages()[0]
    places = [scratch, folder / "files", ROOT, sys.base_prefix, packages, sockets]
    enter = 'echo $$ > "$0/cgroup.procs" && exec unshare "$@"'
    command = [*NAMESPACES, "bash", str(BOOT), *map(str, places)]
    return subprocess.Popen(
        ["sh", "-c", enter, str(group), *command],
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
    )


def until_up(booted: subprocess.Popen[bytes], folder: Path, url: str) -> Machine:
    """Once the coordinator's unit is active, that is: has said that it is ready."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    children = Path(f"/proc/{booted.pid}/task/{booted.pid}/children")
    while time.monotonic() < deadline and booted.poll() is None:
        first = children.read_text().split()
        if first and Path("/proc", first[0], "comm").read_text().strip() == "systemd":
            machine = Machine(int(first[0]), url)
            state = machine.run("systemctl", "is-active", "pushrod-coordinator", check=False)
            if state.strip() == "active":
                return machine
        time.sleep(0.1)
    raise AssertionError(f"it did not come up: {(folder / 'boot.log').read_text()}")


WORKFLOW = "name: ci\nsteps: [{name: test, image: %s, run: 'cat greeting'}]\n"


def push(machine: Machine, folder: Path, name: str, image: str) -> dict[str, object]:
    project = machine.api.post("/api/projects", {"accountId": "default", "name": name})
    repository = Repository.create(folder / name)
    repository.write(".pushrod.yml", WORKFLOW % image)
    repository.write("greeting", "hello from a unit\n")
    repository.commit("first")
    pushed = repository.push(project["pushUrl"], machine.api.token)
    assert pushed.returncode == 0, pushed.stderr + machine.journal()
    build: dict[str, object] = machine.api.builds(project["id"])[0]
    return build


def test_the_coordinators_unit_serves_a_push_as_its_own_user_and_comes_back_from_a_kill(
    machine: Machine, tmp_path: Path
) -> None:
    unit = "pushrod-coordinator"
    assert machine.show(unit, "StatusText") == f"ready {machine.api_url}"
    pid = machine.show(unit, "MainPID")
    assert machine.run("stat", "-c", "%U", f"/proc/{pid}") == "pushrod\n"
    build = push(machine, tmp_path, "first", "base")
    assert build["state"] == "queued"
    machine.systemctl("kill", "--signal=SIGKILL", unit)
    machine.wait_until(unit, "NRestarts", "1")
    machine.wait_until(unit, "ActiveState", "active")
    assert machine.show(unit, "MainPID") != pid
    assert machine.api.build(str(build["id"]))["state"] == "queued"
    machine.systemctl("restart", unit)
    assert machine.show(unit, "Result") == "success"


@pytest.mark.engine
def test_the_agents_unit_runs_a_step_and_drains_when_it_is_stopped(
    machine: Machine, sockets: Path, tmp_path: Path, buildkit: TestEngine
) -> None:
    token = machine.api.post("/api/tokens", {"name": "unit", "kind": "registration"})["token"]
    agent_token = "/etc/pushrod/agent-token"
    machine.run("install", "-m", "0640", "-g", "pushrod-agent", "/dev/null", agent_token)
    machine.run("sh", "-c", f"echo {token} > {agent_token}")
    with forwarded(sockets / "engine.sock", buildkit.address.removeprefix("unix://")):
        machine.run("chgrp", "docker", "/run/test/engine.sock")
        machine.systemctl("start", "pushrod-agent")
        assert machine.show("pushrod-agent", "StatusText") == "taking steps"
        pid = machine.show("pushrod-agent", "MainPID")
        assert machine.run("stat", "-c", "%U", f"/proc/{pid}") == "pushrod-agent\n"
        build = push(machine, tmp_path, "second", buildkit.image)
        done = machine.api.wait_finished(str(build["id"]))
        assert done["state"] == "succeeded", str(done) + machine.journal()
        assert machine.api.log(done["steps"][0]["id"]) == b"hello from a unit\n"
        machine.systemctl("stop", "pushrod-agent")
    assert machine.show("pushrod-agent", "Result") == "success"


@contextlib.contextmanager
def forwarded(listening: Path, target: str) -> Iterator[None]:
    """The engine's socket at another place, where the machine's group docker can be given it."""
    loop = asyncio.new_event_loop()

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(1 << 16):
                writer.write(data)
                await writer.drain()
            if writer.can_write_eof():
                writer.write_eof()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_unix_connection(target)
        await asyncio.gather(copy(reader, back), copy(there, writer))
        for one in (back, writer):
            one.close()

    server = loop.run_until_complete(asyncio.start_unix_server(serve, listening))
    listening.chmod(0o660)
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield
    finally:
        loop.call_soon_threadsafe(server.close)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0.1))
        loop.close()
