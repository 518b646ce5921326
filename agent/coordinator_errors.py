"""What may come of a call to the coordinator: errors by what the agent does about them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import aiohttp

MAX_MESSAGE_CHARACTERS = 8192
"""Of an answer's error. More than a step's message may have: that is masked before it is cut."""
TRY_AGAIN_STATUSES = frozenset({408, 425, 429})


class CoordinatorError(Exception):
    """A call did not succeed."""


class CoordinatorUnavailableError(CoordinatorError):
    """The coordinator is away or in trouble: the same call may succeed later."""


class StaleLeaseError(CoordinatorError):
    """The attempt is no longer this agent's: stop its work and forget it."""


class CredentialRefusedError(CoordinatorError):
    """401: the coordinator does not know this token (any more)."""

    def __init__(self, message: str, credential: str) -> None:
        super().__init__(message)
        self.credential = credential


class CallRefusedError(CoordinatorError):
    """The coordinator will never accept this call; the message is its own."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{message} ({status})")
        self.status = status
        self.message = message


class WrongOffsetError(CoordinatorError):
    """The log is acknowledged up to `offset`: resume there."""

    def __init__(self, offset: int) -> None:
        super().__init__(f"the log is to be resumed at byte {offset}")
        self.offset = offset


async def error_of(response: aiohttp.ClientResponse, token: str) -> CoordinatorError:
    """Which of our errors an unsuccessful response to a call with this token is."""
    try:
        text = (await response.read()).decode("utf-8", "replace")
    except (aiohttp.ClientError, TimeoutError) as error:
        return CoordinatorUnavailableError(sentence(error))
    status = response.status
    body = _json_object(text)
    message = str(body.get("error") or text.strip() or response.reason)[:MAX_MESSAGE_CHARACTERS]
    if status >= 500 or status in TRY_AGAIN_STATUSES:
        return CoordinatorUnavailableError(f"{message} ({status})")
    if status == 401:
        return CredentialRefusedError(message, token)
    if status == 409 and not body.get("stale") and isinstance(body.get("offset"), int):
        return WrongOffsetError(body["offset"])
    if status == 409 and (body.get("stale") or response.url.path.endswith("/accept")):
        return StaleLeaseError(message)
    return CallRefusedError(status, message)


def _json_object(text: str) -> Mapping[str, Any]:
    try:
        value = json.loads(text)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def sentence(error: BaseException) -> str:
    """Its words, or else its name."""
    return str(error) or type(error).__name__
