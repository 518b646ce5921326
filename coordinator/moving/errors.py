"""Why nothing was moved, or not all of it; each message says what to do."""

from __future__ import annotations


class MoveError(Exception):
    """The message says what it is and what to do."""


class NothingToMove(MoveError):
    """There is no installation in the data folder, or nothing else was asked for."""


class TargetOccupied(MoveError):
    """Something else is where this was to go."""


class TargetDiffers(MoveError):
    """What was written is not what is read there."""
