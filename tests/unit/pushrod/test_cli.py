from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import click
import pytest

from pushrod.cli import COMMANDS, pushrod

HEAVY = ("aiohttp", "grpc", "rich", "sqlalchemy", "alembic", "pydantic", "yaml", "coordinator")


def test_help_imports_nothing_heavy() -> None:
    program = (
        "import sys, contextlib, io\n"
        "sys.argv = ['pushrod', '--help']\n"
        "from pushrod.cli import main\n"
        "with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()):\n"
        "    main()\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])\n"
    )
    printed = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert printed.stdout == "[]\n"


def test_validate_loads_no_log_no_server_and_no_database() -> None:
    heavy = ("aiohttp", "grpc", "rich", "sqlalchemy", "structlog")
    program = (
        "import sys, pushrod.commands.validate\n"
        f"print([name for name in {heavy!r} if name in sys.modules])\n"
    )
    printed = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert printed.stdout == "[]\n"


@pytest.mark.parametrize(("raised", "code"), [("click.exceptions.Exit(3)", 3), ("OSError", 1)])
def test_all_that_is_to_happen_at_the_end_does_where_the_object_stores_library_was_used(
    raised: str, code: int
) -> None:
    program = (
        "import atexit, sys, tempfile, threading, click, obstore\n"
        "from pushrod.cli import main, pushrod\n"
        "def work(*_, **__):\n"
        "    folder = pushrod.folder = tempfile.TemporaryDirectory()\n"
        "    print(folder.name)\n"
        "    atexit.register(print, 'at the end')\n"
        "    ended = threading.main_thread().join\n"
        "    threading.Thread(target=lambda: (ended(), print('by a thread'))).start()\n"
        f"    raise {raised}\n"
        "pushrod.callback = work\n"
        "sys.argv = ['pushrod', 'doctor']\n"
        "main()\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    folder, *others = ended.stdout.splitlines()
    assert others == ["by a thread", "at the end"]
    assert not Path(folder).exists()
    assert ended.returncode == code


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_of_the_table_is_there(name: str) -> None:
    context = click.Context(pushrod)
    command = pushrod.get_command(context, name)
    assert command is not None
    assert command.name == name
    assert command.help


def test_an_unknown_command_is_a_usage_error() -> None:
    assert pushrod.get_command(click.Context(pushrod), "frobnicate") is None
