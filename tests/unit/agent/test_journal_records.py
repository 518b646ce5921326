"""What a disk or a kill may do to the journal's file, byte by byte."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path

import pytest

from agent import journal_records as records
from agent.journal_entries import Entry, LogMark, Phase, Report
from agent.journal_records import Kind, Record, Replay, replayed
from pipelines_schema.contract import Completion, CompletionReason, StepSpec

FOLDER = Path("/attempts")
Summary = dict[str, tuple[Phase, Report | None, set[str], bytes | None]]


def entry(number: int) -> Entry:
    spec = StepSpec(
        step_id=f"s{number}",
        epoch=number,
        attempt=1,
        name="ä\n\x1e",
        build_id="b",
        build_number=1,
        project_id="p",
        script="echo 'x'\n\x1e\n",
        timeout_seconds=1,
        token="t",
    )
    return Entry(folder=FOLDER / f"s{number}-{number}", spec=spec, phase=Phase.ACCEPTED)


def history() -> list[Record]:
    """What three attempts that ran side by side have written."""
    one, two, three = entry(1), entry(2), entry(3)
    done = Report(status=Completion.SUCCESS, exit_code=0, message="ü")
    lost = Report(status=Completion.FAILED, reason=CompletionReason.LOST)
    mark = LogMark(text_bytes=1, sha256="x")
    ended = Entry(folder=one.folder, spec=one.spec, phase=Phase.ENDED, report=done, log=mark)
    return [
        records.begun(one),
        records.begun(two),
        records.reached(ended, b"\x1e\n\0frames"),
        records.sent(ended, "out/a\n"),
        records.begun(three),
        records.sent(ended, "out/b"),
        records.reached(two.with_report(lost, Phase.ENDED), b""),
        records.reached(ended.with_report(done, Phase.STORED)),
        records.forgotten(two),
        records.sent(three, "out/c"),
    ]


RECORDS = history()
LINES = [record.encode() for record in RECORDS]
ENDS = list(accumulate(map(len, LINES)))
DATA = b"".join(LINES)


def found(replay: Replay) -> Summary:
    return {
        name: (attempt.entry.phase, attempt.entry.report, attempt.sent, attempt.frames)
        for name, attempt in replay.attempts.items()
    }


def meant(kept: list[Record]) -> Summary:
    """What these records mean, said in the plainest way."""
    summary: Summary = {}
    for record in kept:
        name = record.attempt_id
        if record.kind is Kind.BEGUN:
            summary[name] = (Phase.ACCEPTED, None, set(), None)
        elif record.kind is Kind.FORGOTTEN:
            summary.pop(name, None)
        elif name in summary:
            summary[name] = after(record, *summary[name])
    return summary


def after(
    record: Record, phase: Phase, report: Report | None, sent: set[str], frames: bytes | None
) -> tuple[Phase, Report | None, set[str], bytes | None]:
    if record.kind is Kind.SENT:
        return phase, report, sent | {record.fields["name"]}, frames
    now = Phase(record.fields["phase"])
    kept = frames if record.fields["frames"] is None else FRAMES[record.attempt_id]
    return now, Report.from_json(record.fields["report"]), sent, kept


FRAMES = {"s1-1": b"\x1e\n\0frames", "s2-2": b""}


def untouched(start: int, end: int) -> list[Record]:
    """The records that have no byte in the range."""
    begins = [0, *ENDS[:-1]]
    return [
        record
        for record, first, behind in zip(RECORDS, begins, ENDS, strict=True)
        if behind <= start or end <= first
    ]


def test_a_whole_journal_means_what_was_written() -> None:
    replay = replayed(DATA, FOLDER)
    assert found(replay) == meant(RECORDS)
    assert (replay.damaged, replay.beheaded) == (0, set())
    assert replay.attempts["s3-3"].entry == entry(3)
    assert replay.attempts["s1-1"].entry.log == LogMark(text_bytes=1, sha256="x")


def test_what_still_means_something_can_be_written_anew() -> None:
    first = replayed(DATA, FOLDER)
    again = b"".join(line for attempt in first.attempts.values() for line in attempt.records)
    assert len(again) < len(DATA)
    assert replayed(again, FOLDER) == first


def test_a_journal_cut_at_any_byte_has_all_that_was_whole() -> None:
    for end in range(len(DATA) + 1):
        replay = replayed(DATA[:end], FOLDER)
        whole = [record for record, behind in zip(RECORDS, ENDS, strict=True) if behind <= end]
        assert found(replay) == meant(whole), end
        assert replay.damaged == (end not in (0, *ENDS)), end


def damages(at: int) -> Iterator[bytes]:
    """One byte turned around, or into what marks begin and end of a record."""
    for byte in (bytes([DATA[at] ^ 0xFF]), b"\0", b"\x1e", b"\n"):
        if byte != DATA[at : at + 1]:
            yield DATA[:at] + byte + DATA[at + 1 :]


def test_a_damaged_byte_costs_its_own_record_alone() -> None:
    for at in range(len(DATA)):
        for data in damages(at):
            replay = replayed(data, FOLDER)
            assert found(replay) == meant(untouched(at, at + 1)), (at, data[at])
            assert replay.damaged >= 1, at


@pytest.mark.parametrize("size", [7, 512, 1500])
def test_a_range_that_the_disk_has_lost_costs_the_records_in_it_alone(size: int) -> None:
    for start in range(0, len(DATA), 11):
        end = min(start + size, len(DATA))
        data = DATA[:start] + bytes(end - start) + DATA[end:]
        assert found(replayed(data, FOLDER)) == meant(untouched(start, end)), start


def test_an_attempt_whose_beginning_is_lost_is_named_once_more_is_known_of_it() -> None:
    replay = replayed(b"".join(LINES[1:8]), FOLDER)
    assert replay.beheaded == {"s1-1"}
    assert set(replay.attempts) == {"s2-2", "s3-3"}


def test_a_step_under_anothers_name_is_not_taken() -> None:
    record = records.begun(entry(1))
    stranger = Record(record.kind, "s2-2", record.fields)
    outside = Record(record.kind, "../x-1", {"spec": {**record.fields["spec"], "stepId": "../x"}})
    replay = replayed(stranger.encode() + outside.encode(), FOLDER)
    assert (replay.attempts, replay.damaged) == ({}, 2)
