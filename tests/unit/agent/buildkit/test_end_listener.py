"""The program that waits in a container until its script is to end."""

from __future__ import annotations

import platform
import socket
import subprocess
from pathlib import Path

import pytest

from agent.engines.buildkit.end_listener import end_listener

OURS = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), "")


@pytest.fixture
def address(tmp_path: Path) -> str:
    return str(tmp_path / "end")


def start(address: str) -> subprocess.Popen[bytes]:
    program = end_listener(OURS, address)
    if program is None:
        pytest.skip("there is no listener for this machine")
    file = Path(f"{address}-listener")
    file.write_bytes(program)
    file.chmod(0o755)
    return subprocess.Popen([file], env={})


@pytest.mark.parametrize("said", [b"e", b"ending"])
def test_it_waits_for_a_byte(address: str, said: bytes) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(address)
        server.listen()
        with start(address) as listener:
            connection, _ = server.accept()
            with connection:
                assert listener.poll() is None
                connection.send(said)
                assert listener.wait(60) == 0


def test_the_end_of_the_agent_is_no_word(address: str) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(address)
        server.listen()
        with start(address) as listener:
            server.accept()[0].close()
            assert listener.wait(60) != 0


def test_without_an_agent_it_ends_at_once(address: str) -> None:
    with start(address) as listener:
        assert listener.wait(60) != 0


def test_there_is_one_for_each_common_machine() -> None:
    for architecture in ("amd64", "arm64"):
        program = end_listener(architecture, "/.pushrod/end") or b""
        assert program[:4] == b"\x7fELF"
        assert len(program) < 400
        assert b"/.pushrod/end\0" in program
    assert end_listener("riscv64", "/.pushrod/end") is None
