"""Journal and spool on a real disk, with what a kill in the middle of a write leaves."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import resource
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from agent.journal import Journal
from agent.journal_entries import Entry, LogMark, Phase, Report
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
def journal(tmp_path: Path) -> Iterator[Journal]:
    journal = Journal(tmp_path / "attempts")
    journal.open()
    yield journal
    journal.close()


def reopened(journal: Journal, tmp_path: Path) -> Journal:
    """What the next process finds."""
    journal.close()
    another = Journal(tmp_path / "attempts")
    another.open()
    return another


def test_an_entry_is_read_as_it_was_written(journal: Journal, tmp_path: Path) -> None:
    entry = journal.begin(SPEC)
    journal = reopened(journal, tmp_path)
    assert journal.entries() == [entry]
    ended = replace(entry, log=LogMark(text_bytes=3, sha256="x")).with_report(DONE, Phase.ENDED)
    journal.record(ended)
    journal.mark_sent(ended, ["out/ä\n1"])
    journal.mark_sent(ended, ["out/2"])
    journal = reopened(journal, tmp_path)
    assert journal.entries() == [ended]
    assert journal.sent(ended) == {"out/ä\n1", "out/2"}
    journal.forget(ended)
    journal = reopened(journal, tmp_path)
    assert journal.entries() == []
    assert [path.name for path in (tmp_path / "attempts").iterdir()] == ["journal"]
    assert (tmp_path / "attempts" / "journal").stat().st_size == 0


def test_the_step_with_its_token_is_for_the_agents_user_alone(
    journal: Journal, tmp_path: Path
) -> None:
    entry = journal.begin(SPEC.model_copy(update={"output_paths": ["o"]}))
    for path in (tmp_path / "attempts", tmp_path / "attempts" / "journal", entry.folder):
        assert path.stat().st_mode & 0o077 == 0
    journal = reopened(journal, tmp_path)
    assert (tmp_path / "attempts" / "journal").stat().st_mode & 0o077 == 0


def test_only_a_step_with_outputs_has_folders_from_the_beginning(journal: Journal) -> None:
    assert not journal.begin(SPEC).folder.exists()
    entry = journal.begin(SPEC.model_copy(update={"epoch": 4, "output_paths": ["o"]}))
    assert list(entry.outputs.iterdir()) == list(entry.scratch.iterdir()) == []


def test_a_step_that_is_begun_again_has_nothing_of_before(journal: Journal) -> None:
    spec = SPEC.model_copy(update={"output_paths": ["o"]})
    entry = journal.begin(spec)
    entry.spool.touch()
    (entry.outputs / "o").touch()
    journal.mark_sent(entry, ["o"])
    journal.record(entry.with_report(DONE, Phase.ENDED))
    assert journal.begin(spec) == entry
    assert journal.entries() == [entry]
    assert journal.sent(entry) == frozenset()
    assert not entry.spool.exists()
    assert list(entry.outputs.iterdir()) == []


def test_files_without_a_record_are_removed(journal: Journal, tmp_path: Path) -> None:
    kept = journal.begin(SPEC)
    kept.spool.touch()
    (tmp_path / "attempts" / "step-2-3").mkdir()
    (tmp_path / "attempts" / "step-2-3.log").touch()
    (tmp_path / "attempts" / "journal.new").touch()
    journal = reopened(journal, tmp_path)
    assert {path.name for path in (tmp_path / "attempts").iterdir()} == {
        "journal",
        kept.spool.name,
    }


def test_a_journal_that_has_grown_is_written_anew_with_what_is_left(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "attempts", rewrite_bytes=2000)
    journal.open()
    first = journal.begin(SPEC).with_report(DONE, Phase.ENDED)
    journal.record(first, b"frames")
    for epoch in range(10, 100):
        journal.forget(journal.begin(SPEC.model_copy(update={"epoch": epoch})))
        assert (tmp_path / "attempts" / "journal").stat().st_size < 6000
    journal.mark_sent(first, ["x"])
    journal = reopened(journal, tmp_path)
    assert journal.entries() == [first]
    assert journal.sent(first) == {"x"}
    assert first.spool.read_bytes() == b"frames"
    journal.close()


def test_attempts_of_many_threads_are_all_kept_while_the_file_is_written_anew(
    tmp_path: Path,
) -> None:
    journal = Journal(tmp_path / "attempts", rewrite_bytes=1)
    journal.open()

    def attempt(epoch: int) -> Entry:
        entry = journal.begin(SPEC.model_copy(update={"epoch": epoch}))
        journal.mark_sent(entry, [str(epoch)])
        ended = entry.with_report(DONE, Phase.ENDED)
        journal.record(ended)
        if epoch % 3 == 0:
            journal.forget(ended)
        return ended

    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(attempt, range(60)))
    journal = reopened(journal, tmp_path)
    left = {entry.attempt_id: entry for entry in made if entry.spec.epoch % 3}
    assert {entry.attempt_id: entry for entry in journal.entries()} == left
    assert all(journal.sent(entry) == {str(entry.spec.epoch)} for entry in left.values())
    journal.close()


@pytest.mark.parametrize("torn", [b"", b"\x1e", b"\x1e0123456789abcdef {"])
def test_what_is_written_after_a_torn_record_counts(
    journal: Journal, tmp_path: Path, torn: bytes
) -> None:
    entry = journal.begin(SPEC)
    with open(tmp_path / "attempts" / "journal", "ab") as file:
        file.write(torn)  # as a disk does that has no more room
    ended = entry.with_report(DONE, Phase.ENDED)
    journal.record(ended)
    assert reopened(journal, tmp_path).entries() == [ended]


def test_a_disk_that_takes_no_record_is_an_error_and_leaves_nothing(
    journal: Journal, tmp_path: Path
) -> None:
    kept = journal.begin(SPEC)
    size = (tmp_path / "attempts" / "journal").stat().st_size
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 10, hard))
    try:
        with pytest.raises(OSError, match="File too large"):
            journal.begin(SPEC.model_copy(update={"epoch": 4, "output_paths": ["o"]}))
        forgotten = replace(kept)
        journal.forget(forgotten)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert journal.entries() == []
    later = journal.begin(SPEC.model_copy(update={"epoch": 5}))
    # What could not be written down as forgotten comes back: reporting it twice does no harm.
    assert reopened(journal, tmp_path).entries() == [kept, later]


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
        spool = LogSpool.recovered(path)
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


def test_secrets_are_never_written_to_the_journal(journal: Journal, tmp_path: Path) -> None:
    spec = SPEC.model_copy(update={"secret_names": ["KEY"], "secrets": {"KEY": "hunter2"}})
    entry = journal.begin(spec)
    assert entry.spec.secrets == {"KEY": "hunter2"}
    assert b"hunter2" not in (tmp_path / "attempts" / "journal").read_bytes()
    assert "hunter2" not in repr(entry)
    (read,) = reopened(journal, tmp_path).entries()
    assert (read.spec.secret_names, read.spec.secrets) == (["KEY"], {})


def earlier_folder(tmp_path: Path) -> Path:
    """An attempt as agents left it before the journal was one file."""
    folder = tmp_path / "attempts" / "step-1-3"
    for name in ("inputs", "outputs", "scratch"):
        (folder / name).mkdir(parents=True)
    (folder / "spec.json").write_text(json.dumps(SPEC.to_json()))
    (folder / "log.spool").write_bytes(b"framed")
    (folder / "outputs" / "o").touch()
    return folder


STATE = {"phase": "ended", "report": DONE.to_json(), "log": {"textBytes": 1, "sha256": "x"}}


def test_attempts_of_an_earlier_agent_are_taken_over_once(tmp_path: Path) -> None:
    folder = earlier_folder(tmp_path)
    (folder / "state.json").write_text(json.dumps(STATE))
    (folder / "sent").write_text('"out/1"\n"out/2')
    journal = Journal(tmp_path / "attempts")
    for _ in range(2):
        journal.open()
        (entry,) = journal.entries()
        assert (entry.folder, entry.spec) == (folder, SPEC)
        assert (entry.phase, entry.report) == (Phase.ENDED, DONE)
        assert entry.log == LogMark(text_bytes=1, sha256="x")
        assert journal.sent(entry) == {"out/1"}
        assert entry.spool.read_bytes() == b"framed"
        assert {path.name for path in folder.iterdir()} == {"inputs", "outputs", "scratch"}
        assert (entry.outputs / "o").exists()
        journal.close()
        journal = Journal(tmp_path / "attempts")
    journal.open()
    journal.forget(entry)
    assert [path.name for path in (tmp_path / "attempts").iterdir()] == ["journal"]
    journal.close()


def test_an_upgraded_agent_that_is_killed_before_it_is_done_takes_them_over_again(
    tmp_path: Path,
) -> None:
    folder = earlier_folder(tmp_path)
    journal = Journal(tmp_path / "attempts")
    journal.open()
    journal.close()
    # As if the old files had not been removed yet, but the new one written.
    (folder / "spec.json").write_text(json.dumps(SPEC.to_json()))
    (folder / "state.json").write_text(json.dumps(STATE))
    journal.open()
    (entry,) = journal.entries()
    assert entry.phase is Phase.ENDED
    assert entry.spool.read_bytes() == b"framed"
    journal.close()


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"phase": "ended"}', '{"phase": "x", "report": null}']
)
def test_of_an_earlier_agent_a_state_that_is_not_whole_counts_as_running(
    tmp_path: Path, text: str
) -> None:
    (earlier_folder(tmp_path) / "state.json").write_text(text)
    journal = Journal(tmp_path / "attempts")
    journal.open()
    assert [(entry.spec, entry.phase) for entry in journal.entries()] == [(SPEC, Phase.ACCEPTED)]
    journal.close()


@pytest.mark.parametrize("keep", [0, 1, 10])
def test_of_an_earlier_agent_a_torn_step_is_removed(tmp_path: Path, keep: int) -> None:
    spec = earlier_folder(tmp_path) / "spec.json"
    spec.write_bytes(spec.read_bytes()[:keep])
    journal = Journal(tmp_path / "attempts")
    journal.open()
    assert journal.entries() == []
    assert [path.name for path in (tmp_path / "attempts").iterdir()] == ["journal"]
    journal.close()
