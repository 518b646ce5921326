"""What a format is given, and what it answers: the seam that every format stands behind."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from pipelines_schema.nodes import MapNode
from pushrod.importing.draft import WorkflowDraft
from pushrod.importing.ledger import Ledger

ReadFile = Callable[[str], bytes | None]
"""A file of the repository by its path from the root; None where it is none that may be read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """What the user chose, or the repository tells."""

    image: str
    """Of steps for which none can be told."""
    default_branch: str = "main"


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One file, read."""

    ledger: Ledger
    documents: tuple[MapNode, ...]
    name: str
    """Of the workflow, unless the file says otherwise."""


class Format(Protocol):
    """One other system."""

    @property
    def name(self) -> str:
        """As `--from` has it."""

    @property
    def title(self) -> str:
        """As its makers call it."""

    @property
    def patterns(self) -> Sequence[str]:
        """Its files, from the repository's root."""

    @property
    def has_history(self) -> bool:
        """Whether its checkouts bring more commits than the one that is built."""

    def drafts(
        self, sources: Sequence[Source], choices: Choices, read: ReadFile
    ) -> list[WorkflowDraft]:
        """The workflows of its files. Pure but for `read`. Raises Unreadable."""
