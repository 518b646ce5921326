"""Answers while the machine is in trouble: its disk is full, its database locked.

That hits every call at once, so the log has a line a minute of it and no tracebacks.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import structlog
from aiohttp import web

from coordinator.api.http.error_shapes import error_answer
from coordinator.storage.trouble import Trouble

log = structlog.get_logger()

LOG_EVERY_SECONDS = 60.0
RETRY_AFTER_SECONDS = 5
LFS_MEDIA_TYPE = "application/vnd.git-lfs+json"
STATUS: Mapping[Trouble, int] = {
    Trouble.DISK_FULL: 507,
    Trouble.DATABASE_BUSY: 503,
    Trouble.DATABASE_AWAY: 503,
    Trouble.DATABASE_UNKNOWN: 503,
    Trouble.TAKEN_OVER: 503,
    Trouble.DATABASE_FULL: 507,
    Trouble.DESCRIPTORS: 503,
    Trouble.DISK: 503,
    Trouble.OBJECTS: 503,
}


@dataclass(slots=True)
class Troubles:
    """What was said of them."""

    _said_at: dict[Trouble, float] = field(default_factory=dict)
    _unsaid: dict[Trouble, int] = field(default_factory=dict)

    def answer(self, request: web.Request, trouble: Trouble) -> web.Response:
        self._note(request, trouble)
        maybe = trouble.leaves_open
        changed = "look whether it was changed" if maybe else "nothing was changed"
        message = f"{trouble}: {changed}; try again later"
        response = _for_git(request, STATUS[trouble], message)
        response = response or error_answer(request, STATUS[trouble], message)
        response.headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
        return response

    def _note(self, request: web.Request, trouble: Trouble) -> None:
        now = time.monotonic()
        if now - self._said_at.get(trouble, float("-inf")) < LOG_EVERY_SECONDS:
            self._unsaid[trouble] = self._unsaid.get(trouble, 0) + 1
            return
        self._said_at[trouble] = now
        unsaid = self._unsaid.pop(trouble, 0)
        log.error(
            "requests fail", trouble=str(trouble), path=request.path, more_since_last_told=unsaid
        )


def _for_git(request: web.Request, status: int, message: str) -> web.Response | None:
    """As git, or git-lfs, shows it to its user; None where neither asks."""
    if not request.path.startswith("/git/"):
        return None
    text = f"pushrod: {message}"
    if "/info/lfs/" in request.path:
        return web.json_response({"message": text}, status=status, content_type=LFS_MEDIA_TYPE)
    return web.Response(text=f"{text}\n", status=status)


TROUBLES = web.AppKey("troubles", Troubles)
