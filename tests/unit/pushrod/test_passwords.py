"""Passwords that commands read from a pipe or a file."""

from __future__ import annotations

from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from pushrod.commands.registry import login
from pushrod.commands.user import create, password

NOWHERE = ("--url", "http://127.0.0.1:1")


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        (create, ["ada@example.org"]),
        (password, ["ada@example.org"]),
        (login, ["registry.example", "--account", "default", "--username", "ada"]),
    ],
)
@pytest.mark.parametrize("given", ["", "\n", "\r\n"])
def test_an_empty_password_is_told_before_anybody_is_asked(
    command: click.Command, arguments: list[str], given: str, tmp_path: Path
) -> None:
    token, file = tmp_path / "token", tmp_path / "password"
    token.write_text("t0ken\n")
    file.write_bytes(given.encode())
    asked = [*arguments, *NOWHERE, "--token-file", str(token)]
    for words, piped in ((asked, given), ([*asked, "--password-file", str(file)], None)):
        result = CliRunner().invoke(command, words, input=piped)
        assert result.exit_code != 0
        assert "the password is empty" in str(result.exception) + result.output
