"""What the command line tells people when it can't do what they asked."""

from __future__ import annotations

import os
import ssl
from typing import IO, Any

import click


class CommandError(click.ClickException):
    """Ends the command with exit code 1; the message says in one line what to do."""

    def show(self, file: IO[Any] | None = None) -> None:
        click.echo(f"pushrod: {self.message}", err=True, file=file)


class UnreachableError(CommandError):
    """The coordinator does not answer; the same call may succeed later."""


class UnauthorizedError(CommandError):
    """The coordinator does not accept the token, or none was given."""


class NotFoundError(CommandError):
    """There is no such thing, or the token may not see it."""


class RefusedError(CommandError):
    """The coordinator understood the call and will not do it."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class ProtocolError(CommandError):
    """Something answers at the URL, but not as a coordinator does."""


def describe_os_error(error: OSError) -> str:
    """`No such file or directory`, without the errno and the quoted path."""
    return os.strerror(error.errno) if error.errno else str(error)


def describe_connection_error(error: Exception) -> str:
    """`Connection refused`, without the client's own words about the host and its TLS."""
    cause = getattr(error, "os_error", error)
    if isinstance(cause, OSError) and not isinstance(cause, ssl.SSLError) and cause.errno:
        # Name lookups have negative numbers, which are no errnos.
        return os.strerror(cause.errno) if cause.errno > 0 else str(cause.strerror)
    return " ".join(str(error).split()) or "it did not answer in time"
