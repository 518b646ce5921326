"""Why source files can't become an image, and what to send instead."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    field: str
    """The member of the request's body, `files` with the file's name after it."""
    message: str


class RefusedSources(ValueError):
    """The sources can't be built; says every reason that was found."""

    def __init__(self, refusals: Sequence[Refusal]) -> None:
        super().__init__("; ".join(refusal.message for refusal in refusals))
        self.refusals = tuple(refusals)

    def __reduce__(self) -> tuple[type[RefusedSources], tuple[Sequence[Refusal]]]:
        """It comes from another process, and its text alone would not make it again."""
        return type(self), (self.refusals,)

    @classmethod
    def of(cls, field: str, message: str) -> RefusedSources:
        return cls([Refusal(field=field, message=message)])
