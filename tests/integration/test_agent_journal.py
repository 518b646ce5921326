"""Journal and spool on a real disk, with what a kill in the middle of a write leaves."""

from __future__ import annotations

import asyncio
import hashlib
import os
import resource
import subprocess
from pathlib import Path

import pytest

from agent.journal import Journal, Phase, Report
from agent.log_shipper import MERGE_MS, LogSpool, SpoolReader
from pipelines_schema import log_frames
from pipelines_schema.contract import Completion, StepSpec
from pipelines_schema.log_frames import Frame, Stream

SPEC = StepSpec(
    step_id="step-1",
    epoch=3,
    attempt=1,
    name="test",
    build_id="b",
    build_number=1,
    project_id="p",
    script="true",
    timeout_seconds=1,
    token="secret",
)
DONE = Report(status=Completion.SUCCESS, exit_code=0)


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    journal = Journal(tmp_path / "attempts")
    journal.open()
    return journal


def test_an_entry_is_read_as_it_was_written(journal: Journal) -> None:
    entry = journal.begin(SPEC)
    assert journal.entries() == [entry]
    ended = entry.with_report(DONE, Phase.ENDED)
    journal.record(ended)
    assert journal.entries() == [ended]
    journal.forget(ended)
    assert journal.entries() == []


def test_the_step_with_its_token_is_for_the_agents_user_alone(journal: Journal) -> None:
    entry = journal.begin(SPEC)
    assert (entry.folder / "spec.json").stat().st_mode & 0o077 == 0
    assert entry.folder.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("keep", [0, 1, 10])
def test_a_torn_step_is_removed(journal: Journal, keep: int) -> None:
    entry = journal.begin(SPEC)
    spec = entry.folder / "spec.json"
    spec.write_bytes(spec.read_bytes()[:keep])
    assert journal.entries() == []
    assert not entry.folder.exists()


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"phase": "ended"}', '{"phase": "x", "report": null}']
)
def test_a_state_that_is_not_whole_counts_as_running(journal: Journal, text: str) -> None:
    entry = journal.begin(SPEC)
    (entry.folder / "state.json").write_text(text)
    assert journal.entries() == [entry]


def test_an_entry_without_a_step_is_removed(journal: Journal, tmp_path: Path) -> None:
    (tmp_path / "attempts" / "step-1-3").mkdir()
    (tmp_path / "attempts" / "stray").touch()
    assert journal.entries() == []


def test_a_torn_line_of_sent_names_is_not_counted(journal: Journal) -> None:
    entry = journal.begin(SPEC)
    journal.mark_sent(entry, "out/ä\n1")
    journal.mark_sent(entry, "out/2")
    with open(entry.folder / "sent", "a") as file:
        file.write('"out/3')
    assert journal.sent(entry) == {"out/ä\n1", "out/2"}


async def test_every_cut_of_a_spool_is_recovered_to_whole_frames(tmp_path: Path) -> None:
    path = tmp_path / "spool"
    frames = [b"abc", b"", b"de", b"f" * 20]
    whole = log_frames.encode(
        [Frame(stream=Stream.STDOUT, time_ms=1, data=data) for data in frames]
    )
    ends = [0]
    for data in frames:
        ends.append(ends[-1] + 13 + len(data))
    for cut in range(len(whole) + 1):
        path.write_bytes(whole[:cut])
        spool = LogSpool(path)
        count = max(number for number, end in enumerate(ends) if end <= cut)
        text = b"".join(frames[:count])
        assert (spool.text_bytes, spool.framed_bytes) == (len(text), ends[count])
        assert spool.sha256 == hashlib.sha256(text).hexdigest()
        assert path.stat().st_size == ends[count]
        spool.write(Stream.STDERR, b"more")
        spool.close()
        assert b"".join(f.data for f in log_frames.decode(path.read_bytes())) == text + b"more"


