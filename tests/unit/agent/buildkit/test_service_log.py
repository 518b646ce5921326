"""Lines of services in a step's log."""

from __future__ import annotations

from agent.engines.buildkit.service_log import MAX_SHOWN_BYTES, ServiceLog, StepLog
from pipelines_schema.log_frames import Stream


class Sink:
    def __init__(self) -> None:
        self.data = b""

    def write(self, stream: Stream, data: bytes) -> None:
        self.data += data


def test_a_line_waits_until_the_script_has_ended_its_own() -> None:
    sink = Sink()
    log = StepLog(sink)
    service = ServiceLog("db", log)
    log.write(Stream.STDOUT, b"be")
    service.take(b"one\ntw")
    assert sink.data == b"be"
    log.write(Stream.STDOUT, b"gun\nnext")
    service.take(b"o\n")
    assert sink.data == b"begun\n[db] one\nnext"
    log.write(Stream.STDOUT, b"\n")
    assert sink.data == b"begun\n[db] one\nnext\n[db] two\n"


def test_what_waits_is_shown_though_the_script_never_ended_its_line() -> None:
    sink = Sink()
    log = StepLog(sink)
    log.write(Stream.STDOUT, b"no end")
    ServiceLog("db", log).take(b"one\n")
    assert sink.data == b"no end"
    log.close()
    assert sink.data == b"no end\n[db] one\n"
    log.close()
    assert sink.data == b"no end\n[db] one\n"


def test_what_is_not_ended_is_shown_at_the_end() -> None:
    sink = Sink()
    service = ServiceLog("db", StepLog(sink))
    service.take(b"a\nb")
    service.end()
    assert sink.data == b"[db] a\n[db] b\n"
    assert service.last == "a\nb"


def test_more_than_the_most_is_counted() -> None:
    sink = Sink()
    service = ServiceLog("db", StepLog(sink))
    for _ in range(200):
        service.take(b"x" * 99_999 + b"\n")
    service.take(b"last words\n")
    service.end()
    assert len(sink.data) < MAX_SHOWN_BYTES + 1000
    assert sink.data.endswith(b" bytes more are left out of this log\n")
    assert service.last.endswith("last words")
