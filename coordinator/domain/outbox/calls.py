"""One request to somebody else's server, and what its answer means. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from enum import Enum

from coordinator.domain.errors import Invalid

MAX_REASON_CHARACTERS = 500
MAX_WAIT = timedelta(hours=1)
"""A server that names a later time is asked sooner."""
DEFAULT_LIMIT_WAIT = timedelta(minutes=1)
"""Where a server says that we ask too often, but not until when."""
FIRST_WAIT = timedelta(seconds=2)
LONGEST_WAIT = timedelta(minutes=15)
GIVE_UP_AFTER = timedelta(hours=24)
"""So long is one tried that its server never answers."""
REFUSALS = 6
"""So often is one tried that its server refuses: a commit may be known there a little later."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """`headers` and the URL may hold secrets: neither is logged."""

    method: str
    url: str = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    status: int
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes = b""


class Answered(Enum):
    TAKEN = "taken"
    REFUSED = "refused"
    """This message; another may be taken."""
    BUSY = "busy"
    """Nothing is taken at present."""
    NEEDLESS = "needless"
    """There is nothing to tell after all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    answered: Answered
    reason: str | None = None
    wait: timedelta | None = None
    """The server says how long not to ask again."""
    final: bool = False
    """Of a refusal: another try would end the same."""
    status: int | None = None
    """HTTP's, of a refusal by a server."""


TAKEN = Outcome(answered=Answered.TAKEN)
GONE = Outcome(answered=Answered.REFUSED, reason="its recipient was removed", final=True)
_WHAT_TO_DO = {
    401: "; the token is not valid (any more): set another",
    403: "; the token lacks the right to do this",
    404: "; there is no such repository or commit there, or the token may not see it",
}


def json_call(method: str, url: str, headers: Mapping[str, str], body: object) -> Call:
    return Call(
        method=method,
        url=url,
        headers={"Content-Type": "application/json", "User-Agent": "pushrod", **headers},
        body=json.dumps(body, ensure_ascii=False).encode("utf-8", "replace"),
    )


def get(url: str, headers: Mapping[str, str]) -> Call:
    accepted = {"Accept": "application/json", "User-Agent": "pushrod", **headers}
    return Call(method="GET", url=url, headers=accepted)


def read_reply(reply: Reply, now: datetime) -> Outcome:
    """As HTTP and the forges' documents have it."""
    status = reply.status
    if 200 <= status < 300:
        return TAKEN
    if status == 429 or (status == 403 and _is_limited(reply)):
        wait = _named_wait(reply, now) or DEFAULT_LIMIT_WAIT
        return Outcome(
            answered=Answered.BUSY, reason=f"{status}: asked too often{_said(reply)}", wait=wait
        )
    if status in (408, 425) or status >= 500:
        return Outcome(
            answered=Answered.BUSY,
            reason=f"the answer is {status}{_said(reply)}",
            wait=_named_wait(reply, now),
        )
    if 300 <= status < 400:
        reason = f"{status}: a redirect, which is not followed"
    else:
        reason = f"{status}{_said(reply)}{_WHAT_TO_DO.get(status, '')}"
    return Outcome(answered=Answered.REFUSED, reason=reason, status=status)


def _is_limited(reply: Reply) -> bool:
    """GitHub answers 403 for this, too."""
    if "retry-after" in reply.headers or reply.headers.get("x-ratelimit-remaining") == "0":
        return True
    return b"rate limit" in reply.body.lower()


def _named_wait(reply: Reply, now: datetime) -> timedelta | None:
    """`Retry-After` in seconds or as a date; else the time at which a limit is lifted."""
    named = reply.headers.get("retry-after", "")
    if named.isdigit():
        return _bounded(timedelta(seconds=min(int(named[:9]), MAX_WAIT.seconds + 1)))
    try:
        return _bounded(parsedate_to_datetime(named) - now)
    except (TypeError, ValueError, IndexError):
        pass
    for name in ("x-ratelimit-reset", "ratelimit-reset"):
        lifted = reply.headers.get(name, "")
        if lifted.isdigit() and len(lifted) < 12:
            return _bounded(timedelta(seconds=int(lifted) - now.timestamp()))
    return None


def _bounded(wait: timedelta) -> timedelta:
    return min(max(wait, timedelta(seconds=1)), MAX_WAIT)


def _said(reply: Reply) -> str:
    """The first words of an answer's JSON, such as forges give; other answers are pages."""
    try:
        said = json.loads(reply.body)
    except (ValueError, RecursionError):
        return ""
    words = _words(said)
    return f": {' '.join(words.split())[: MAX_REASON_CHARACTERS // 2]}" if words else ""


def _words(said: object) -> str:
    if isinstance(said, str):
        return said
    if isinstance(said, list):
        return _words(said[0]) if said else ""
    if isinstance(said, dict):
        for name in ("message", "error", "errors", "error_description"):
            if words := _words(said.get(name)):
                return words
    return ""


def pause(failures: int) -> timedelta:
    """Before a server is asked again that was busy or away so often in a row."""
    return min(FIRST_WAIT * 2.0 ** min(failures - 1, 20), LONGEST_WAIT)


def is_given_up(outcome: Outcome, attempts: int, tried_since: datetime, now: datetime) -> bool:
    if outcome.answered is Answered.REFUSED:
        return outcome.final or attempts >= REFUSALS
    return now - tried_since >= GIVE_UP_AFTER


def checked_token(text: str) -> str:
    """Without what surrounds it. Raises Invalid."""
    token = text.strip()
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise Invalid("the token must be one line: TOKEN or USER:TOKEN")
    return token
