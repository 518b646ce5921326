"""Outputs are collected as root from a tree that its owner changes all the while."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from agent.engines.outputs import collect_outputs

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root collects others' files")

OWNER = 60706
ROUNDS = 30
DECOYS = 200
SECRET = b"root's own"
SWAPPER = """
import ctypes, os, sys
libc = ctypes.CDLL(None)
os.setgroups([])
os.setgid(int(sys.argv[3]))
os.setuid(int(sys.argv[3]))
one, other = sys.argv[1].encode(), sys.argv[2].encode()
print("swapping", flush=True)
while True:
    libc.renameat2(-100, one, -100, other, 2)
"""


@pytest.fixture
def ground(tmp_path: Path) -> Iterator[Path]:
    """Where another user may be, unlike pytest's own folders."""
    folder = Path("/var/tmp") / f"pushrod-outputs-{os.getpid()}"
    folder.mkdir(mode=0o711)
    yield folder
    shutil.rmtree(folder)


@contextmanager
def swapping(one: Path, other: Path) -> Iterator[None]:
    """The script's user exchanges two names as fast as it can."""
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", SWAPPER, str(one), str(other), str(OWNER)],
        stdout=subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        process.stdout.readline()
        yield
    finally:
        process.kill()
        process.communicate()


def secret_folder(ground: Path) -> Path:
    folder = ground / "roots-own"
    folder.mkdir(mode=0o711)
    (folder / "f").write_bytes(SECRET)
    (folder / "f").chmod(0o600)
    return folder


def workspace_with(ground: Path, target: Path, mode: int) -> Path:
    """`d/x…/f` are decoys; `l` has links of the same names to a folder of root."""
    attempt = ground / "attempt"
    workspace = attempt / "workspace"
    (workspace / "d").mkdir(parents=True)
    (workspace / "l").mkdir()
    for number in range(DECOYS):
        decoy = workspace / "d" / f"x{number}" / "f"
        decoy.parent.mkdir()
        decoy.write_text("decoy")
        decoy.chmod(mode)
        (workspace / "l" / f"x{number}").symlink_to(target)
    subprocess.run(["chown", "-hR", f"{OWNER}:{OWNER}", str(attempt)], check=True)
    return workspace


@pytest.mark.parametrize("mode", [0o644, 0o077])
def test_no_swap_of_folders_and_links_brings_or_changes_a_file_of_root(
    mode: int, ground: Path
) -> None:
    target = secret_folder(ground)
    workspace = workspace_with(ground, target, mode)
    with swapping(workspace / "d", workspace / "l"):
        for number in range(ROUNDS):
            outputs = ground / f"outputs{number}"
            outputs.mkdir(mode=0o700)
            collect_outputs(workspace, ["d"], outputs, owner=OWNER, above=ground)
            found = {file.read_bytes() for file in outputs.rglob("f")}
            assert found <= {b"decoy"}
            assert stat.S_IMODE((target / "f").stat().st_mode) == 0o600


def test_a_workspace_that_became_a_link_is_no_workspace(ground: Path) -> None:
    target = secret_folder(ground)
    workspace = workspace_with(ground, target, 0o644)
    shutil.rmtree(workspace)
    workspace.symlink_to(target)
    outputs = ground / "outputs"
    outputs.mkdir()
    with pytest.raises(OSError, match="Too many levels of symbolic links"):
        collect_outputs(workspace, ["f"], outputs, owner=None, above=ground)
    assert list(outputs.iterdir()) == []


def test_a_link_brings_what_it_leads_to_inside_the_workspace(ground: Path) -> None:
    workspace = workspace_with(ground, secret_folder(ground), 0o644)
    (workspace / "relative").symlink_to("d/x0/f")
    (workspace / "absolute").symlink_to(workspace / "d" / "x1" / "f")
    (workspace / "out").symlink_to(ground / "roots-own" / "f")
    outputs = ground / "outputs"
    outputs.mkdir()
    patterns = ["relative", "absolute", "out"]
    collected = collect_outputs(workspace, patterns, outputs, owner=OWNER, above=ground)
    assert {name.name for name in outputs.iterdir()} == {"relative", "absolute", "out", "d"}
    assert {file.read_text() for file in outputs.rglob("f")} == {"decoy"}
    assert (outputs / "out").readlink() == ground / "roots-own" / "f"
    assert (collected.notes, collected.unkept) == ((), ())
