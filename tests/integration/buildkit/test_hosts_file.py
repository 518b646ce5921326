"""Where a step's container is told the names of its services, and where it is not."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from agent.engines.buildkit import machine

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounts need root")

MOUNT = """\
set -e
mount -t tmpfs none source
echo first >source/pushrod-hosts
touch 'a place/hosts'
mount --bind source/pushrod-hosts 'a place/hosts'
"""
HOSTS = {"db": "172.17.0.2", "web": "172.17.0.3"}


@contextmanager
def container(folder: Path, *more: str) -> Iterator[int]:
    """A process with mounts of its own, where `a place/hosts` is what the engine mounted."""
    (folder / "source").mkdir()
    (folder / "a place").mkdir()
    script = "\n".join((MOUNT, *more, "echo ready; exec sleep 600"))
    command = ["unshare", "--mount", "sh", "-c", script]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            yield process.pid
        finally:
            process.kill()


def test_names_are_added_where_the_engine_mounted_the_file(tmp_path: Path) -> None:
    with container(tmp_path) as process:
        machine.tell_hosts(process, HOSTS)
        told = Path(f"/proc/{process}/root{tmp_path}/a place/hosts").read_text()
    assert told == "first\n172.17.0.2\tdb\n172.17.0.3\tweb\n"
    assert (tmp_path / "a place/hosts").read_text() == ""


@pytest.mark.parametrize("stead", ["echo mine >other", "mkfifo other", "ln -s /etc/hosts other"])
def test_what_took_the_files_place_is_never_written_to(tmp_path: Path, stead: str) -> None:
    """Whoever is root in a container may move the folder that something is mounted in."""
    before = Path("/etc/hosts").read_bytes()
    moved = ("mv 'a place' moved", "mkdir 'a place'", stead, "mv other 'a place/hosts'")
    # The kernel tells where the mount is now, so what is asked for is the place before.
    with container(tmp_path, *moved) as process:
        place = machine._mount_of(process, "/pushrod-hosts")
        assert place[-2:] == ["moved", "hosts"]
        with pytest.raises(OSError, match=r"is not the file that was mounted|Too many"):
            machine._append(process, [*place[:-2], "a place", "hosts"], "more\n")
    other = tmp_path / "a place/hosts"
    assert not other.is_file() or other.is_symlink() or other.read_text() == "mine\n"
    assert Path("/etc/hosts").read_bytes() == before


def test_a_folder_that_became_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/hosts").touch()
    with container(tmp_path, "mv 'a place' moved", "ln -s elsewhere 'a place'") as process:
        place = machine._mount_of(process, "/pushrod-hosts")
        with pytest.raises(OSError, match=r"Not a directory|Too many levels"):
            machine._append(process, [*place[:-2], "a place", "hosts"], "more\n")
    assert (tmp_path / "elsewhere/hosts").read_text() == ""


def test_a_process_without_the_file_is_an_error() -> None:
    with pytest.raises(OSError, match="was not mounted"):
        machine.tell_hosts(os.getpid(), HOSTS)
