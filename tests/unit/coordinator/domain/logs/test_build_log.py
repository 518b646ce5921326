"""Lines of a log from its frames, and the cursor into the logs of several steps."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.domain.logs.build_log import (
    MAX_MESSAGE_BYTES,
    Cursor,
    Level,
    Line,
    Place,
    lines_of,
    parse_cursor,
)
from pipelines_schema.log_frames import Frame, Stream


def frames(*parts: tuple[Stream, bytes]) -> list[tuple[int, Frame]]:
    found, offset = [], 0
    for time_ms, (stream, data) in enumerate(parts):
        found.append((offset, Frame(stream=stream, time_ms=time_ms * 1000, data=data)))
        offset += len(data)
    return found


def out(*data: bytes) -> list[tuple[int, Frame]]:
    return frames(*((Stream.STDOUT, one) for one in data))


def texts(lines: list[Line]) -> list[str]:
    return [line.text for line in lines]


def test_each_line_has_its_text_its_end_and_the_time_of_its_beginning() -> None:
    lines = lines_of(out(b"one\ntw", b"o\nthree\n"), ended=False)
    assert texts(lines) == ["one", "two", "three"]
    assert [line.end for line in lines] == [4, 8, 14]
    assert [line.time.timestamp() for line in lines] == [0, 0, 1]


def test_what_has_no_end_yet_waits_for_it() -> None:
    assert texts(lines_of(out(b"one\ntw"), ended=False)) == ["one"]
    assert texts(lines_of(out(b"one\ntw"), ended=True)) == ["one", "two"[:2]]
    assert lines_of(out(), ended=True) == []
    assert texts(lines_of(out(b"one\n"), ended=True)) == ["one"]


def test_stderr_is_a_warning_and_does_not_run_into_stdout() -> None:
    lines = lines_of(frames((Stream.STDOUT, b"a"), (Stream.STDERR, b"b\nc\n")), ended=False)
    assert [(line.text, line.level, line.end) for line in lines] == [
        ("a", Level.INFO, 1),
        ("b", Level.WARN, 3),
        ("c", Level.WARN, 5),
    ]


def test_empty_lines_and_carriage_returns() -> None:
    assert texts(lines_of(out(b"\n\r\nx\r\n"), ended=False)) == ["", "", "x"]


def test_what_is_not_utf8_is_replaced() -> None:
    assert texts(lines_of(out(b"\xff\xfe\n"), ended=False)) == ["\ufffd\ufffd"]


def test_a_long_line_comes_in_pieces_that_cut_no_character() -> None:
    text = "ü" * MAX_MESSAGE_BYTES
    for size in (1000, 100_000):
        data = b"x" + text.encode() + b"\n"
        lines = lines_of(
            out(*(data[at : at + size] for at in range(0, len(data), size))), ended=False
        )
        assert "".join(texts(lines)) == "x" + text
        assert len(lines) == 3
        assert all(len(line.text.encode()) <= MAX_MESSAGE_BYTES for line in lines)
        assert lines[-1].end == len(data)


pieces = st.lists(
    st.tuples(
        st.sampled_from(Stream),
        st.lists(st.sampled_from([b"a", b"\n", "é".encode(), b"zz" * 5000]), max_size=8).map(
            b"".join
        ),
    ).filter(lambda part: part[1]),
    max_size=8,
)


@given(parts=pieces, data=st.data())
def test_going_on_after_any_line_gives_the_same_lines(
    parts: list[tuple[Stream, bytes]], data: st.DataObject
) -> None:
    whole = frames(*parts)
    lines = lines_of(whole, ended=True)
    assert [a.end < b.end for a, b in pairwise(lines)] == [True] * max(len(lines) - 1, 0)
    end = sum(len(part[1]) for part in parts)
    assert (lines[-1].end if lines else 0) == end, "nothing is lost"
    start = data.draw(st.sampled_from([0, *[line.end for line in lines]]))
    rest = [
        (max(offset, start), Frame(stream=one.stream, time_ms=one.time_ms, data=cut))
        for offset, one in whole
        if (cut := one.data[max(start - offset, 0) :])
    ]
    assert lines_of(rest, ended=True) == [line for line in lines if line.end > start]


def test_what_is_read_live_is_what_is_read_afterwards() -> None:
    whole = out(b"one\ntw", b"o\n")
    assert lines_of(whole[:1], ended=False) == lines_of(whole, ended=True)[:1]


cursors = st.builds(
    lambda done, places: Cursor(
        done=frozenset(done), places={key: places[key] for key in places if key not in done}
    ),
    st.sets(st.integers(1, 300)),
    st.dictionaries(
        st.integers(1, 300),
        st.builds(Place, attempt=st.integers(0, 99), offset=st.integers(0, 10**12)),
        max_size=20,
    ),
)


@given(cursor=cursors)
def test_a_cursor_is_read_as_it_was_written(cursor: Cursor) -> None:
    assert parse_cursor(str(cursor)) == cursor


def test_a_cursor_is_short_while_few_steps_are_under_way() -> None:
    cursor = Cursor().past(1).past(2).past(3).at(5, Place(attempt=1, offset=77))
    assert str(cursor) == "1-3,5:1:77"
    assert str(Cursor()) == "0"


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "x",
        "1,",
        "1-2-3",
        "1:2",
        "1:2:3:4",
        "-1",
        "1-99999999",
        "²",
        "0-999999",
        "1," * 3000,
    ],
)
def test_what_is_no_cursor_is_told(text: str) -> None:
    assert parse_cursor(text) is None
