"""What `pushrod engine status --disk` counts."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from agent.engines.private.engine import folder_bytes


def test_files_of_all_folders_count_by_their_blocks_and_what_links_lead_to_does_not(
    tmp_path: Path,
) -> None:
    folder, elsewhere = tmp_path / "folder", tmp_path / "elsewhere"
    deep = folder / "a" / "b"
    deep.mkdir(parents=True)
    elsewhere.mkdir()
    files = [folder / "one", deep / "two"]
    for file in (*files, elsewhere / "large"):
        file.write_bytes(b"x" * 70_000)
    with (deep / "sparse").open("wb") as sparse:
        sparse.truncate(1 << 30)
    (folder / "link").symlink_to(elsewhere)
    (deep / "large").symlink_to(elsewhere / "large")
    counted = [*files, deep / "sparse", folder / "link", deep / "large"]
    found = folder_bytes(folder)
    assert found == sum(path.lstat().st_blocks for path in counted) * 512
    assert 140_000 <= found < 210_000
    assert folder_bytes(tmp_path / "nothing") == 0


def test_folders_as_deep_as_a_script_makes_them_are_walked_as_far_as_a_path_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Deeper than our own stack, and than a process may have descriptors."""
    (tmp_path / "file").write_bytes(b"x" * 70_000)
    monkeypatch.chdir(tmp_path)
    for _ in range(3000):
        os.mkdir("d")
        os.chdir("d")
    os.chdir(tmp_path)
    try:
        assert 70_000 <= folder_bytes(tmp_path) < 100_000
    finally:
        subprocess.run(["rm", "-rf", "d"], check=True)  # shutil has our stack, too
