from __future__ import annotations

import pytest

from agent.engines.protocol import Outcome, StepResult
from agent.journal_entries import MAX_MESSAGE_CHARACTERS, Report
from agent.step_reports import report_of, with_trouble, with_values
from pipelines_schema.contract import CompleteRequest, Completion, CompletionReason


def test_exit_code_zero_is_a_success_and_keeps_the_notes() -> None:
    report = report_of(StepResult(outcome=Outcome.EXITED, exit_code=0, notes=("a", "b")))
    assert report == Report(status=Completion.SUCCESS, exit_code=0, message="a\nb")


def test_another_exit_code_is_a_failure_without_a_reason() -> None:
    report = report_of(StepResult(outcome=Outcome.EXITED, exit_code=3))
    assert report == Report(status=Completion.FAILED, exit_code=3)


@pytest.mark.parametrize(
    ("outcome", "reason"),
    [
        (Outcome.TIMED_OUT, CompletionReason.TIMEOUT),
        (Outcome.OUT_OF_MEMORY, CompletionReason.OUT_OF_MEMORY),
        (Outcome.ENGINE_FAILED, CompletionReason.ENGINE),
    ],
)
def test_every_other_outcome_has_its_reason(outcome: Outcome, reason: CompletionReason) -> None:
    report = report_of(StepResult(outcome=outcome, message="why", notes=("note",)))
    assert (report.status, report.reason) == (Completion.FAILED, reason)
    assert report.message == "why\nnote"


def test_trouble_after_a_success_is_the_reason() -> None:
    success = Report(status=Completion.SUCCESS, exit_code=0, message="note")
    report = with_trouble(success, CompletionReason.OUTPUTS, "too large")
    assert report == Report(
        status=Completion.FAILED,
        exit_code=0,
        reason=CompletionReason.OUTPUTS,
        message="note\ntoo large",
    )


def test_trouble_after_a_failure_keeps_what_failed_first() -> None:
    failed = Report(status=Completion.FAILED, reason=CompletionReason.TIMEOUT)
    report = with_trouble(failed, CompletionReason.OUTPUTS, "too large")
    assert report.reason is CompletionReason.TIMEOUT
    assert report.message == "too large"


def test_a_report_survives_its_json() -> None:
    report = Report(status=Completion.FAILED, reason=CompletionReason.LOST, message="ä")
    assert Report.from_json(report.to_json()) == report


def test_a_long_message_is_cut_where_the_contract_cuts_and_says_so() -> None:
    report = Report(status=Completion.FAILED, message="x" * 10_000)
    message = report.message_to_send
    assert message is not None
    assert len(message) == MAX_MESSAGE_CHARACTERS
    assert "10000 characters" in message
    CompleteRequest(status=report.status, message=message)


def test_a_message_stays_short_whatever_number_of_files_was_refused() -> None:
    notes = tuple(f"outputPaths: link-{number} is refused" for number in range(1500))
    report = report_of(StepResult(outcome=Outcome.EXITED, exit_code=0, notes=notes))
    lines = (report.message or "").split("\n")
    assert lines[0] == "outputPaths: link-0 is refused"
    assert (len(lines), lines[-1]) == (21, "and 1480 more like these")


def handing_on(written: bytes, **hidden: str) -> Report:
    return with_values(Report(status=Completion.SUCCESS, exit_code=0), written, hidden)


def test_what_a_script_hands_on_goes_along() -> None:
    report = handing_on(b"a=1\n", KEY="sesame")
    assert (report.status, report.values) == (Completion.SUCCESS, {"a": "1"})
    assert Report.from_json(report.to_json()) == report


def test_a_report_that_an_earlier_agent_wrote_hands_nothing_on() -> None:
    written = handing_on(b"a=1\n").to_json()
    del written["values"]
    assert Report.from_json(written).values == {}


@pytest.mark.parametrize("value", ["is sesame", "c2VzYW1l", "<<END\nx\nsesame\nEND"])
def test_a_value_that_holds_a_secret_is_refused_by_its_key(value: str) -> None:
    line = f"token{value}" if value.startswith("<<") else f"token={value}"
    report = handing_on(f"a=1\n{line}\n".encode(), KEY="sesame")
    assert (report.status, report.reason) == (Completion.FAILED, CompletionReason.OUTPUTS)
    assert report.values == {}
    assert report.message is not None
    assert "`token` holds a secret" in report.message
    assert value not in report.message
    assert "sesame" not in report.message


def test_a_script_that_failed_hands_on_what_it_wrote() -> None:
    failed = Report(status=Completion.FAILED, exit_code=3)
    assert with_values(failed, b"a=1", {}) == Report(
        status=Completion.FAILED, exit_code=3, values={"a": "1"}
    )


def test_of_a_lost_attempt_nothing_is_taken() -> None:
    lost = Report(status=Completion.FAILED, reason=CompletionReason.LOST)
    assert with_values(lost, b"no", {}) == lost
