"""The steps that a run would have."""

from __future__ import annotations

from typing import TYPE_CHECKING

from coordinator.domain.lifecycle import StepState
from pushrod.presentation import print_table

if TYPE_CHECKING:
    from coordinator.domain.model import Step
    from coordinator.services.builds.drafts import Draft


def show_steps(draft: Draft) -> None:
    rows = [
        (step.name, _what(step), ", ".join(step.depends_on), _where(step)) for step in draft.steps
    ]
    print_table(("step", "runs", "after", "in"), rows, empty="no steps")


def _what(step: Step) -> str:
    if step.state is StepState.SKIPPED:
        return f"skipped: {step.reason}"
    if step.written.approve is not None:
        return "waits for approval"
    if step.written.when is not None and step.written.when.outputs:
        return "if outputs say so"
    return "yes"


def _where(step: Step) -> str:
    return "builds an image" if step.written.build is not None else step.written.image or ""
