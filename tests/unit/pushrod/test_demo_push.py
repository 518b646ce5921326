from __future__ import annotations

import shlex
from pathlib import Path

from pushrod.demo_push import PushTarget, credential_helper, example_folder, git_environment


def test_git_is_told_the_tokens_file_and_never_the_token(tmp_path: Path) -> None:
    token_file = tmp_path / "a folder; rm -rf" / "token"
    target = PushTarget(
        url="http://ci:3000", push_url="http://ci:3000/x.git", token_file=token_file
    )
    helper = credential_helper(target)
    assert helper.startswith("!")
    assert shlex.split(helper[1:])[-4:] == [
        "--url",
        "http://ci:3000",
        "--token-file",
        str(token_file),
    ]


def test_the_persons_git_configuration_plays_no_part() -> None:
    found = git_environment({"GIT_DIR": "/elsewhere", "GIT_CONFIG_COUNT": "1", "HOME": "/home/ada"})
    assert "GIT_DIR" not in found
    assert "GIT_CONFIG_COUNT" not in found
    assert found["HOME"] == "/home/ada"
    assert found["GIT_CONFIG_GLOBAL"] == "/dev/null"
    assert found["GIT_TERMINAL_PROMPT"] == "0"


def test_the_example_is_where_it_is_looked_for() -> None:
    assert (example_folder() / ".pushrod.yml").is_file()
