from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pushrod.log_lines import LONGEST_PARTIAL_BYTES, PrefixedLines, prefix_for


def shown(*pieces: bytes) -> bytes:
    written: list[bytes] = []
    lines = PrefixedLines(prefix=b"> ", write=written.append)
    for piece in pieces:
        lines.feed(piece)
    lines.close()
    return b"".join(written)


def test_each_line_is_marked_however_the_bytes_arrive() -> None:
    assert shown(b"a\nb", b"c\n\nd") == b"> a\n> bc\n> \n> d\n"


def test_a_line_without_end_waits_for_its_end() -> None:
    written: list[bytes] = []
    lines = PrefixedLines(prefix=b"> ", write=written.append)
    lines.feed(b"half")
    assert written == []
    lines.feed(b" whole\n")
    assert written == [b"> half whole\n"]


def test_a_line_that_never_ends_is_shown_in_pieces() -> None:
    written: list[bytes] = []
    lines = PrefixedLines(prefix=b"> ", write=written.append)
    lines.feed(b"x" * (LONGEST_PARTIAL_BYTES + 1))
    assert len(written) == 1


@given(st.lists(st.binary(max_size=40)))
def test_no_byte_is_lost_or_invented(pieces: list[bytes]) -> None:
    whole = b"".join(pieces)
    lines = shown(*pieces).split(b"\n")[:-1]
    assert all(line.startswith(b"> ") for line in lines)
    assert b"\n".join(line[2:] for line in lines) == whole.removesuffix(b"\n")


def test_prefixes_align() -> None:
    assert prefix_for("lint", ["lint", "package"]) == "lint    | "
