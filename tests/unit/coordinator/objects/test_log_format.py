from __future__ import annotations

import pytest

from coordinator.object_ports import LogDigest
from coordinator.objects.log_format import (
    HEADER,
    RECORD,
    DamagedLog,
    chunk_bytes,
    chunk_key,
    chunk_offset,
    cut_lines,
    decode_header,
    decode_seal,
    decode_trailer,
    encode_chunk,
    encode_seal,
    frame_count,
)
from pipelines_schema.log_frames import Frame, Stream
from tests.old_logs import frames_object

FRAMES = [
    Frame(stream=Stream.STDOUT, time_ms=5, data=b"abc"),
    Frame(stream=Stream.STDERR, time_ms=6, data=b"de"),
]
DIGEST = LogDigest(size=5, sha256="0" * 64)


def test_a_chunk_says_how_long_it_is() -> None:
    body = encode_chunk(FRAMES)
    header = decode_header("key", body[: HEADER.size])
    assert (header.sealed, header.text_bytes, header.frame_count) == (False, 5, 2)
    assert chunk_bytes(header) == len(body)
    assert frame_count(len(body), 5) == 2


@pytest.mark.parametrize("text_bytes", [4, 6, 31, 32, 1000])
def test_a_chunk_of_another_length_has_no_number_of_frames(text_bytes: int) -> None:
    assert frame_count(len(encode_chunk(FRAMES)), text_bytes) is None


@pytest.mark.parametrize("header", [b"", b"PRC1", b"ELF!" + bytes(12)])
def test_what_is_no_header_is_damage(header: bytes) -> None:
    with pytest.raises(DamagedLog):
        decode_header("key", header)


def test_a_seal_keeps_the_digest_and_is_no_chunk() -> None:
    seal = encode_seal(DIGEST)
    assert decode_header("key", seal[: HEADER.size]).sealed
    assert decode_seal("key", seal) == DIGEST
    with pytest.raises(DamagedLog):
        decode_seal("key", encode_chunk(FRAMES))


@pytest.mark.parametrize("offset", [0, 1, 10**15])
def test_a_chunks_key_says_its_offset(offset: int) -> None:
    assert chunk_offset(chunk_key("logs/a-1", offset)) == offset


@pytest.mark.parametrize("name", ["text", "frames", "1", "0000000000000001x", "-000000000000001"])
def test_another_key_has_no_offset(name: str) -> None:
    assert chunk_offset(f"logs/a-1/{name}") is None


def test_lines_are_cut_to_the_range_asked_for() -> None:
    body = encode_chunk(FRAMES)
    records = body[HEADER.size + 5 :]
    lines = list(cut_lines(records, b"cd", records_at=10, text_at=12, start=12, end=14))
    assert [(line.offset, line.frame.data, line.frame.time_ms) for line in lines] == [
        (12, b"c", 5),
        (13, b"d", 6),
    ]


def test_the_end_of_the_frames_says_their_blocks_and_length() -> None:
    frames = [Frame(stream=Stream.STDOUT, time_ms=0, data=b"ab")] * 1500
    frames += [Frame(stream=Stream.STDERR, time_ms=0, data=b"abc")] * 600
    body = frames_object(frames)
    end = body[len(frames) * RECORD.size :]
    trailer = decode_trailer("key", end[-20:])
    assert (trailer.block_count, trailer.text_bytes) == (3, 4800)
    offsets = [int.from_bytes(end[at : at + 8], "big") for at in (0, 8, 16)]
    assert offsets == [0, 2048, 3000 + 548 * 3]
