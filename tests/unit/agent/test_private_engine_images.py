import tarfile
from pathlib import Path

import pytest

from agent.engines.private.apt import AptSource, Release
from agent.engines.private.docker_api import problem_of
from agent.engines.private.images import builder_variant
from agent.engines.private.rootfs import StaticPrograms, mmdebstrap_command, write_test_archive
from agent.engines.private.system import system_sockets


def test_an_error_inside_a_successful_stream_is_found() -> None:
    assert problem_of(200, '{"status":"Pushing"}\n{"error":"no such host"}\n') == "no such host"


@pytest.mark.parametrize("text", ["", '{"status":"done"}\n', "not json\n"])
def test_a_stream_without_an_error_is_well(text: str) -> None:
    assert problem_of(200, text) is None


def test_a_refusal_without_json_says_its_status() -> None:
    assert problem_of(500, "") == "HTTP status 500"


def test_the_test_image_has_a_shell_and_a_user(tmp_path: Path) -> None:
    programs = StaticPrograms(busybox=b"B", bash=b"b", applets=("sh", "busybox", "env"))
    write_test_archive(tmp_path / "rootfs.tar", programs)
    with tarfile.open(tmp_path / "rootfs.tar") as tar:
        assert tar.getmember("usr/bin/sh").linkname == "busybox"
        assert tar.getmember("bin").linkname == "usr/bin"
        assert tar.getmember("usr/bin/busybox").isfile()
        assert tar.getmember("srv").uid == 1000
        users = tar.extractfile("etc/passwd")
        assert users is not None
        assert b"builder:x:1000:1000" in users.read()


def test_the_base_image_comes_from_the_machine_s_mirror() -> None:
    command = mmdebstrap_command(
        "/usr/bin/mmdebstrap",
        Path("/out.tar"),
        Release(id="debian", codename="bookworm", version="12"),
        [AptSource(uri="http://m.example/", suite="bookworm", components=("main",))],
        Path("/k.gpg"),
    )
    assert command[-3:] == ["bookworm", "/out.tar", "deb http://m.example/ bookworm main"]
    assert "--keyring=/k.gpg" in command


def test_the_builder_s_variant_is_another_tag() -> None:
    assert builder_variant("127.0.0.1:5000/pushrod/test:1") == (
        "127.0.0.1:5000/pushrod/test:1-builder"
    )


@pytest.mark.parametrize(
    ("chosen", "sockets"),
    [
        (None, ["/var/run/docker.sock"]),
        ("unix:///elsewhere/d.sock", ["/elsewhere/d.sock"]),
        ("tcp://10.0.0.1:2375", []),
    ],
)
def test_docker_host_says_where_the_system_s_engine_is(
    chosen: str | None, sockets: list[str]
) -> None:
    environment = {} if chosen is None else {"DOCKER_HOST": chosen}
    assert system_sockets(environment) == [Path(socket) for socket in sockets]
