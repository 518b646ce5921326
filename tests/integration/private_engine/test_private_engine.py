"""The private engine for real: its processes are killed in every way, in folders of their own.

The programs are shared with the machine's engine, so that they aren't downloaded again; its
processes and data are not touched.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from aiohttp import web

from agent.engines.private import (
    EngineKind,
    EnginePlaces,
    EngineStartError,
    builder_variant,
    down,
    engine_places,
    ensure_test_image,
    image_digest,
    status,
    up,
)
from agent.engines.private.packages import ROOT_NAME, ensure_root, find_root
from agent.engines.private.processes import ProcessIdentity, children_of, identify, is_alive
from agent.engines.private.record import EngineRecord, read_record, write_record
from agent.engines.private.system import find_system_engine
from tests.quiet_time import quiet_seconds

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="the private engine needs root")


@pytest.fixture(scope="module")
def places() -> Iterator[EnginePlaces]:
    """An engine of its own for these tests; a short path, since sockets lie in it."""
    folder = Path(tempfile.mkdtemp(prefix="pushrod-"))
    own = EnginePlaces(data=folder, runtime=folder / "run", packages=engine_places().packages)
    try:
        yield own
    finally:
        asyncio.run(down(places=own))
        shutil.rmtree(folder)


async def up_here(places: EnginePlaces) -> EngineRecord:
    await up(reuse=False, places=places)
    return recorded(places)


def recorded(places: EnginePlaces) -> EngineRecord:
    record = read_record(places.record)
    assert record is not None
    return record


def descendants(pid: int) -> list[ProcessIdentity]:
    """The process and all below it."""
    below = [process for child in children_of(pid) for process in descendants(child)]
    own = identify(pid)
    return [*([own] if own else []), *below]


def all_processes(record: EngineRecord) -> list[ProcessIdentity]:
    assert record.network is not None
    return [*descendants(record.holder.pid), record.network]


def kill(process: ProcessIdentity | None) -> None:
    assert process is not None
    os.kill(process.pid, signal.SIGKILL)


async def all_end(processes: list[ProcessIdentity]) -> bool:
    for _ in range(600):
        if not any(is_alive(process) for process in processes):
            return True
        await asyncio.sleep(0.05)
    return False


@needs_root
@pytest.mark.engine
async def test_a_second_up_finds_the_same_engine_and_is_quick(places: EnginePlaces) -> None:
    first = await up_here(places)
    started = quiet_seconds()
    address = await up(reuse=False, places=places)
    assert quiet_seconds() - started < 0.3
    assert recorded(places) == first
    assert address.kind is EngineKind.PRIVATE
    assert (await status(places=places)).address == address


@needs_root
@pytest.mark.engine
async def test_ups_at_the_same_time_start_one_engine(places: EnginePlaces) -> None:
    await down(places=places)
    await asyncio.gather(*(up(reuse=False, places=places) for _ in range(3)))
    inits = children_of(recorded(places).holder.pid)
    assert len(inits) == 1


@needs_root
@pytest.mark.engine
@pytest.mark.parametrize("part", ["daemon", "init", "holder"])
async def test_an_engine_whose_core_was_killed_is_started_anew(
    places: EnginePlaces, part: str
) -> None:
    first = await up_here(places)
    processes = all_processes(first)
    kill(getattr(first, part))
    assert await all_end(processes), "what is left of an engine must end by itself"
    assert (await status(places=places)).problem is not None
    second = await up_here(places)
    assert second.daemon != first.daemon
    assert (await status(places=places)).running


@needs_root
@pytest.mark.engine
async def test_a_killed_network_is_connected_again_under_the_running_daemon(
    places: EnginePlaces,
) -> None:
    first = await up_here(places)
    assert first.network is not None
    kill(first.network)
    assert await all_end([first.network])
    second = await up_here(places)
    assert second.daemon == first.daemon
    assert second.network != first.network
    assert "tap0" in Path(f"/proc/{second.holder.pid}/net/dev").read_text()
    assert (await status(places=places)).running


@needs_root
@pytest.mark.engine
async def test_an_up_killed_half_way_is_repaired_by_the_next(places: EnginePlaces) -> None:
    await down(places=places)
    environment = {
        **os.environ,
        "PUSHROD_ENGINE_DIR": str(places.data),
        "PUSHROD_ENGINE_PACKAGES": str(places.packages),
    }
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "agent.engines.private", "up", "--private"),
        env=environment,
        stderr=asyncio.subprocess.DEVNULL,
    )
    while not places.record.exists():
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.1)
    process.kill()
    await process.wait()
    half = all_started(recorded(places))
    await up_here(places)
    assert not any(is_alive(one) for one in half)


def all_started(record: EngineRecord) -> list[ProcessIdentity]:
    network = [record.network] if record.network else []
    return [*descendants(record.holder.pid), *network]


@needs_root
@pytest.mark.engine
async def test_down_leaves_no_process_and_no_mount_but_the_data(places: EnginePlaces) -> None:
    processes = all_processes(await up_here(places))
    assert len(processes) >= 6
    assert await down(places=places)
    assert await all_end(processes)
    assert str(places.data) not in Path("/proc/self/mountinfo").read_text()
    assert not places.socket.exists()
    assert places.docker_data.exists()
    assert not await down(places=places), "a second down has nothing to end"


@needs_root
@pytest.mark.engine
async def test_a_record_from_before_a_reboot_ends_no_stranger(places: EnginePlaces) -> None:
    await down(places=places)
    stranger = identify(os.getpid())
    assert stranger is not None
    old = replace(stranger, boot_id="an earlier boot")
    places.record.parent.mkdir(parents=True, exist_ok=True)
    write_record(
        places.record, EngineRecord(holder=old, init=old, network=old, daemon=old, version="26")
    )
    assert not (await status(places=places)).running
    await up_here(places)
    assert (await status(places=places)).running


@needs_root
@pytest.mark.engine
async def test_the_test_image_is_made_once_and_outlives_a_restart(places: EnginePlaces) -> None:
    said: list[str] = []
    address = await up(reuse=False, places=places)
    reference = await ensure_test_image(said.append, address=address, places=places)
    digest = await image_digest(builder_variant(reference), address=address)
    assert digest is not None
    await down(places=places)
    address = await up(reuse=False, places=places)
    said.clear()
    assert await ensure_test_image(said.append, address=address, places=places) == reference
    assert not said, "nothing had to be made"
    assert await image_digest(builder_variant(reference), address=address) == digest


@needs_root
@pytest.mark.engine
async def test_an_engine_that_cannot_start_says_what_its_log_says(places: EnginePlaces) -> None:
    root = await ensure_root(places.packages, lambda _: None)
    with tempfile.TemporaryDirectory(prefix="pushrod-") as name:
        broken = EnginePlaces(
            data=Path(name), runtime=Path(name) / "run", packages=Path(name) / "packages"
        )
        shutil.copytree(root.folder, broken.packages / ROOT_NAME, symlinks=True)
        daemon = find_root(broken.packages)
        assert daemon is not None
        program = daemon.program("dockerd")
        assert program is not None
        program.write_text("#!/bin/sh\necho no luck today\nexit 3\n")
        with pytest.raises(EngineStartError, match="no luck today"):
            await up(reuse=False, places=broken)
        assert not broken.record.exists()


async def test_a_half_fetched_root_is_not_believed(tmp_path: Path) -> None:
    (tmp_path / ROOT_NAME / "usr/sbin").mkdir(parents=True)
    (tmp_path / ROOT_NAME / "usr/sbin/dockerd").touch()
    assert find_root(tmp_path) is None


@pytest.mark.parametrize(
    ("version", "component", "is_taken"),
    [
        ("26.1.5+dfsg1", "Engine", True),
        ("28.5.2", "Engine", True),
        ("20.10.24+dfsg1", "Engine", False),
        ("26.0.0", "Podman Engine", False),
    ],
)
async def test_a_system_engine_is_taken_only_when_it_is_new_enough(
    monkeypatch: pytest.MonkeyPatch, version: str, component: str, is_taken: bool
) -> None:
    said: list[str] = []
    with tempfile.TemporaryDirectory(prefix="pushrod-") as folder:
        socket = Path(folder) / "docker.sock"
        monkeypatch.setenv("DOCKER_HOST", f"unix://{socket}")
        runner = await serve_version(socket, version, component)
        try:
            found = await asyncio.to_thread(find_system_engine, said.append)
        finally:
            await runner.cleanup()
    assert (found is not None) == is_taken
    assert bool(said) != is_taken, "a refusal says why"


async def serve_version(socket: Path, version: str, component: str) -> web.AppRunner:
    async def answer(_: web.Request) -> web.Response:
        return web.json_response({"Version": version, "Components": [{"Name": component}]})

    application = web.Application()
    application.router.add_get("/version", answer)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.UnixSite(runner, str(socket)).start()
    return runner


@needs_root
@pytest.mark.engine
async def test_an_engine_that_is_stayed_with_is_mended_and_ends_with_the_command() -> None:
    folder = Path(tempfile.mkdtemp(prefix="pushrod-"))
    places = EnginePlaces(data=folder, runtime=folder / "run", packages=engine_places().packages)
    environment = {
        **os.environ,
        "PUSHROD_ENGINE_DIR": str(folder),
        "PUSHROD_ENGINE_PACKAGES": str(places.packages),
    }
    staying = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "pushrod", "engine", "up", "--stay"),
        stdout=asyncio.subprocess.PIPE,
        env=environment,
    )
    try:
        assert staying.stdout is not None
        assert await staying.stdout.readline() == f"ready unix://{places.socket}\n".encode()
        first = recorded(places)
        kill(first.daemon)
        async with asyncio.timeout(60):
            while not (await status(places=places)).running or recorded(places) == first:
                await asyncio.sleep(0.1)
        processes = all_processes(recorded(places))
        staying.terminate()
        assert await asyncio.wait_for(staying.wait(), 60) == 0
        assert await all_end(processes)
        assert not places.record.exists()
    finally:
        if staying.returncode is None:
            staying.kill()
            await staying.wait()
        await down(places=places)
        shutil.rmtree(folder)
