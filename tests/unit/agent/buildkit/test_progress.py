from __future__ import annotations

import pytest

from agent.engines.buildkit.pb import control_pb2
from agent.engines.buildkit.progress import ClipFilter, StepProgress
from pipelines_schema.log_frames import Stream

NOTICE = b"\n[output clipped, log limit 200KiB/s reached]\n"


def report(*logs: tuple[str, int, bytes]) -> control_pb2.StatusResponse:
    message = control_pb2.StatusResponse()
    for vertex, stream, data in logs:
        message.logs.add(vertex=vertex, stream=stream, msg=data)
    return message


def announced(**digests: str) -> control_pb2.StatusResponse:
    message = control_pb2.StatusResponse()
    for name, digest in digests.items():
        message.vertexes.add(name=name, digest=digest)
    return message


def test_output_of_other_vertices_is_left_out_and_streams_are_told_apart() -> None:
    progress = StepProgress(name="mine", greeting=b"id\n")
    assert list(progress.take(announced(mine="sha256:1", other="sha256:2"))) == []

    taken = list(
        progress.take(report(("sha256:1", 1, b"a"), ("sha256:2", 1, b"b"), ("sha256:1", 2, b"c")))
    )

    assert taken == [(Stream.STDOUT, b"a"), (Stream.STDERR, b"c")]


def test_the_vertex_end_and_error_are_noted() -> None:
    progress = StepProgress(name="mine", greeting=b"id\n")
    message = control_pb2.StatusResponse()
    message.vertexes.add(name="other").completed.seconds = 1
    assert list(progress.take(message)) == []
    assert not progress.completed

    message.vertexes.add(name="mine", error="broken").completed.seconds = 1
    assert list(progress.take(message)) == []
    assert progress.completed
    assert progress.error == "broken"


@pytest.mark.parametrize("pieces", [[b"id\nid\nx"], [b"i", b"d\n", b"id\nx"], [b"id\n", b"id\nx"]])
def test_the_greeting_is_taken_off_once_and_tells_that_the_process_runs(
    pieces: list[bytes],
) -> None:
    progress = StepProgress(name="mine", greeting=b"id\n")
    assert list(progress.take(announced(mine="sha256:1"))) == []
    assert not progress.running

    taken = list(progress.take(report(*(("sha256:1", 1, piece) for piece in pieces))))

    assert b"".join(data for _, data in taken) == b"id\nx"
    assert progress.running


def test_output_passes_up_to_the_engines_notice_and_nothing_after_it() -> None:
    one = ClipFilter()

    passed = one.take(b"abc\n") + one.take(b"def" + NOTICE) + one.take(b"after the gap\n")

    assert passed == b"abc\ndef"
    assert (one.passed, one.clipped) == (7, True)


@pytest.mark.parametrize("data", [b"[output clipped, log limit ", b"\n[output clipped]\n", b"\n"])
def test_what_only_resembles_a_notice_passes(data: bytes) -> None:
    one = ClipFilter()

    assert one.take(data) == data
    assert not one.clipped
