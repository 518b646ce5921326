from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pushrod.systemd import notify, watchdog_seconds, watched
from tests.quiet_time import quiet_seconds


@pytest.fixture
def listening(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """The socket that systemd would listen on."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.settimeout(60)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        yield listening


def test_lines_arrive_together(listening: socket.socket) -> None:
    assert notify("READY=1", "STATUS=serving")
    assert listening.recv(1000) == b"READY=1\nSTATUS=serving"


def test_an_abstract_name_is_reached_too() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind("")  # the kernel chooses an abstract name
        name = listening.getsockname()
        assert notify("READY=1", environment={"NOTIFY_SOCKET": "@" + name[1:].decode()})
        assert listening.recv(1000) == b"READY=1"


def test_without_systemd_nothing_happens() -> None:
    assert not notify("READY=1", environment={})
    assert not notify("READY=1", environment={"NOTIFY_SOCKET": "vsock:2:1"})


def test_a_socket_that_is_gone_is_survived(tmp_path: Path) -> None:
    assert not notify("READY=1", environment={"NOTIFY_SOCKET": str(tmp_path / "gone")})


def can_send(address: str) -> bool:
    """By a fresh socket, since each has a buffer of its own besides the queue."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sender:
        try:
            sender.sendto(b"X", address)
        except BlockingIOError:
            return False
    return True


def is_empty(listening: socket.socket) -> bool:
    """Whether nothing is waiting to be read."""
    listening.setblocking(False)
    try:
        listening.recv(1000)
    except BlockingIOError:
        return True
    return False


def test_a_full_queue_does_not_hold_the_loop_for_long(listening: socket.socket) -> None:
    while can_send(listening.getsockname()):
        pass
    started = quiet_seconds()
    assert not notify("WATCHDOG=1")
    assert quiet_seconds() - started < 3


@pytest.mark.parametrize(
    ("environment", "seconds"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "7"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "8"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
    ],
)
def test_the_watchdogs_time_is_that_of_the_watched_process(
    environment: dict[str, str], seconds: float | None
) -> None:
    assert watchdog_seconds(environment, pid=7) == seconds


async def test_signs_of_life_come_while_the_loop_runs_and_stop_with_it(
    listening: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "40000")
    async with watched():
        started = time.monotonic()
        for _ in range(4):
            assert await asyncio.to_thread(listening.recv, 1000) == b"WATCHDOG=1"
        # Four signs, one each 20 ms, the first at once.
        assert time.monotonic() - started > 0.05
    while not is_empty(listening):
        pass
    await asyncio.sleep(0.1)  # five times as long as a sign took
    assert is_empty(listening)


async def test_a_loop_that_stands_still_gives_no_sign(
    listening: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "20000")
    async with watched():
        assert await asyncio.to_thread(listening.recv, 1000) == b"WATCHDOG=1"
        while not is_empty(listening):
            pass
        time.sleep(0.1)  # the loop is stuck for five times as long
        assert is_empty(listening)
