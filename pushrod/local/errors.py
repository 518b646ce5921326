"""Why nothing was run."""

from __future__ import annotations

from pushrod.errors import CommandError


class CannotRun(CommandError):
    """Ends the command with exit code 2: no build has begun."""

    exit_code = 2
