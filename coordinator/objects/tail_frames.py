"""The body of a tail's piece: the frames of its text, as they come over the wire, so that bodies
put one after the other are the body of a longer piece. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from coordinator.object_ports import LogLine
from pipelines_schema.log_frames import Frame, decode, encode

body_of = encode


def text_of(bodies: Iterable[tuple[int, bytes]]) -> bytes:
    return b"".join(frame.data for _, body in bodies for frame in decode(body))


def cut_tail(bodies: Sequence[tuple[int, bytes]], start: int, end: int) -> Sequence[LogLine]:
    """The frames between two offsets, the first and the last cut to fit; each body with the offset
    at which it begins.

    Raises FileNotFoundError where the bodies don't have all of that: it has gone into a chunk.
    """
    found: list[LogLine] = []
    reached = start
    for position, body in bodies:
        for frame in decode(body):
            first, last = max(position, start), min(position + len(frame.data), end)
            if first < last:
                if first != reached:
                    raise FileNotFoundError(f"text from {reached} to {first}")
                data = frame.data[first - position : last - position]
                cut = Frame(stream=frame.stream, time_ms=frame.time_ms, data=data)
                found.append(LogLine(offset=first, frame=cut))
                reached = last
            position += len(frame.data)
    if reached < end:
        raise FileNotFoundError(f"text from {reached} to {end}")
    return found
