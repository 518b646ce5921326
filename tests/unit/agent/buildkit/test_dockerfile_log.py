"""Lines of a log, from the reports of a Dockerfile's build."""

from __future__ import annotations

from typing import Any

from agent.engines.buildkit.dockerfile_log import MAX_LINE_BYTES, DockerfileLog
from agent.engines.buildkit.pb import control_pb2
from pipelines_schema.log_frames import Stream


def vertex(
    name: str, *, started: float | None = None, completed: float | None = None, **more: Any
) -> control_pb2.Vertex:
    made = control_pb2.Vertex(digest=f"sha256:{name}", name=name, **more)
    for field, seconds in (("started", started), ("completed", completed)):
        if seconds is not None:
            getattr(made, field).FromNanoseconds(int(seconds * 1e9))
    return made


def output(name: str, data: bytes, stream: int = 1) -> control_pb2.VertexLog:
    return control_pb2.VertexLog(vertex=f"sha256:{name}", stream=stream, msg=data)


def report(*parts: control_pb2.Vertex | control_pb2.VertexLog) -> control_pb2.StatusResponse:
    return control_pb2.StatusResponse(
        vertexes=[part for part in parts if isinstance(part, control_pb2.Vertex)],
        logs=[part for part in parts if isinstance(part, control_pb2.VertexLog)],
    )


class Reader:
    def __init__(self) -> None:
        self.log = DockerfileLog("web/Dockerfile")

    def take(self, *parts: control_pb2.Vertex | control_pb2.VertexLog) -> str:
        return self.text(self.log.take(report(*parts)))

    @staticmethod
    def text(pieces: Any) -> str:
        return "".join(
            ("" if stream is Stream.STDOUT else "!") + data.decode() for stream, data in pieces
        )


RUN = "[build 2/3] RUN make"


def test_an_instruction_is_announced_once_and_its_lines_are_marked() -> None:
    log = Reader()

    assert log.take(vertex(RUN)) == ""
    assert log.take(vertex(RUN, started=1)) == f"{RUN}\n"
    assert log.take(vertex(RUN, started=1)) == ""
    assert log.take(output(RUN, b"one\ntw")) == "[build 2/3] one\n"
    assert log.take(output(RUN, b"warn\n", 2)) == "![build 2/3] warn\n"
    assert log.take(output(RUN, b"o\n")) == "[build 2/3] two\n"


def test_the_last_line_needs_no_end() -> None:
    log = Reader()
    log.take(vertex(RUN, started=1), output(RUN, b"last"))

    assert log.take(vertex(RUN, started=1, completed=1.2)) == "[build 2/3] last\n"
    log.take(output(RUN, b"later still"))
    assert log.text(log.log.end()) == "[build 2/3] later still\n"


def test_a_slow_instruction_says_how_long_it_took() -> None:
    log = Reader()
    log.take(vertex(RUN, started=1))

    assert log.take(vertex(RUN, started=1, completed=3.25)) == "[build 2/3] took 2.2 s\n"


def test_what_was_only_looked_up_is_not_announced() -> None:
    log = Reader()

    assert log.take(vertex(RUN, started=1, completed=1)) == ""
    assert log.take(vertex(RUN, started=1, completed=1, cached=True)) == (
        f"{RUN}: CACHED: neither the command nor anything before it has changed\n"
    )
    assert log.take(vertex(RUN, started=1, completed=1, cached=True)) == ""


def test_each_kind_of_cache_hit_is_explained() -> None:
    for name, why in (
        ("[1/3] FROM debian:12", "the engine has this image"),
        ("[2/3] COPY a /a", "neither the files nor anything before them has changed"),
        ("[2/3] add a /a", "neither the files nor anything before them has changed"),
        ("[3/3] WORKDIR /a", "neither it nor anything before it has changed"),
    ):
        said = Reader().take(vertex(name, started=1, completed=1, cached=True))

        assert said == f"{name}: CACHED: {why}\n"


def test_a_failure_stands_behind_what_the_instruction_wrote() -> None:
    log = Reader()

    said = log.take(
        output(RUN, b"almost"), vertex(RUN, started=1, completed=2, error="exit\ncode: 1")
    )

    assert said.splitlines()[-2:] == ["[build 2/3] almost", "![build 2/3] ERROR: exit code: 1"]


def test_a_line_without_end_is_passed_on_in_pieces() -> None:
    log = Reader()
    log.take(vertex(RUN, started=1))

    said = log.take(output(RUN, b"x" * (MAX_LINE_BYTES + 1)))

    assert said == f"[build 2/3] {'x' * (MAX_LINE_BYTES + 1)}\n"


def test_a_warning_has_its_line() -> None:
    made = control_pb2.StatusResponse()
    warning = made.warnings.add(short=b"JSONArgsRecommended: use\nJSON")
    warning.ranges.add().start.line = 7

    assert Reader.text(DockerfileLog("web/Dockerfile").take(made)) == (
        "!warning: web/Dockerfile:7: JSONArgsRecommended: use JSON\n"
    )
