import os
from dataclasses import replace
from pathlib import Path

import pytest

from agent.engines.private.errors import UnsupportedMachineError
from agent.engines.private.places import EnginePlaces, engine_places
from agent.engines.private.processes import _parse_stat, identify, is_alive
from agent.engines.private.record import EngineRecord, read_record, write_record
from agent.engines.private.start import mounts_below, registry_settings, resolver_text

PLACES = EnginePlaces(data=Path("/d"), runtime=Path("/r"), packages=Path("/p"))


def test_a_process_with_a_strange_name_is_read() -> None:
    fields = " ".join(str(number) for number in range(5, 22))
    stat = _parse_stat(f"7 (a) b (c)) S 4 {fields} 999 23")
    assert (stat.name, stat.state, stat.parent) == ("a) b (c)", "S", 4)
    assert stat.start_ticks == 999


def test_a_reused_pid_is_another_process() -> None:
    own = identify(os.getpid())
    assert own is not None
    assert is_alive(own)
    assert not is_alive(replace(own, start_ticks=own.start_ticks - 1))
    assert not is_alive(replace(own, boot_id="another boot"))


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    own = identify(os.getpid())
    assert own is not None
    record = EngineRecord(holder=own, daemon=own, version="26.1.5", packages="/p")
    write_record(tmp_path / "engine.json", record)
    assert read_record(tmp_path / "engine.json") == record


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"holder": {"pid": 1}}'])
def test_a_damaged_record_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "engine.json").write_text(text)
    assert read_record(tmp_path / "engine.json") is None


def test_the_environment_moves_the_folders() -> None:
    places = engine_places({"PUSHROD_ENGINE_DIR": "/x", "PUSHROD_ENGINE_PACKAGES": "/y"})
    assert (places.data, places.socket) == (Path("/x"), Path("/x/run/docker.sock"))
    assert places.packages == Path("/y")


def test_a_path_too_long_for_a_socket_is_refused() -> None:
    places = engine_places({"PUSHROD_ENGINE_DIR": "/x" * 40})
    with pytest.raises(UnsupportedMachineError, match="too long"):
        places.require_short_paths()


def test_steps_resolve_names_through_the_namespace_s_own_server() -> None:
    host = "# made by hand\nnameserver 127.0.0.53\nsearch example.org\noptions edns0\n"
    assert resolver_text(host) == "nameserver 10.0.2.3\nsearch example.org\noptions edns0\n"


def test_only_mounts_of_the_engine_are_unmounted() -> None:
    table = "\n".join(
        f"30 1 0:1 / {point} rw - ext4 /dev/x rw" for point in ("/", "/d", "/d/a\\040b", "/dd/c")
    )
    assert mounts_below(table, (Path("/d"),)) == ["/d", "/d/a b"]


def test_the_registry_listens_on_the_loopback_alone() -> None:
    assert registry_settings(PLACES)["http"] == {"addr": "127.0.0.1:5000"}
