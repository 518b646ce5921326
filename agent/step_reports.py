"""What the coordinator is told about an attempt's end, as values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from agent.engines.protocol import Outcome, StepResult
from agent.journal_entries import Report
from agent.masking import holders
from pipelines_schema.contract import CompleteRequest, Completion, CompletionReason, NextStep
from pipelines_schema.masking import Masker
from pipelines_schema.step_outputs import OUTPUT_VARIABLE, OutputsError, read_outputs

MAX_NOTES = 20
"""Of a step's message."""

TORN = (
    "The log may not be whole: the agent's disk has lost or changed part of it "
    "({left} of {all} bytes are left)."
)

CONFIDENTIAL = (
    "`{key}` holds a secret of the step, which others would be shown: give the secret to the steps "
    "that need it, by their own `secrets`"
)

LOST = Report(
    status=Completion.FAILED,
    reason=CompletionReason.LOST,
    message="The agent was restarted while the script ran.",
)
STOPPED = replace(LOST, message="The agent was stopped while the script ran.")
REFUSED = replace(
    LOST,
    message="The coordinator refused the agent's credential, so the agent ended the script.",
)
LEASE_OVER = replace(
    LOST,
    message="The lease could not be renewed in time, so the agent ended the script: another agent "
    "may run the step by now.",
)
CANCELLED = Report(status=Completion.FAILED, reason=CompletionReason.CANCELLED)


def shortened(notes: Sequence[str]) -> Sequence[str]:
    """A script can make any number of files that can't be stored: what is left out is counted."""
    if len(notes) <= MAX_NOTES:
        return notes
    return [*notes[:MAX_NOTES], f"and {len(notes) - MAX_NOTES} more like these"]


def report_of(result: StepResult) -> Report:
    """What the coordinator is told about how a script ended, and what became of its outputs."""
    report = _report_of(result)
    if not result.unkept or report.reason is CompletionReason.LOST:
        return report
    return with_trouble(report, CompletionReason.OUTPUTS, joined(*shortened(result.unkept)))


def _report_of(result: StepResult) -> Report:
    message = joined(result.message, *shortened(result.notes)) or None
    if result.outcome is Outcome.EXITED:
        status = Completion.SUCCESS if result.exit_code == 0 else Completion.FAILED
        return Report(
            status=status,
            exit_code=result.exit_code,
            message=message,
            images=result.images,
            image_digest=result.image_digest,
        )
    if result.outcome is Outcome.LEASE_OVER:
        return LEASE_OVER
    reasons = {
        Outcome.TIMED_OUT: CompletionReason.TIMEOUT,
        Outcome.OUT_OF_MEMORY: CompletionReason.OUT_OF_MEMORY,
        Outcome.IMAGE_FAILED: CompletionReason.IMAGE,
        Outcome.SERVICE_FAILED: CompletionReason.SERVICES,
        Outcome.ENGINE_FAILED: CompletionReason.ENGINE,
        Outcome.ENGINE_LOST: CompletionReason.LOST,
    }
    return Report(
        status=Completion.FAILED,
        exit_code=result.exit_code,
        reason=reasons[result.outcome],
        message=message,
        parts=result.parts,
    )


def failure(reason: CompletionReason, message: str) -> Report:
    return Report(status=Completion.FAILED, reason=reason, message=message)


def with_values(report: Report, written: bytes, hidden: Mapping[str, str]) -> Report:
    """The report with what the script hands on, which no secret may be part of."""
    if report.reason is CompletionReason.LOST:
        return report
    try:
        values = read_outputs(written)
        holding = next(holders(values, hidden), None)
        if holding is not None:
            raise OutputsError(f"${OUTPUT_VARIABLE}: {CONFIDENTIAL.format(key=holding)}")
    except OutputsError as error:
        return with_trouble(report, CompletionReason.OUTPUTS, str(error))
    return replace(report, values=values)


def without_secrets(report: Report, hidden: Mapping[str, str]) -> Report:
    """The report as it may be shown. It is shortened only after this: what a cut leaves of a secret
    is not known as one."""
    if not report.message or not hidden:
        return report
    return replace(report, message=Masker(hidden.values()).hide(report.message))


def completion(
    report: Report,
    *,
    epoch: int,
    log: tuple[int, str],
    refusal: str | None,
    torn: str | None,
    wanted: NextStep | None,
) -> CompleteRequest:
    """The report as it is sent, with the length and sha256 of a log that is whole: `refusal` is why
    the coordinator took no more of it, `torn` what the disk has done to it. `wanted` asks for
    another step."""
    if refusal is not None:
        message = f"The coordinator did not take the whole log: {refusal}"
        report = with_trouble(report, CompletionReason.ENGINE, message)
    if torn is not None:
        report = replace(report, message=joined(report.message, torn))
    log_bytes, log_sha256 = log if refusal is None and torn is None else (None, None)
    return CompleteRequest(
        status=report.status,
        exit_code=report.exit_code,
        epoch=epoch,
        log_bytes=log_bytes,
        log_sha256=log_sha256,
        reason=report.reason,
        message=report.message_to_send,
        images=list(report.images) or None,
        parts=list(report.parts) or None,
        outputs=dict(report.values),
        image_digest=report.image_digest,
        next=wanted,
    )


def joined(*texts: str | None) -> str:
    return "\n".join(text for text in texts if text)


def with_trouble(report: Report, reason: CompletionReason, message: str) -> Report:
    """The report of a step whose aftermath went wrong; what failed first stays the reason."""
    changed = replace(report, status=Completion.FAILED, message=joined(report.message, message))
    if report.status is Completion.FAILED:
        return changed
    return replace(changed, reason=reason)
