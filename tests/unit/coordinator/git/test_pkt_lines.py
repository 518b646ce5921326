from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.git.pkt_lines import (
    FLUSH,
    MAX_REMOTE_LINE_BYTES,
    MalformedPktLines,
    encode,
    is_side_banded,
    split,
    with_remote_lines,
)

REPORT = b"000eunpack ok\n0017ok refs/heads/main\n0000"
BANDED = encode(b"\x01" + REPORT) + FLUSH


def shown(answer: bytes) -> list[str]:
    """The lines of band 2."""
    return [line[1:].decode() for line in split(answer) if line and line[:1] == b"\x02"]


def test_a_line_is_encoded_with_its_own_length() -> None:
    assert encode(b"a\n") == b"0006a\n"


@given(st.lists(st.none() | st.binary(min_size=1, max_size=50)))
def test_splitting_gives_back_what_was_encoded(payloads: list[bytes | None]) -> None:
    body = b"".join(FLUSH if payload is None else encode(payload) for payload in payloads)
    assert list(split(body)) == payloads


@pytest.mark.parametrize("body", [b"0", b"zzzz", b"0001", b"0003", b"0009abcd", b"+00a123456"])
def test_what_is_no_sequence_of_lines_is_refused(body: bytes) -> None:
    with pytest.raises(MalformedPktLines):
        list(split(body))


def test_remote_lines_come_before_the_end_of_the_answer() -> None:
    answer = with_remote_lines(BANDED, ["first", "second"])
    assert list(split(answer)) == [b"\x01" + REPORT, b"\x02first\n", b"\x02second\n", None]


@pytest.mark.parametrize("body", [b"", FLUSH, REPORT, BANDED[:-4], BANDED[:-1], b"fatal: no"])
def test_an_answer_without_side_bands_stays_as_it_is(body: bytes) -> None:
    assert not is_side_banded(body)
    assert with_remote_lines(body, ["line"]) == body


def test_without_remote_lines_the_answer_stays_as_it_is() -> None:
    assert with_remote_lines(BANDED, []) == BANDED


@given(st.lists(st.text(max_size=3000), max_size=4))
def test_any_text_becomes_short_lines_without_control_characters(lines: list[str]) -> None:
    answer = with_remote_lines(BANDED, lines)
    pieces = shown(answer)
    assert len(pieces) >= len(lines)
    for piece in pieces:
        assert len(piece.encode()) <= MAX_REMOTE_LINE_BYTES + 1
        assert piece.endswith("\n")
        assert not any(ord(character) < 32 or ord(character) == 127 for character in piece[:-1])


def test_a_line_is_never_cut_within_a_character() -> None:
    assert "".join(shown(with_remote_lines(BANDED, ["ü" * 2000]))).replace("\n", "") == "ü" * 2000
