"""What a data folder says of moves: their number while one goes on, and where its things went.

The number is what tells a target that an earlier try of this installation left from one that is
somebody else's.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from coordinator.place import Moved, read_moved, write_moved
from coordinator.services.keys import write_private

MOVING = "moving"
"""The file that holds the number of a move which is not finished."""


@dataclass(frozen=True, slots=True)
class Marks:
    data: Path

    def begun(self) -> str:
        """The number of this installation's move, from before its first trace elsewhere."""
        path = self.data / MOVING
        if not path.exists():
            write_private(path, secrets.token_hex(16).encode())
        return path.read_text().strip()

    def moved(self) -> Sequence[Moved]:
        return read_moved(self.data)

    def was_moved(self, moved: Moved) -> bool:
        return moved in self.moved()

    def note(self, *done: Moved) -> None:
        """Nobody goes on from there by mistake."""
        before = [one for one in self.moved() if one not in done]
        # What a thing is moved to is in use again.
        targets = {(one.what, one.target) for one in done}
        kept = [one for one in before if (one.what, one.source) not in targets]
        write_moved(self.data, [*kept, *done])

    def end(self) -> None:
        (self.data / MOVING).unlink(missing_ok=True)
