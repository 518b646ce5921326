"""What a report asks for that wants parts: see `services/builds/image_parts.py`, which has it."""

from __future__ import annotations

from typing import Protocol

from coordinator.domain.model import Attempt, Step
from coordinator.domain.steps.verdict import Verdict
from coordinator.object_ports import LogDigest
from coordinator.services.steps.advance import Followed
from coordinator.storage.connection import AsyncConnection


class Splitting(Protocol):
    async def split(
        self,
        connection: AsyncConnection,
        step: Step,
        attempt: Attempt,
        exit_code: int | None,
        log: LogDigest,
        message: str | None,
    ) -> tuple[Verdict, Followed]:
        """End the attempt, add the parts of the step's image to its build, and have the step wait
        for them."""
        ...
