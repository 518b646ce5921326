"""One class per reaction; only the HTTP middleware knows status codes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


class CoordinatorError(Exception):
    """Root of all errors the coordinator answers with."""

    def __init__(
        self, message: str, *, details: Sequence[Mapping[str, Any]] = (), **fields: Any
    ) -> None:
        super().__init__(message)
        self.message = message
        self.details = list(details)
        self.fields = fields
        """Further members of the JSON answer, such as `offset` or `stale`."""


class Invalid(CoordinatorError):
    """The request can't be understood or breaks a rule; says what to write instead."""


class Unauthenticated(CoordinatorError):
    """No token, or one that isn't known, has expired or was revoked."""


class Forbidden(CoordinatorError):
    """The token is known but its role doesn't allow this."""


class NotFound(CoordinatorError):
    """There is no such thing, or not in an account the token may see."""


class Conflict(CoordinatorError):
    """The thing is not in a state in which this can be done."""


class TooMany(CoordinatorError):
    """More requests than the limit; `retry_after` says when, in seconds, there may be another."""

    def __init__(self, message: str, *, retry_after: int) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class TooLarge(CoordinatorError):
    """More bytes than the limit."""


class TooSlow(CoordinatorError):
    """The request did not come within the time for it; its connection is closed."""


class Unfetchable(Conflict):
    """A submodule or LFS file can't be had; the message names it, and says what to do."""


class NotYet(CoordinatorError):
    """It is being worked on: the same request, a second later, is answered."""


class StaleEpoch(Conflict):
    """The attempt was handed out anew or has ended: the caller stops that work."""

    def __init__(self, message: str = "this attempt is no longer yours") -> None:
        super().__init__(message, stale=True)


class NotTheHolder(Conflict):
    """Somebody else holds the hand-out: only he reports on it."""


class LogIncomplete(Conflict):
    """The log isn't acknowledged up to where the caller says; resume at `offset`."""

    def __init__(self, message: str, offset: int) -> None:
        super().__init__(message, offset=offset)
        self.offset = offset
