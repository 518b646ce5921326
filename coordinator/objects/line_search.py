"""Lines of a log whose line ends nobody has counted: it is read from its beginning."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from coordinator.object_ports import LogRange

_STEP_BYTES = 1024 * 1024


async def find_lines(
    read: Callable[[int, int], Awaitable[bytes]], first: int, count: int, max_bytes: int
) -> LogRange:
    """`read` gives at most so many bytes from an offset on, nothing at the end. In bounded memory
    but for what is returned."""
    offset, found, pieces, start = 0, 0, [], 0 if first == 0 else None
    left = max_bytes
    while left > 0 and (text := await read(offset, _STEP_BYTES)):
        at = 0
        if start is None:
            at, found = _skipped(text, first, found)
            if found < first:
                offset += len(text)
                continue
            start, found = offset + at, 0
        end, found = _skipped(text, count, found, at)
        pieces.append(text[at : min(end, at + left)])
        left -= len(pieces[-1])
        offset += len(text)
        if found == count:
            break
    return LogRange(offset=offset if start is None else start, data=b"".join(pieces))


def _skipped(text: bytes, wanted: int, found: int, at: int = 0) -> tuple[int, int]:
    """Behind the line end that makes `found` as many as `wanted`, or the end; and how many there
    are by then."""
    while found < wanted:
        line_end = text.find(b"\n", at)
        if line_end < 0:
            return len(text), found
        at, found = line_end + 1, found + 1
    return at, found
