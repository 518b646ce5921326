"""What `pushrod logs` writes to a terminal, and to what is none."""

from __future__ import annotations

import os
import pty
import subprocess
import sys

SHOW = """
from pushrod.audiences import MarkedLines, RawBytes
step = {"id": "s", "name": "test"}
for audience in (RawBytes(), MarkedLines(["test"])):
    audience.log_grew(step, 1, 0, b"\\x1b[31mred\\x1b[0m \\x1b]0;title\\x07\\rover\\n")
    audience.log_ended(step, 1)
"""
EXACT = b"\x1b[31mred\x1b[0m \x1b]0;title\x07\rover\n"


def _on_terminal() -> bytes:
    ours, theirs = pty.openpty()
    with os.fdopen(ours, "rb", buffering=0) as terminal:
        subprocess.run([sys.executable, "-c", SHOW], stdout=theirs, check=True, timeout=60)
        os.close(theirs)
        out = b""
        try:
            while piece := terminal.read(4096):
                out += piece
        except OSError:  # the end of a terminal nobody holds
            pass
    return out


def test_a_terminal_gets_colours_and_no_other_sequence() -> None:
    out = _on_terminal()
    assert out.count(b"\x1b[31mred\x1b[0m \\x1b]0;title\\x07\r\n") == 2
    assert b"\x1b]" not in out
    assert b" | \x1b[0mover" in out or b"| over" in out, "the prefix stands before each line"


def test_a_pipe_gets_the_log_to_the_byte() -> None:
    done = subprocess.run([sys.executable, "-c", SHOW], capture_output=True, check=True, timeout=60)
    assert done.stdout == EXACT + b"test | " + EXACT
