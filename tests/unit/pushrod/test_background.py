from __future__ import annotations

import json
import os
import socket
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from agent.engines.private.processes import identify
from pushrod import background
from pushrod.background import (
    BackgroundPlaces,
    environment_for_demo,
    find_ready_url,
    listen_address,
    read_record,
)


def test_the_ready_line_counts_only_when_it_is_whole() -> None:
    log = b"INFO get ready for it\nready http://127.0.0.1:30"
    assert find_ready_url(log) is None
    assert find_ready_url(log + b"00\nready http://later\n") == "http://127.0.0.1:3000"


def test_a_taken_port_is_answered_by_any_free_one() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert listen_address(port) == "127.0.0.1:0"
    assert listen_address(port) == f"127.0.0.1:{port}"


def test_the_background_process_gets_none_of_the_users_settings_but_the_engines() -> None:
    environment = {
        "PATH": "/bin",
        "PUSHROD_PUBLIC_URL": "https://ci.example",
        "PUSHROD_TOKEN": "secret",
        "PUSHROD_ENGINE_DIR": "/srv/engine",
    }
    assert environment_for_demo(environment) == {
        "PATH": "/bin",
        "PUSHROD_ENGINE_DIR": "/srv/engine",
    }


@pytest.mark.parametrize("text", ["", "{}", "[]", "not json", '{"process": {"pid": 1}}'])
def test_a_record_of_another_version_counts_as_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "record").write_text(text)
    assert read_record(tmp_path / "record") is None


async def test_a_stranger_with_the_recorded_pid_is_left_alone(tmp_path: Path) -> None:
    places = BackgroundPlaces(data=tmp_path)
    myself = identify(os.getpid())
    assert myself is not None
    stranger = replace(myself, start_ticks=myself.start_ticks - 1)
    places.record.write_text(json.dumps({"process": asdict(stranger), "log_offset": 0}))
    assert await background.stop(places, print) is False
    assert not places.record.exists()
    assert await background.stop(places, print) is False
