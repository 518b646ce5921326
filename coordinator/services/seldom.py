"""What is done for each of many things, but for none of them often."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta


@dataclass(slots=True)
class Seldom:
    every: timedelta
    _done: dict[str, datetime] = field(default_factory=dict)
    """The oldest first: no key is put in again before it was taken out."""

    def __len__(self) -> int:
        """How many things are remembered."""
        return len(self._done)

    def is_due(self, key: str, now: datetime) -> bool:
        """Whether it is time again; if so, it is taken for done now."""
        while self._done and now - next(iter(self._done.values())) >= self.every:
            del self._done[next(iter(self._done))]
        if key in self._done:
            return False
        self._done[key] = now
        return True
