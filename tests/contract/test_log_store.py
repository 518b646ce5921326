"""One suite over every implementation of object_ports.LogStore."""

from __future__ import annotations

import asyncio
import hashlib
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import obstore
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from obstore.store import MemoryStore, ObjectStore

from coordinator.object_ports import (
    LogClosed,
    LogDigest,
    LogLine,
    LogRange,
    LogTails,
    OffsetMismatch,
)
from coordinator.objects.log_format import (
    HEADER,
    DamagedLog,
    InvalidAttemptId,
    chunk_key,
    encode_chunk,
)
from coordinator.objects.log_writing import TAIL_BYTES
from coordinator.objects.logs import ObjectLogStore
from coordinator.objects.places import open_objects
from coordinator.objects.stores import open_store
from pipelines_schema.log_frames import Frame, Stream
from tests.database_tails import open_tails
from tests.interruption import cancelled_at
from tests.s3_server import S3Server

Coordinator = Callable[[], ObjectLogStore]
ATTEMPT = "0b8f4f3c-6a55-4d8e-9c8a-1f2e3d4c5b6a-1"


@pytest.fixture(params=["local", "memory", "s3"])
def objects(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    if request.param == "memory":
        return MemoryStore()
    if request.param == "local":
        return open_store(tmp_path / "objects")
    request.getfixturevalue("on_servers")
    server: S3Server = request.getfixturevalue("s3_server")
    return open_objects(server.place(tmp_path / "credentials", tmp_path.name))


@pytest.fixture
async def tails(objects: ObjectStore, tmp_path: Path) -> AsyncIterator[LogTails]:
    """After the objects, which say whether the database is on a server, too."""
    async with open_tails(tmp_path / "database") as tails:
        yield tails


@pytest.fixture(params=[0, 5, TAIL_BYTES], ids=["no-tail", "short-tail", "tail"])
def coordinator(
    request: pytest.FixtureRequest, objects: ObjectStore, tails: LogTails
) -> Coordinator:
    """One more of several with the same store and database."""
    return lambda: ObjectLogStore(objects, tails, tail_bytes=request.param)


@pytest.fixture
def logs(coordinator: Coordinator) -> ObjectLogStore:
    return coordinator()


def out(data: bytes, time_ms: int = 1) -> Frame:
    return Frame(stream=Stream.STDOUT, time_ms=time_ms, data=data)


def err(data: bytes, time_ms: int = 1) -> Frame:
    return Frame(stream=Stream.STDERR, time_ms=time_ms, data=data)


async def keys(objects: ObjectStore) -> list[str]:
    found = await obstore.list(objects, "logs").collect_async()
    return sorted(entry["path"].rpartition("/")[2] for entry in found)


async def test_an_unknown_log_is_empty(logs: ObjectLogStore) -> None:
    assert await logs.size(ATTEMPT) == 0
    assert await logs.read(ATTEMPT, 0, 100) == b""
    assert await logs.frames(ATTEMPT, 0, 100) == []
    assert (await logs.digest(ATTEMPT)).sha256 == hashlib.sha256().hexdigest()


async def test_what_was_appended_is_read_from_any_offset(logs: ObjectLogStore) -> None:
    assert await logs.append(ATTEMPT, 0, [out(b"hello "), err(b"cruel ")]) == 12
    assert await logs.append(ATTEMPT, 12, [out(b"world")]) == 17
    assert await logs.size(ATTEMPT) == 17
    text = b"hello cruel world"
    for start in range(20):
        for length in (0, 1, 5, 17, 100):
            assert await logs.read(ATTEMPT, start, length) == text[start : start + length]


async def test_frames_keep_stream_and_time_and_are_cut_at_the_edges(logs: ObjectLogStore) -> None:
    await logs.append(ATTEMPT, 0, [out(b"abc", 10), err(b"def", 20)])
    await logs.append(ATTEMPT, 6, [out(b"ghi", 30)])
    assert await logs.frames(ATTEMPT, 1, 6) == [
        LogLine(offset=1, frame=out(b"bc", 10)),
        LogLine(offset=3, frame=err(b"def", 20)),
        LogLine(offset=6, frame=out(b"g", 30)),
    ]


@pytest.mark.parametrize("offset", [0, 4, 6, 999])
async def test_a_wrong_offset_says_where_to_resume(logs: ObjectLogStore, offset: int) -> None:
    await logs.append(ATTEMPT, 0, [out(b"hello")])
    with pytest.raises(OffsetMismatch) as mismatch:
        await logs.append(ATTEMPT, offset, [out(b"hello")])
    assert mismatch.value.expected == 5
    assert await logs.read(ATTEMPT, 0, 100) == b"hello"


async def test_an_append_of_nothing_stores_nothing(
    logs: ObjectLogStore, objects: ObjectStore
) -> None:
    assert await logs.append(ATTEMPT, 0, [out(b"")]) == 0
    assert await keys(objects) == []


async def test_of_concurrent_appends_at_one_offset_exactly_one_succeeds(
    coordinator: Coordinator,
) -> None:
    coordinators = [coordinator() for _ in range(4)]
    for round_number in range(5):
        results = await asyncio.gather(
            *(
                store.append(ATTEMPT, round_number * 3, [out(b"%d%02d" % (round_number, index))])
                for index, store in enumerate(coordinators * 2)
            ),
            return_exceptions=True,
        )
        ends = [(round_number + 1) * 3]
        assert [result for result in results if isinstance(result, int)] == ends
        refused = [result for result in results if isinstance(result, OffsetMismatch)]
        assert len(refused) == 7
        assert {mismatch.expected for mismatch in refused} == set(ends)
    assert len({await store.read(ATTEMPT, 0, 100) for store in coordinators}) == 1


async def test_two_coordinators_take_turns(coordinator: Coordinator) -> None:
    first, second = coordinator(), coordinator()
    size, text = 0, b""
    for number in range(10):
        store = (first, second)[number % 2]
        size = await store.append(ATTEMPT, size, [out(b"line %d\n" % number)])
        text += b"line %d\n" % number
        other = (second, first)[number % 2]
        assert await other.read(ATTEMPT, size - 7, 100) == text[-7:]
        assert await other.size(ATTEMPT) == size
    assert (await first.digest(ATTEMPT)).sha256 == hashlib.sha256(text).hexdigest()


async def test_a_restarted_coordinator_knows_the_log_by_its_objects(
    coordinator: Coordinator,
) -> None:
    before = coordinator()
    await before.append(ATTEMPT, 0, [out(b"hello ")])
    await before.append(ATTEMPT, 6, [err(b"world")])
    after = coordinator()
    assert await after.size(ATTEMPT) == 11
    assert await after.append(ATTEMPT, 11, [out(b"!")]) == 12
    assert (await after.digest(ATTEMPT)).sha256 == hashlib.sha256(b"hello world!").hexdigest()


async def test_a_closed_log_reads_as_before_from_one_object(
    logs: ObjectLogStore, objects: ObjectStore, coordinator: Coordinator
) -> None:
    for number in range(10):
        await logs.append(ATTEMPT, number * 2, [out(b"a", number), err(b"b", number)])
    before = await logs.frames(ATTEMPT, 3, 9)
    digest = await logs.digest(ATTEMPT)
    await logs.close(ATTEMPT)
    assert await keys(objects) == ["log.zst"]
    for store in (logs, coordinator()):
        assert await store.frames(ATTEMPT, 3, 9) == before
        assert await store.read(ATTEMPT, 0, 100) == b"ab" * 10
        assert await store.read(ATTEMPT, 20, 100) == b""
        assert await store.size(ATTEMPT) == 20
        assert await store.digest(ATTEMPT) == digest
        await store.close(ATTEMPT)


async def test_an_empty_log_can_be_closed(logs: ObjectLogStore, coordinator: Coordinator) -> None:
    await logs.close(ATTEMPT)
    for store in (logs, coordinator()):
        assert await store.read(ATTEMPT, 0, 10) == b""
        assert await store.frames(ATTEMPT, 0, 10) == []
        assert (await store.digest(ATTEMPT)).size == 0


async def test_nothing_is_appended_to_a_closed_log(coordinator: Coordinator) -> None:
    closing, behind = coordinator(), coordinator()
    await closing.append(ATTEMPT, 0, [out(b"abc")])
    assert await behind.size(ATTEMPT) == 3
    await closing.append(ATTEMPT, 3, [out(b"def")])
    await closing.close(ATTEMPT)
    for offset in (3, 6):
        with pytest.raises(OffsetMismatch) as refusal:
            await behind.append(ATTEMPT, offset, [out(b"xyz")])
        assert refusal.value.expected == 6
    with pytest.raises(LogClosed):
        await closing.append(ATTEMPT, 6, [out(b"xyz")])
    assert await coordinator().read(ATTEMPT, 0, 100) == b"abcdef"
    assert await closing.append(ATTEMPT, 6, []) == 6


async def test_a_log_that_another_coordinator_folded_is_still_read(
    coordinator: Coordinator,
) -> None:
    reading, closing = coordinator(), coordinator()
    await reading.append(ATTEMPT, 0, [out(b"abc")])
    await reading.append(ATTEMPT, 3, [err(b"def")])
    await closing.close(ATTEMPT)
    assert await reading.read(ATTEMPT, 1, 4) == b"bcde"
    assert [line.frame.data for line in await reading.frames(ATTEMPT, 1, 4)] == [b"bc", b"de"]


async def test_two_coordinators_close_one_log_at_once(
    objects: ObjectStore, coordinator: Coordinator
) -> None:
    stores = [coordinator() for _ in range(4)]
    for number in range(30):
        await stores[0].append(ATTEMPT, number, [out(b"x")])
    await asyncio.gather(*(store.close(ATTEMPT) for store in stores))
    assert await keys(objects) == ["log.zst"]
    for store in stores:
        assert await store.read(ATTEMPT, 0, 100) == b"x" * 30


async def test_a_chunk_torn_by_a_power_cut_is_sent_again(
    logs: ObjectLogStore, objects: ObjectStore, coordinator: Coordinator
) -> None:
    await logs.append(ATTEMPT, 0, [out(b"whole")])
    await logs.flush(ATTEMPT)
    body = encode_chunk([out(b"torn apart")])
    for length in (0, 3, HEADER.size, len(body) - 1):
        key = chunk_key(f"logs/{ATTEMPT}", 5)
        await obstore.put_async(objects, key, body[:length])
        assert await coordinator().size(ATTEMPT) == 5
        assert await keys(objects) == ["0000000000000000"]
    assert await logs.size(ATTEMPT) == 5
    await obstore.put_async(objects, key, body[:-1])
    assert await logs.append(ATTEMPT, 5, [out(b"torn apart")]) == 15
    assert await coordinator().read(ATTEMPT, 0, 100) == b"wholetorn apart"


async def test_a_torn_chunk_takes_nothing_along_that_was_acknowledged(
    objects: ObjectStore, tails: LogTails
) -> None:
    """A power cut after the chunk was created, before it was durable: its length is right."""
    logs = ObjectLogStore(objects, tails, tail_bytes=5)
    await logs.append(ATTEMPT, 0, [out(b"whole")])
    await logs.append(ATTEMPT, 5, [out(b"not acknowledged")])
    key = chunk_key(f"logs/{ATTEMPT}", 0)
    whole = bytes(await (await obstore.get_async(objects, key)).bytes_async())
    torn = whole[: HEADER.size] + bytes(len(whole) - HEADER.size)
    await obstore.put_async(objects, key, torn)
    after = ObjectLogStore(objects, tails, tail_bytes=5)
    assert await after.read(ATTEMPT, 0, 100) == b"whole"
    assert await after.append(ATTEMPT, 5, [out(b" again")]) == 11
    assert await ObjectLogStore(objects, tails).read(ATTEMPT, 0, 100) == b"whole again"


async def test_a_missing_chunk_is_told_and_not_skipped(
    objects: ObjectStore, tails: LogTails
) -> None:
    logs = ObjectLogStore(objects, tails, tail_bytes=0)
    for number in range(3):
        await logs.append(ATTEMPT, number * 2, [out(b"%02d" % number)])
    await obstore.delete_async(objects, chunk_key(f"logs/{ATTEMPT}", 2))
    with pytest.raises(DamagedLog):
        await ObjectLogStore(objects, tails).read(ATTEMPT, 0, 100)


@pytest.mark.parametrize("attempt_id", ["", "../x", "a/b", "a b", "ü", "a" * 101, "a\n"])
async def test_an_attempt_id_that_is_no_plain_word_is_refused(
    logs: ObjectLogStore, attempt_id: str
) -> None:
    with pytest.raises(InvalidAttemptId):
        await logs.append(attempt_id, 0, [out(b"x")])


async def test_more_logs_than_are_remembered_stay_right(
    objects: ObjectStore, tails: LogTails
) -> None:
    logs = ObjectLogStore(objects, tails, remembered_logs=2)
    for name in "abcdabcd":
        size = await logs.size(name)
        await logs.append(name, size, [out(name.encode())])
    assert [await logs.read(name, 0, 10) for name in "abcd"] == [b"aa", b"bb", b"cc", b"dd"]


frame_lists = st.lists(
    st.builds(
        Frame,
        stream=st.sampled_from(Stream),
        time_ms=st.integers(0, 2**40),
        data=st.lists(st.sampled_from([b"\n", b"a", b"\xff", b"line"]), max_size=6).map(b"".join),
    ),
    max_size=6,
)


@given(
    chunks=st.lists(frame_lists, max_size=8),
    reads=st.lists(st.tuples(st.integers(0, 200), st.integers(0, 200)), max_size=5),
    restarts=st.sets(st.integers(0, 8)),
    tail_bytes=st.sampled_from([0, 1, 20, TAIL_BYTES]),
    end=st.sampled_from(["open", "flushed", "closed", "folded"]),
)
@settings(max_examples=60, deadline=None)
def test_any_split_into_frames_chunks_and_reads_gives_the_same_text(
    chunks: list[list[Frame]],
    reads: list[tuple[int, int]],
    restarts: set[int],
    tail_bytes: int,
    end: str,
) -> None:
    async def check() -> None:
        with tempfile.TemporaryDirectory() as folder:
            async with open_tails(Path(folder) / "database") as tails:
                for objects in (MemoryStore(), open_store(Path(folder) / "objects")):
                    await check_split(
                        lambda objects=objects: ObjectLogStore(
                            objects, tails, tail_bytes=tail_bytes
                        ),
                        chunks,
                        reads,
                        restarts,
                        end,
                    )
                    await tails.forget(ATTEMPT)

    asyncio.run(check())


async def check_split(
    coordinator: Coordinator,
    chunks: Sequence[Sequence[Frame]],
    reads: Sequence[tuple[int, int]],
    restarts: set[int],
    end: str,
) -> None:
    text = b"".join(frame.data for chunk in chunks for frame in chunk)
    logs, size = coordinator(), 0
    for number, chunk in enumerate(chunks):
        if number in restarts:
            logs = coordinator()
        size = await logs.append(ATTEMPT, size, chunk)
    if end == "flushed":
        await logs.flush(ATTEMPT)
    if end in ("closed", "folded"):
        await logs.close(ATTEMPT)
    if end == "folded":
        await logs.forget_tail(ATTEMPT)
    for store in (logs, coordinator()):
        digest = await store.digest(ATTEMPT)
        assert digest == digest_of(text)
        assert size == len(text)
        for start, length in [(0, len(text)), *reads]:
            expected = text[start : start + length]
            assert await store.read(ATTEMPT, start, length) == expected
            lines = await store.frames(ATTEMPT, start, length)
            assert b"".join(line.frame.data for line in lines) == expected
            assert [line.offset for line in lines] == running_offsets(start, lines)
            assert await store.lines(ATTEMPT, start, length, 1000) == lines_of(text, start, length)
        whole = await store.frames(ATTEMPT, 0, len(text))
        assert [line.frame for line in whole] == [
            frame for chunk in chunks for frame in chunk if frame.data
        ]


def lines_of(text: bytes, first: int, count: int) -> LogRange:
    lines = text.split(b"\n")
    lines = [*(line + b"\n" for line in lines[:-1]), lines[-1]]
    offset = sum(map(len, lines[:first]))
    return LogRange(offset=offset, data=b"".join(lines[first : first + count]))


def running_offsets(start: int, lines: Sequence[LogLine]) -> list[int]:
    offsets = []
    for line in lines:
        offsets.append(start)
        start += len(line.frame.data)
    return offsets


async def test_a_log_of_many_small_frames_is_read_by_its_middle(logs: ObjectLogStore) -> None:
    """More frames than one block of records holds, so that the block is searched for."""
    size = 0
    for chunk in range(4):
        frames = [out(b"%04d\n" % (chunk * 1500 + number), number) for number in range(1500)]
        size = await logs.append(ATTEMPT, size, frames)
    await logs.close(ATTEMPT)
    for line in (0, 1023, 1024, 1025, 2048, 4321, 5999):
        found = await logs.frames(ATTEMPT, line * 5, 5)
        assert [part.frame for part in found] == [out(b"%04d\n" % line, line % 1500)]
    spanning = await logs.frames(ATTEMPT, 1000 * 5, 2000 * 5)
    assert [int(part.frame.data) for part in spanning] == list(range(1000, 3000))


async def resend(logs: ObjectLogStore, attempt_id: str, start: int, data: bytes) -> None:
    """As a sender does that was not answered: from where the log says that it ends."""
    end, offset = start + len(data), start
    while offset < end:
        try:
            offset = await logs.append(attempt_id, offset, [out(data[offset - start :])])
        except OffsetMismatch as error:
            offset = error.expected


def digest_of(data: bytes) -> LogDigest:
    return LogDigest(size=len(data), sha256=hashlib.sha256(data).hexdigest())


async def test_a_log_is_exact_wherever_an_append_was_cut_short(
    logs: ObjectLogStore, coordinator: Coordinator, objects: ObjectStore
) -> None:
    """By whoever asks next: the same process, or one after its death."""
    first, second = b"first " * 1000, b"second " * 1000
    for moment in range(100):
        attempt_id = f"attempt-{moment}"
        await logs.append(attempt_id, 0, [out(first)])
        work = logs.append(attempt_id, len(first), [out(second)])
        cut = await cancelled_at(moment, work)
        after = logs if moment % 2 else coordinator()
        await resend(after, attempt_id, len(first), second)
        assert await after.digest(attempt_id) == digest_of(first + second), moment
        await after.close(attempt_id)
        assert await after.read(attempt_id, 0, 1 << 20) == first + second
        if not cut:
            assert await keys(objects) == ["log.zst"] * (moment + 1)
            return
    raise AssertionError("an append waits more often than it should")


async def test_a_digest_is_exact_wherever_it_was_cut_short(coordinator: Coordinator) -> None:
    data = b"some text " * 1000
    await coordinator().append(ATTEMPT, 0, [out(data)])
    for moment in range(100):
        after_a_restart = coordinator()
        cut = await cancelled_at(moment, after_a_restart.digest(ATTEMPT))
        assert await after_a_restart.digest(ATTEMPT) == digest_of(data), moment
        if not cut:
            return
    raise AssertionError("a digest waits more often than it should")


@pytest.mark.parametrize("left", ["the same process", "its successor"])
async def test_a_log_is_exact_wherever_its_folding_was_cut_short(
    coordinator: Coordinator, objects: ObjectStore, tails: LogTails, left: str
) -> None:
    pieces = [b"some text " * 1000, b"more\n" * 30]
    data = b"".join(pieces)
    for moment in range(200):
        logs, attempt_id = coordinator(), f"attempt-{moment}"
        for offset, piece in zip((0, len(pieces[0])), pieces, strict=True):
            await logs.append(attempt_id, offset, [out(piece)])
        lines = await logs.frames(attempt_id, 0, 1 << 20)
        cut = await cancelled_at(moment, logs.close(attempt_id))
        after = coordinator() if left == "its successor" else logs
        assert await after.read(attempt_id, 0, 1 << 20) == data, moment
        assert await after.frames(attempt_id, 0, 1 << 20) == lines, moment
        await after.close(attempt_id)
        assert await coordinator().frames(attempt_id, 0, 1 << 20) == lines, moment
        cut = await cancelled_at(moment, after.forget_tail(attempt_id)) or cut
        await coordinator().close(attempt_id)
        await coordinator().forget_tail(attempt_id)
        assert await coordinator().digest(attempt_id) == digest_of(data), moment
        assert await keys(objects) == ["log.zst"] * (moment + 1)
        assert await tails.pieces(attempt_id) == []
        if not cut:
            return
    raise AssertionError("folding waits more often than it should")


async def test_what_its_sender_sent_is_not_looked_for_where_it_is_known(
    logs: ObjectLogStore, coordinator: Coordinator
) -> None:
    other = coordinator()
    logs.begin(ATTEMPT)
    await other.append(ATTEMPT, 0, [out(b"hello ")])
    assert (await logs.digest(ATTEMPT, sent_bytes=0)).size == 0
    assert await logs.digest(ATTEMPT, sent_bytes=6) == digest_of(b"hello ")
    await other.append(ATTEMPT, 6, [out(b"world")])
    assert await logs.digest(ATTEMPT, sent_bytes=6) == digest_of(b"hello ")
    assert await logs.digest(ATTEMPT) == digest_of(b"hello world")


async def test_a_log_that_was_begun_grows_as_any_other(
    logs: ObjectLogStore, coordinator: Coordinator
) -> None:
    await coordinator().append(ATTEMPT, 0, [out(b"hello ")])
    logs.begin(ATTEMPT)  # wrongly: somebody else was quicker
    with pytest.raises(OffsetMismatch):
        await logs.append(ATTEMPT, 0, [out(b"other")])
    assert await logs.append(ATTEMPT, 6, [out(b"world")]) == 11
    assert await logs.read(ATTEMPT, 0, 100) == b"hello world"


async def test_what_a_power_cut_left_of_a_folded_log_is_folded_anew(
    coordinator: Coordinator, objects: ObjectStore
) -> None:
    """It was put, and its chunks are still there; its bytes never reached the disk."""
    logs = coordinator()
    await logs.append(ATTEMPT, 0, [out(b"some text\n" * 100)])
    await logs.close(ATTEMPT)
    key = f"logs/{ATTEMPT}/log.zst"
    whole = bytes(await (await obstore.get_async(objects, key)).bytes_async())
    chunk = encode_chunk([out(b"some text\n" * 100)])
    for torn in (b"", whole[:-1], bytes(30) + whole[30:], bytes(len(whole))):
        await obstore.put_async(objects, key, torn)
        await obstore.put_async(objects, chunk_key(f"logs/{ATTEMPT}", 0), chunk)
        after = coordinator()
        await after.close(ATTEMPT)
        assert await coordinator().read(ATTEMPT, 0, 2000) == b"some text\n" * 100
        assert await keys(objects) == ["log.zst"]


async def test_a_damaged_folded_log_stays_where_nothing_else_is_whole(
    objects: ObjectStore, tails: LogTails
) -> None:
    """What it was made of is gone already: what can be read of it is better than nothing."""
    logs = ObjectLogStore(objects, tails, tail_bytes=0)
    await logs.append(ATTEMPT, 0, [out(b"some text\n" * 100)])
    await logs.close(ATTEMPT)
    key = f"logs/{ATTEMPT}/log.zst"
    whole = bytes(await (await obstore.get_async(objects, key)).bytes_async())
    damaged = bytes(30) + whole[30:]
    await obstore.put_async(objects, key, damaged)
    after = ObjectLogStore(objects, tails)
    with pytest.raises(DamagedLog):
        await after.close(ATTEMPT)
    assert await after.size(ATTEMPT) == 1000
    assert bytes(await (await obstore.get_async(objects, key)).bytes_async()) == damaged
