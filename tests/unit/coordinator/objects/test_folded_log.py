from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coordinator.object_ports import LogDigest
from coordinator.objects import folded_log
from coordinator.objects.folded_log import (
    BLOCK_BYTES,
    TRAILER,
    Blocks,
    FoldedIndex,
    FoldedWriter,
    decode_index,
    decode_trailer,
)
from coordinator.objects.log_format import DamagedLog
from pipelines_schema.log_frames import Frame, Stream


def folded(frames: Sequence[Frame], at_once: int = 3) -> bytes:
    writer = FoldedWriter()
    parts = [writer.add(frames[at : at + at_once]) for at in range(0, len(frames), at_once)]
    return b"".join(parts) + writer.end()


def opened(body: bytes) -> tuple[FoldedIndex, LogDigest]:
    trailer = decode_trailer("key", body[-TRAILER.size :])
    index = body[-TRAILER.size - trailer.index_bytes : -TRAILER.size]
    return decode_index("key", index, trailer), trailer.digest


def blocks_of(body: bytes, start: int, end: int) -> Blocks:
    """As they are read: only the range of the object that has them."""
    index, _ = opened(body)
    numbers = index.blocks(start, end)
    part = body[index.places[numbers.start] : index.places[numbers.stop]] if numbers else b""
    return Blocks(key="key", index=index, numbers=numbers, body=part)


def large_log() -> list[Frame]:
    """Of frames that are cut by the borders of blocks, one of them by two."""
    sizes = [100_000, BLOCK_BYTES - 100_001, 10, 3 * BLOCK_BYTES, 7, 150_000]
    return [
        Frame(
            stream=Stream(1 + number % 2),
            time_ms=number,
            data=b"".join(b"%d\n" % one for one in range(size))[:size],
        )
        for number, size in enumerate(sizes)
    ]


def test_frames_come_back_whole_though_blocks_cut_them() -> None:
    frames = large_log()
    text = b"".join(frame.data for frame in frames)
    body = folded(frames)
    index, digest = opened(body)
    assert digest == LogDigest(size=len(text), sha256=hashlib.sha256(text).hexdigest())
    assert len(index.offsets) == 6
    whole = blocks_of(body, 0, len(text))
    assert whole.text(0, len(text)) == text
    assert [line.frame for line in whole.frames(0, len(text))] == frames


def test_a_small_range_is_read_from_one_block() -> None:
    frames = large_log()
    text = b"".join(frame.data for frame in frames)
    body = folded(frames)
    for start in (0, BLOCK_BYTES - 1, BLOCK_BYTES, 2 * BLOCK_BYTES + 9, len(text) - 1):
        blocks = blocks_of(body, start, start + 1)
        assert len(blocks.numbers) == 1
        assert blocks.text(start, start + 1) == text[start : start + 1]
        [line] = blocks.frames(start, start + 1)
        assert (line.offset, line.frame.data) == (start, text[start : start + 1])


def test_the_index_knows_the_block_of_each_line_end() -> None:
    body = folded(large_log())
    text = b"".join(frame.data for frame in large_log())
    index, _ = opened(body)
    assert index.line_ends == text.count(b"\n")
    for number in (1, 2, index.lines[1], index.lines[1] + 1, index.line_ends):
        block = index.block_of_line_end(number)
        before = text[: index.offsets[block]].count(b"\n")
        through = text[: index.offsets[block + 1]].count(b"\n")
        assert before < number <= through


def test_zstd_reads_the_object_as_the_text(tmp_path: Path) -> None:
    """An operator needs no pushrod for it."""
    frames = large_log()
    path = tmp_path / "log.zst"
    path.write_bytes(folded(frames))
    program = "import sys; sys.stdout.buffer.write(zstd.open(sys.argv[1]).read())"
    code = f"from backports import zstd\n{program}"
    import sys

    if sys.version_info >= (3, 14):
        code = f"from compression import zstd\n{program}"
    read = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, check=True)
    assert read.stdout == b"".join(frame.data for frame in frames)


def test_an_empty_log_has_no_blocks() -> None:
    body = folded([])
    index, digest = opened(body)
    assert digest.size == 0
    assert not index.blocks(0, 0)
    assert index.line_ends == 0


@given(
    texts=st.lists(st.binary(min_size=1, max_size=40), max_size=30),
    start=st.integers(0, 600),
    length=st.integers(0, 600),
)
@settings(max_examples=100, deadline=None)
def test_any_range_is_that_of_the_text(texts: list[bytes], start: int, length: int) -> None:
    frames = [
        Frame(stream=Stream(1 + number % 2), time_ms=number, data=text)
        for number, text in enumerate(texts)
    ]
    text = b"".join(texts)
    end = min(start + length, len(text))
    blocks = blocks_of(folded(frames), start, end)
    expected = text[start:end] if start < end else b""
    assert blocks.text(start, end) == expected
    assert b"".join(line.frame.data for line in blocks.frames(start, end)) == expected


@pytest.mark.parametrize("cut", [0, 10, TRAILER.size - 1])
def test_what_has_no_trailer_is_damage(cut: int) -> None:
    with pytest.raises(DamagedLog):
        decode_trailer("key", folded(large_log())[-TRAILER.size :][:cut])


def test_a_block_of_other_bytes_is_damage() -> None:
    frames = large_log()
    body = folded(frames)
    index, _ = opened(body)
    numbers = index.blocks(0, BLOCK_BYTES)
    good = body[: index.places[1]]
    others = (
        bytes(len(good)),
        good[: len(good) // 2],
        folded_log.compress(bytes(BLOCK_BYTES + 1)),  # more than the index says
        folded_log.compress(bytes(BLOCK_BYTES)),
    )
    for bad in others:
        blocks = Blocks(key="key", index=index, numbers=numbers, body=bad)
        with pytest.raises(DamagedLog):
            blocks.text(0, BLOCK_BYTES)
        with pytest.raises(DamagedLog):
            blocks.frames(0, BLOCK_BYTES)
