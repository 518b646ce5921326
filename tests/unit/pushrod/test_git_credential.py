from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from pushrod.commands.git_credential import git_credential, is_for, parse_attributes

ASKED = "protocol=http\nhost=127.0.0.1:3000\n\n"


def answer(operation: str, asked: str, token_file: Path, url: str = "http://127.0.0.1:3000") -> str:
    result = CliRunner().invoke(
        git_credential, [operation, "--url", url, "--token-file", str(token_file)], input=asked
    )
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    file = tmp_path / "token"
    file.write_text("t0ken\n")
    return file


def test_git_gets_the_token_as_the_password(token_file: Path) -> None:
    assert answer("get", ASKED, token_file) == "username=pushrod\npassword=t0ken\n"


@pytest.mark.parametrize("operation", ["store", "erase", "capability"])
def test_other_operations_say_nothing(operation: str, token_file: Path) -> None:
    assert answer(operation, ASKED, token_file) == ""


def test_another_host_gets_nothing_and_is_told_why(token_file: Path) -> None:
    asked = "protocol=http\nhost=evil.example\n\n"
    assert answer("get", asked, token_file) == ""
    result = CliRunner().invoke(git_credential, ["get", "--url", "http://ci"], input=asked)
    assert result.stdout == ""
    assert "no token for http://evil.example: the coordinator is http://ci" in result.stderr


@pytest.mark.parametrize(
    ("asked", "url"),
    [
        ({"protocol": "http", "host": "ci"}, "http://ci"),
        ({"protocol": "https", "host": "ci"}, "https://ci:443"),
        ({"protocol": "http", "host": "ci:80"}, "http://ci"),
        ({"protocol": "https", "host": "CI.example"}, "https://ci.example"),
        ({"protocol": "https", "host": "ci", "path": "base/git/a/b.git"}, "https://ci/base"),
    ],
)
def test_the_coordinators_own_place_is_recognised(asked: dict[str, str], url: str) -> None:
    assert is_for(asked, url)


@pytest.mark.parametrize(
    ("asked", "url"),
    [
        ({}, "http://ci"),
        ({"protocol": "http", "host": "ci"}, "https://ci"),
        ({"protocol": "https", "host": "ci:8443"}, "https://ci"),
        ({"protocol": "https", "host": "ci.evil"}, "https://ci"),
        ({"protocol": "https", "host": "ci@evil"}, "https://ci"),
        ({"protocol": "https", "host": "ci:x"}, "https://ci"),
        ({"protocol": "https", "host": "ci", "path": "other/x.git"}, "https://ci/base"),
        ({"protocol": "https", "host": "ci", "path": "base-evil/x.git"}, "https://ci/base"),
    ],
)
def test_any_other_place_is_not(asked: dict[str, str], url: str) -> None:
    assert not is_for(asked, url)


def test_attributes_end_at_the_empty_line() -> None:
    assert parse_attributes(["a=1\n", "b=x=y\r\n", "\n", "c=3\n"]) == {"a": "1", "b": "x=y"}
