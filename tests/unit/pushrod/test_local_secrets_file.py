from __future__ import annotations

from pathlib import Path

import pytest

from pushrod.local.errors import CannotRun
from pushrod.local.secrets_file import read_secrets


def written(folder: Path, content: str | bytes, mode: int = 0o600) -> Path:
    path = folder / "secrets"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    path.chmod(mode)
    return path


def test_without_a_file_there_are_none() -> None:
    assert read_secrets(None) == {}


def test_lines_are_names_and_values(tmp_path: Path) -> None:
    path = written(tmp_path, "# of staging\n\nTOKEN=a=b c\nexport KEY='q'\nTWO=\"w\"\r\nLAST=x")
    assert read_secrets(path) == {"TOKEN": "a=b c", "KEY": "q", "TWO": "w", "LAST": "x"}


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o602])
def test_a_file_that_is_open_to_others_is_refused(tmp_path: Path, mode: int) -> None:
    with pytest.raises(CannotRun, match="chmod 600"):
        read_secrets(written(tmp_path, "TOKEN=hush", mode))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("A=1\nhush-hush\n", ":2: write NAME=VALUE"),
        ("1A=hush-hush\n", "begin with a digit"),
        ("PUSHROD_URL=hush-hush\n", "pushrod's own"),
        ("A=\n", "empty"),
        ("A=hush-hush\nA=hush-hush\n", ":2: A is given twice"),
        (b"A=\xff\n", "UTF-8"),
        ("A=" + "x" * 1024 * 1024, "larger"),
    ],
)
def test_what_is_no_such_line_is_told_without_its_value(
    tmp_path: Path, content: str | bytes, said: str
) -> None:
    with pytest.raises(CannotRun, match=said) as caught:
        read_secrets(written(tmp_path, content))
    assert "hush" not in caught.value.message


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(CannotRun, match="No such file"):
        read_secrets(tmp_path / "nowhere")
