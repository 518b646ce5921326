"""A log on a terminal: colours, and nothing else that a terminal obeys."""

from __future__ import annotations

import pytest

from pushrod.terminal_text import SafeBytes


def shown(*pieces: bytes) -> bytes:
    out = bytearray()
    lines = SafeBytes(out.extend)
    for piece in pieces:
        lines.feed(piece)
    lines.close()
    return bytes(out)


@pytest.mark.parametrize(
    "log",
    [
        b"plain\n\ttabbed\r\n",
        b"\x1b[1;31mred\x1b[0m\n",
        b"\x1b[38:5:9mx\x1b[m",
        "žluť ✓\n".encode(),
    ],
)
def test_text_and_colours_stay_as_they_are_however_they_are_cut(log: bytes) -> None:
    assert shown(log) == log
    assert shown(*(log[place : place + 1] for place in range(len(log)))) == log


@pytest.mark.parametrize(
    ("log", "text"),
    [
        (b"\x1b]0;title\x07", rb"\x1b]0;title\x07"),
        (b"\x1b[2J\x1b[H", rb"\x1b[2J\x1b[H"),
        (b"\x1b[6n", rb"\x1b[6n"),
        (b"\xc2\x9b2J", rb"\x9b2J"),
        (b"\x9b2J", rb"\x9b2J"),
        (b"a\x08b\x7f\x00", rb"a\x08b\x7f\x00"),
        (b"\x1b[31", rb"\x1b[31"),
        (b"\x1b[31" + b"1" * 100 + b"m", rb"\x1b[31" + b"1" * 100 + b"m"),
    ],
)
def test_what_a_terminal_would_obey_is_written_out(log: bytes, text: bytes) -> None:
    assert shown(log) == text
    assert shown(*(log[place : place + 1] for place in range(len(log)))) == text


def test_a_carriage_return_begins_a_line_and_overwrites_none() -> None:
    assert shown(b"10%\r", b"20%\r", b"done\n") == b"10%\n20%\ndone\n"
