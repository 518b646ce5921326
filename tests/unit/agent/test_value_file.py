"""The file that a script wrote to `$PUSHROD_OUTPUT`, or what it put in its place."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from agent.engines.value_file import NOT_A_FILE, TOO_MUCH, Values, read_values
from pipelines_schema.step_outputs import MAX_OUTPUT_BYTES


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "attempts" / "one").mkdir(parents=True)
    return tmp_path / "attempts" / "one" / "output"


def read(file: Path, owner: int | None = None) -> Values:
    return read_values(
        file, above=file.parent.parent, owner=os.geteuid() if owner is None else owner
    )


def test_what_was_written_is_read(file: Path) -> None:
    file.write_bytes(b"a=1\n")
    assert read(file) == Values(written=b"a=1\n")


def test_a_file_that_was_removed_is_nothing(file: Path) -> None:
    assert read(file) == Values()


def test_no_link_is_followed(file: Path) -> None:
    secret = file.parent.parent.parent / "secret"
    secret.write_bytes(b"a=secret\n")
    file.symlink_to(secret)
    assert read(file) == NOT_A_FILE
    file.unlink()
    file.parent.rmdir()
    folder = secret.parent / "elsewhere"
    folder.mkdir()
    (folder / "output").write_bytes(b"a=secret\n")
    file.parent.symlink_to(folder)
    assert read(file) == NOT_A_FILE


def test_a_pipe_a_folder_and_somebody_elses_file_are_not_read(file: Path) -> None:
    os.mkfifo(file)
    assert read(file) == NOT_A_FILE
    file.unlink()
    file.mkdir()
    assert read(file) == NOT_A_FILE
    file.rmdir()
    file.write_bytes(b"a=1\n")
    assert read(file, owner=os.geteuid() + 1) == NOT_A_FILE


def test_a_file_has_at_most_so_many_bytes(file: Path) -> None:
    file.write_bytes(b"x" * MAX_OUTPUT_BYTES)
    assert len(read(file).written) == MAX_OUTPUT_BYTES
    file.write_bytes(b"x" * (MAX_OUTPUT_BYTES + 1))
    assert read(file) == TOO_MUCH
