from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest

SHELLS = ("bash", "zsh", "fish")


def pushrod(*arguments: str, **variables: str) -> str:
    environment = {**os.environ, **variables}
    ran = subprocess.run(
        [sys.executable, "-m", "pushrod", *arguments],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
    )
    return ran.stdout


@pytest.mark.parametrize("shell", SHELLS)
def test_each_script_begins_with_how_to_install_it(shell: str) -> None:
    script = pushrod("completion", shell)
    assert script.startswith("# install: ")
    assert f"pushrod completion {shell}" in script.splitlines()[0]
    assert "_PUSHROD_COMPLETE" in script


@pytest.mark.parametrize("shell", SHELLS)
def test_the_shell_itself_accepts_its_script(shell: str) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"no {shell} here")
    checked = subprocess.run(
        [shell, "-n"], input=pushrod("completion", shell), text=True, capture_output=True
    )
    assert (checked.returncode, checked.stderr) == (0, "")


def test_commands_are_completed_from_the_table() -> None:
    offered = pushrod(_PUSHROD_COMPLETE="bash_complete", COMP_WORDS="pushrod co", COMP_CWORD="1")
    assert offered.split() == ["plain,coordinator", "plain,completion"]


def test_the_options_of_a_command_are_completed() -> None:
    offered = pushrod(
        _PUSHROD_COMPLETE="bash_complete", COMP_WORDS="pushrod doctor --js", COMP_CWORD="2"
    )
    assert offered.split() == ["plain,--json"]


def test_completing_a_command_imports_none() -> None:
    program = (
        "import contextlib, os, sys\n"
        "os.environ.update(\n"
        "    _PUSHROD_COMPLETE='bash_complete', COMP_WORDS='pushrod ', COMP_CWORD='1')\n"
        "from pushrod.cli import main\n"
        "with contextlib.suppress(SystemExit):\n"
        "    main()\n"
        "loaded = [name for name in sys.modules if name.startswith('pushrod.commands.')]\n"
        "print(loaded, file=sys.stderr)\n"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (ran.stderr, ran.returncode) == ("[]\n", 0)
    assert "plain,doctor" in ran.stdout
