"""What is said of hand-outs of an earlier generation."""

from __future__ import annotations

from dataclasses import dataclass

from coordinator.domain.errors import StaleEpoch
from coordinator.domain.generation import Generation
from coordinator.domain.model import Step


@dataclass(slots=True)
class Generations:
    current: Generation | None = None
    """None where nothing was ever restored."""

    def stale(self, step: Step | None, epoch: int | None, message: str | None = None) -> StaleEpoch:
        """The error for a hand-out that is not current: it says so where that is of before a
        restore, and else what `message` says. A step is None where it is not known."""
        message = self.refusal(step, epoch) or message
        return StaleEpoch(message) if message else StaleEpoch()

    def refusal(self, step: Step | None, epoch: int | None) -> str | None:
        """What is said of a hand-out of before a restore; None of any other."""
        current = self.current
        if current is None or epoch is None or not _is_older(current, step, epoch):
            return None
        return (
            "this hand-out is of an earlier generation: the installation was restored at "
            f"{current.restored_at:%Y-%m-%d %H:%M} UTC from a backup of "
            f"{current.backed_up_at:%Y-%m-%d %H:%M} UTC, and takes nothing of it any more"
        )


def _is_older(current: Generation, step: Step | None, epoch: int) -> bool:
    """Steps of builds made since the restore count from 1, too."""
    if epoch >= current.first_epoch:
        return False
    if step is None or step.epoch >= current.first_epoch:
        return True
    return step.started_at is not None and step.started_at < current.restored_at