async def test_a_spool_can_be_read_from_every_byte_in_batches_of_every_size(
    tmp_path: Path,
) -> None:
    spool = LogSpool(tmp_path / "spool")
    text = b""
    for number in range(12):
        data = bytes([65 + number]) * (number % 5 + 1)
        spool.write(Stream(1 + number % 3 // 2), data)
        text += data
    reader = SpoolReader(spool.path)
    for size in (1, 2, 7, 100):
        for start in (*range(len(text)), 5, 0):
            read = b""
            while len(read) < len(text) - start:
                batch = reader.batch(start + len(read), spool.framed_bytes, size)
                data = b"".join(frame.data for frame in log_frames.decode(batch.frames))
                assert 0 < len(data) == batch.text_bytes <= size
                read += data
            assert read == text[start:]
    reader.close()
    spool.close()


async def test_frames_of_one_moment_and_stream_are_merged(tmp_path: Path) -> None:
    path = tmp_path / "spool"
    frames = [
        Frame(stream=Stream.STDOUT, time_ms=1000, data=b"a"),
        Frame(stream=Stream.STDOUT, time_ms=1000 + MERGE_MS, data=b"b"),
        Frame(stream=Stream.STDOUT, time_ms=1001 + MERGE_MS, data=b"c"),
        Frame(stream=Stream.STDERR, time_ms=1001 + MERGE_MS, data=b"d"),
    ]
    path.write_bytes(log_frames.encode(frames))
    reader = SpoolReader(path)
    batch = reader.batch(0, path.stat().st_size, 100)
    reader.close()
    assert [(f.stream, f.time_ms, f.data) for f in log_frames.decode(batch.frames)] == [
        (Stream.STDOUT, 1000, b"ab"),
        (Stream.STDOUT, 1001 + MERGE_MS, b"c"),
        (Stream.STDERR, 1001 + MERGE_MS, b"d"),
    ]


async def test_a_disk_that_takes_no_more_is_a_failure_that_is_seen(tmp_path: Path) -> None:
    spool = LogSpool(tmp_path / "spool")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        spool.write(Stream.STDOUT, b"a" * 500)
        spool.write(Stream.STDOUT, b"b" * 600)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    spool.write(Stream.STDOUT, b"c")
    await asyncio.wait_for(spool.failed.wait(), 20)
    spool.close()
    assert isinstance(spool.failure, OSError)
    assert spool.text_bytes == 500
    assert [f.data for f in log_frames.decode(spool.path.read_bytes())] == [b"a" * 500]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a small disk")
async def test_a_full_disk_ends_the_step_with_a_clear_failure(tmp_path: Path) -> None:
    from tests.integration.agent_bench import ended, open_bench

    async with open_bench() as bench:
        bench.data.mkdir()
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(bench.data)], check=False
        )
        if mounted.returncode != 0:
            pytest.skip("mounting is not allowed here")
        try:
            agent = bench.new_agent(min_free_bytes=0)
            running = asyncio.create_task(agent.run())
            step = bench.coordinator.add_step("yes | head -c 20000000; sleep 1000")
            await ended(step)
            agent.begin_drain()
            await asyncio.wait_for(running, 60)
        finally:
            subprocess.run(["umount", str(bench.data)], check=True)
    assert step.completion is not None
    assert step.completion.status is Completion.FAILED
    assert "No space left" in str(step.completion.message)
    assert 0 < len(step.log) < 4_000_000


def test_secrets_are_never_written_to_the_journal(journal: Journal) -> None:
    spec = SPEC.model_copy(update={"secret_names": ["KEY"], "secrets": {"KEY": "hunter2"}})
    entry = journal.begin(spec)
    assert entry.spec.secrets == {"KEY": "hunter2"}
    assert b"hunter2" not in (entry.folder / "spec.json").read_bytes()
    assert "hunter2" not in repr(entry)
    (read,) = journal.entries()
    assert (read.spec.secret_names, read.spec.secrets) == (["KEY"], {})
