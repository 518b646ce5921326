"""Names of traces and spans."""

from __future__ import annotations

from pipelines_schema.spans import (
    attempt_traceparent,
    read_traceparent,
    span_of,
    trace_of_build,
)

BUILD = "0b1c2d3e-0000-4000-8000-00000000abcd"


def test_a_traces_id_is_the_builds() -> None:
    assert trace_of_build(BUILD) == BUILD.replace("-", "")
    other = trace_of_build("whatever")
    assert len(other) == 32
    assert int(other, 16)


def test_both_sides_name_an_attempts_span_alike() -> None:
    read = read_traceparent(attempt_traceparent(BUILD, "s-1"))
    assert read == (trace_of_build(BUILD), span_of("attempt", "s-1"))


def test_what_is_no_traceparent_of_ours_is_nobodys() -> None:
    for text in ("", "00-zz", f"00-{'a' * 32}-{'b' * 16}-00"):
        assert read_traceparent(text) is None
