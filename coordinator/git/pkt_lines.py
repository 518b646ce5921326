"""Git's pkt-line framing and side bands, as far as a receive-pack's answer needs them. Pure.

gitprotocol-common(5), gitprotocol-pack(5).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

FLUSH = b"0000"
_LENGTH_BYTES = 4
_BANDS = (1, 2, 3)
_REPORT_BAND, _PROGRESS_BAND = b"\x01", b"\x02"
_PIECE_BYTES = 900

MAX_REMOTE_LINE_BYTES = 900
"""Below the 995 bytes of the old `side-band`, so that a line fits whichever was negotiated."""

_LENGTH = re.compile(rb"[0-9a-fA-F]{4}")
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


class MalformedPktLines(ValueError):
    """The bytes are not a sequence of whole pkt-lines."""


def split(body: bytes) -> Iterator[bytes | None]:
    """Yield each line's payload, None for a flush. Raises MalformedPktLines."""
    position = 0
    while position < len(body):
        digits = body[position : position + _LENGTH_BYTES]
        if not _LENGTH.fullmatch(digits):
            raise MalformedPktLines(f"no length at byte {position}")
        length = int(digits, 16)
        if length == 0:
            yield None
            position += _LENGTH_BYTES
            continue
        end = position + length
        if length < _LENGTH_BYTES or end > len(body):
            raise MalformedPktLines(f"the line at byte {position} has a wrong length")
        yield body[position + _LENGTH_BYTES : end]
        position = end


def encode(payload: bytes) -> bytes:
    return b"%04x" % (len(payload) + _LENGTH_BYTES) + payload


def is_side_banded(body: bytes) -> bool:
    """Whether an answer was made for a client that negotiated side bands.

    Then every line carries its band as first byte, and a flush ends the answer; a plain report
    begins with letters.
    """
    try:
        lines = list(split(body))
    except MalformedPktLines:
        return False
    return (
        len(lines) > 1
        and lines[-1] is None
        and all(line is not None and line[:1] and line[0] in _BANDS for line in lines[:-1])
    )


def with_refusal(body: bytes, reason: str) -> bytes:
    """A receive-pack's answer in which no ref was moved, with the reason for each that was.

    Raises MalformedPktLines where it has no report.
    """
    if not is_side_banded(body):
        return _refused(body, reason)
    lines = [line for line in split(body) if line is not None]
    report = b"".join(line[1:] for line in lines if line[:1] == _REPORT_BAND)
    others = b"".join(encode(line) for line in lines if line[:1] != _REPORT_BAND)
    refused = _refused(report, reason)
    pieces = (refused[at : at + _PIECE_BYTES] for at in range(0, len(refused), _PIECE_BYTES))
    return others + b"".join(encode(_REPORT_BAND + piece) for piece in pieces) + FLUSH


def _refused(report: bytes, reason: str) -> bytes:
    """gitprotocol-pack(5), report-status and report-status-v2."""
    words = next(_printable(reason))
    lines = []
    for line in split(report):
        if line is None or line.startswith(b"option "):  # of a ref that was moved
            continue
        kind, _, ref = line.rstrip(b"\n").partition(b" ")
        lines.append(b"ng %s %s\n" % (ref, words) if kind == b"ok" else line)
    if not lines or not lines[0].startswith(b"unpack "):
        raise MalformedPktLines("no report")
    return b"".join(encode(line) for line in lines) + FLUSH


def with_remote_lines(body: bytes, lines: Iterable[str]) -> bytes:
    """The answer with `lines` before its end, which git shows after `remote: `.

    An answer without side bands has no room for them and stays as it is.
    """
    if not is_side_banded(body):
        return body
    added = b"".join(
        encode(_PROGRESS_BAND + piece + b"\n") for line in lines for piece in _printable(line)
    )
    return body[: -len(FLUSH)] + added + FLUSH


def _printable(line: str) -> Iterator[bytes]:
    """The line without control characters, in pieces that don't tear a character apart."""
    text = _UNPRINTABLE.sub(" ", line)
    piece = b""
    for character in text:
        encoded = character.encode(errors="replace")
        if len(piece) + len(encoded) > MAX_REMOTE_LINE_BYTES:
            yield piece
            piece = b""
        piece += encoded
    yield piece
