"""What a completed generator asks for: see `services/builds/generated_steps.py`, which has it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from coordinator.domain.model import Attempt, Project, Step
from coordinator.storage.connection import AsyncConnection


@dataclass(frozen=True, slots=True, kw_only=True)
class Generated:
    """What was read from a generator's file, for its build as it was then."""

    fault: str | None = None
    """Why nothing is added, for people."""
    project: Project | None = None
    steps: Sequence[Step] = ()
    """Blocked, or skipped."""
    input_lists: Mapping[str, bytes] = field(default_factory=dict)
    """As a draft's."""
    beside: frozenset[str] = frozenset()
    """Ids of the steps that the build had."""


class ToBeRead(Exception):
    """The file was not read yet, or the build has other steps by now: it is to be read, or anew."""

    def __init__(self, step: Step, attempt: Attempt) -> None:
        super().__init__(step.id)
        self.step, self.attempt = step, attempt


class Generating(Protocol):
    async def read(self, step: Step, attempt: Attempt) -> Generated:
        """What the step's file says."""
        ...

    async def add(
        self,
        connection: AsyncConnection,
        step: Step,
        attempt: Attempt,
        generated: Generated | None,
    ) -> str | None:
        """Add the steps to the build of the generator, which succeeds in the same transaction;
        where that can't be, why, for people, and nothing was written. Raises ToBeRead."""
        ...
