"""The other coordinators, of several: what each is told of that it would not look for by itself.

Nothing rests on these words: one that is lost is found out by looking, seconds later.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Any, Protocol


class Word(StrEnum):
    """With what is said of it."""

    READY = "ready"
    """Steps are ready."""
    CANCELLED = "cancelled"
    """A build's id, and those of its steps that were spared."""
    ENDED = "ended"
    """A step's id, and the epoch of its attempt that ended: whoever gives it terms need not."""
    AGENT = "agent"
    """What became of an agent (AgentWord), its id, and the process that it was of."""
    OVER = "over"
    """A step's id, the epoch, and the home of its agent, which fell silent: what comes of that is
    for the leader to say."""
    LOG = "log"
    """The attempt whose log has grown: said once for each byte."""
    TOPIC = "topic"
    """Of news."""
    RESOLVING = "resolving"
    CLOCK = "clock"
    """A build has begun that has a timeout."""
    BUILD = "build"
    """The id of one that ended, its project's, and its state."""
    ATTEMPT = "attempt"
    """How it ended."""
    WAITED = "waited"
    """For how many seconds a step was ready."""


class AgentWord(StrEnum):
    PAUSED = "paused"
    DRAINED = "drained"
    RESUMED = "resumed"
    REVOKED = "revoked"
    GONE = "gone"
    MOVED = "moved"
    """It is at another coordinator now."""


class LeftToTheLeader(Exception):
    """What this needs is with the leader alone: nothing was done."""


Hear = Callable[..., None]
"""Called with how often it was said, and what."""


class Others(Protocol):
    @property
    def home(self) -> str:
        """The name by which agents are at this coordinator."""

    @property
    def leads(self) -> bool:
        """Whether this coordinator does what only one does."""

    def tell(self, word: Word, *said: Any, times: int = 1) -> None:
        """Soon, and in no order."""
