"""Ctrl-C where Python calls us back from places of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pushrod.interrupts import is_interrupt

WORKFLOW = "steps:\n  - name: one\n    run: 'true'\n"
PROGRAM = """
import signal, sys
function, turn, *words = sys.argv[1:]
turns = 0

def interrupt(frame, event, _):
    global turns
    if event == "call" and frame.f_code.co_name == function:
        turns += 1
        if turns == int(turn):
            sys.setprofile(None)
            print("interrupted", flush=True)
            signal.raise_signal(signal.SIGINT)

from pushrod.__main__ import main
sys.argv = ["pushrod", *words]
sys.setprofile(interrupt)
main()
"""


def caused(outer: BaseException, inner: BaseException) -> BaseException:
    outer.__cause__ = inner
    return outer


def while_handling(outer: BaseException, inner: BaseException) -> BaseException:
    outer.__context__ = inner
    return outer


def in_a_circle() -> BaseException:
    group = ExceptionGroup("several", [ValueError(), RuntimeError()])
    return caused(group.exceptions[0], group)


@pytest.mark.parametrize(
    "error",
    [
        KeyboardInterrupt(),
        caused(RuntimeError("Error calling __set_name__"), KeyboardInterrupt()),
        caused(ImportError("this is needed"), caused(SystemError("a result"), KeyboardInterrupt())),
        while_handling(OSError(), KeyboardInterrupt()),
        BaseExceptionGroup("several", [ValueError(), KeyboardInterrupt()]),
        ExceptionGroup("several", [ValueError(), caused(ValueError(), KeyboardInterrupt())]),
    ],
    ids=repr,
)
def test_an_error_that_an_interrupt_has_caused_is_one(error: BaseException) -> None:
    assert is_interrupt(error)


@pytest.mark.parametrize(
    "make",
    [
        RuntimeError,
        in_a_circle,
        # What says of itself that it has nothing to do with that.
        lambda: while_handling(caused(ValueError(), OSError()), KeyboardInterrupt()),
    ],
)
def test_others_are_none(make: Callable[[], BaseException]) -> None:
    assert not is_interrupt(make())


@pytest.mark.parametrize("turn", [40, 200])
@pytest.mark.parametrize(
    "function",
    [
        pytest.param(
            "__set_name__",
            marks=pytest.mark.skipif(sys.version_info >= (3, 12), reason="no longer wrapped"),
        ),
        "cb",  # importlib's, when the lock of a module goes
    ],
)
def test_a_command_ends_silently_wherever_it_was_interrupted(
    function: str, turn: int, tmp_path: Path
) -> None:
    (tmp_path / ".pushrod.yml").write_text(WORKFLOW)
    words = [function, str(turn), "validate", str(tmp_path)]
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM, *words], capture_output=True, text=True, timeout=60
    )
    assert (ended.stdout, ended.stderr.strip()) == ("interrupted\n", "")
    assert ended.returncode in (130, -2)
