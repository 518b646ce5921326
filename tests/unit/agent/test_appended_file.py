"""What a file that only grows brings to the disk, and when."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from agent.appended_file import AppendedFile


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was brought to the disk, a folder's names or a file's content."""
    seen: list[str] = []

    def noting(real: object) -> object:
        def sync(number: int) -> None:
            seen.append("folder" if stat.S_ISDIR(os.fstat(number).st_mode) else "file")
            real(number)  # type: ignore[operator]

        return sync

    for name in ("fsync", "fdatasync"):
        monkeypatch.setattr(os, name, noting(getattr(os, name)))
    return seen


def test_a_new_files_name_lasts_before_anything_is_appended(
    tmp_path: Path, synced: list[str]
) -> None:
    file = AppendedFile(tmp_path / "journal")
    assert file.open() == b""
    assert synced == ["folder"]
    file.make_lasting(file.append(b"one"))
    assert synced == ["folder", "file"]
    file.close()


def test_a_file_that_is_there_already_is_only_read(tmp_path: Path, synced: list[str]) -> None:
    (tmp_path / "journal").write_bytes(b"one")
    file = AppendedFile(tmp_path / "journal")
    assert file.open() == b"one"
    assert synced == []
    file.append(b"two")
    file.close()
    assert (tmp_path / "journal").read_bytes() == b"onetwo"


def test_what_lasts_already_is_not_brought_to_the_disk_once_more(
    tmp_path: Path, synced: list[str]
) -> None:
    file = AppendedFile(tmp_path / "journal")
    file.open()
    first, second = file.append(b"one"), file.append(b"two")
    file.make_lasting(second)
    file.make_lasting(first)
    assert synced == ["folder", "file"]
    file.replace(b"anew")
    file.make_lasting(second)
    assert synced == ["folder", "file", "file", "folder"]
    file.make_lasting(file.append(b"more"))
    file.close()
    assert (tmp_path / "journal").read_bytes() == b"anewmore"
