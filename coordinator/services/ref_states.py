"""Whether a project's tags and branches are still those that somebody has seen.

In memory alone: after a restart every state is a new one, which costs its readers one look.
"""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field

TAGS = "refs/tags/"


@dataclass(slots=True)
class RefStates:
    _process: str = field(default_factory=lambda: secrets.token_hex(8))
    _tags: Counter[str] = field(default_factory=Counter)
    _all: Counter[str] = field(default_factory=Counter)

    def moved(self, project_id: str, refs: Collection[str]) -> None:
        """These refs are in the repository as they are from now on, or are gone."""
        self._all[project_id] += 1
        if any(ref.startswith(TAGS) for ref in refs):
            self._tags[project_id] += 1

    def of_tags(self, project_id: str) -> str:
        """Another text once a tag has moved."""
        return f"{self._process}-{self._tags[project_id]}"

    def of_all(self, project_id: str) -> str:
        """Another text once any ref has moved."""
        return f"{self._process}-all-{self._all[project_id]}"
