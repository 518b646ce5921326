"""git's report of a push, as it is when nothing of it was stored."""

from __future__ import annotations

import pytest

from coordinator.git.pkt_lines import FLUSH, MalformedPktLines, encode, split, with_refusal

REPORT = b"".join(
    encode(line)
    for line in (
        b"unpack ok\n",
        b"ok refs/heads/main\n",
        b"option refname refs/heads/main\n",
        b"ng refs/heads/side non-fast-forward\n",
    )
)
REFUSED = [
    b"unpack ok\n",
    b"ng refs/heads/main no room\n",
    b"ng refs/heads/side non-fast-forward\n",
    None,
]


def test_a_report_of_its_own() -> None:
    assert list(split(with_refusal(REPORT + FLUSH, "no\nroom"))) == REFUSED


@pytest.mark.parametrize("names", [1, 400])
def test_a_report_in_a_side_band(names: int) -> None:
    report = REPORT + b"".join(encode(b"ok refs/heads/%d\n" % n) for n in range(names)) + FLUSH
    answer = encode(b"\x02counting\n") + encode(b"\x01" + report) + FLUSH
    lines = list(split(with_refusal(answer, "no room")))
    assert lines[0] == b"\x02counting\n"
    assert lines[-1] is None
    inner = b"".join(line[1:] for line in lines[1:-1] if line is not None)
    assert all(line is not None and len(line) < 995 and line[:1] == b"\x01" for line in lines[1:-1])
    told = list(split(inner))
    assert told[:3] == REFUSED[:3]
    assert told[3:] == [b"ng refs/heads/%d no room\n" % n for n in range(names)] + [None]


@pytest.mark.parametrize("body", [b"", FLUSH, b"no report", encode(b"ERR gone\n")])
def test_an_answer_without_a_report(body: bytes) -> None:
    with pytest.raises(MalformedPktLines):
        with_refusal(body, "no room")
