"""What all forges' webhooks have in common: a signature, a JSON body that may hold anything."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import parse_qs

from coordinator.domain.pushes.deliveries import ForgeEvent

MAX_DELIVERY_ID_CHARACTERS = 200
_DELIVERY_ID = re.compile(rf"[!-~]{{1,{MAX_DELIVERY_ID_CHARACTERS}}}", re.ASCII)
MAX_MESSAGE_CHARACTERS = 10_000
_PREFIX = "sha256="


class Unreadable(ValueError):
    """The body is not what this forge sends; the message says what is wrong with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedDelivery:
    delivery_id: str
    event: ForgeEvent


def verify_hmac(secret: str, signature: str | None, body: bytes) -> bool:
    """Whether `signature` is `sha256=` and the HMAC of the raw body; in constant time."""
    expected = _PREFIX + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    given = (signature or "").strip().encode("utf-8", "surrogateescape")
    return hmac.compare_digest(expected.encode(), given)


def read_body(headers: Mapping[str, str], body: bytes) -> object:
    """The JSON of a body, also of a form's `payload` field. Raises Unreadable.

    curl calls everything a form unless it is told otherwise, so one without that field is JSON too.
    """
    text = body.decode("utf-8", "replace")
    if headers.get("Content-Type", "").startswith("application/x-www-form-urlencoded"):
        with suppress(ValueError):
            text = parse_qs(text, max_num_fields=10).get("payload", [text])[0]
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Unreadable("the body must be JSON") from error


def read_delivery_id(given: object, body: bytes) -> str:
    """The forge's own id; where it gives none, a digest of the body. Raises Unreadable."""
    if given is None or given == "":
        return f"sha256:{hashlib.sha256(body).hexdigest()}"
    if not isinstance(given, str) or not _DELIVERY_ID.fullmatch(given):
        raise Unreadable(
            f"a delivery's id is at most {MAX_DELIVERY_ID_CHARACTERS} visible ASCII characters"
        )
    return given


def inner(value: object, *path: str) -> object:
    """What stands at `path`; None where anything on the way is missing or no object."""
    for name in path:
        if not isinstance(value, dict):
            return None
        value = value.get(name)
    return value


def text(value: object, *path: str) -> str | None:
    """The text at `path`, such that any database stores it; None where it is none."""
    found = inner(value, *path)
    if not isinstance(found, str):
        return None
    return found.encode("utf-8", "replace").decode().replace("\0", "\ufffd")


def commit_message(value: object, *path: str) -> str | None:
    """The beginning of the message at `path`: what is read later from the commit is the whole."""
    found = text(value, *path)
    return None if found is None else found[:MAX_MESSAGE_CHARACTERS]


def event_name(given: str | None, default: str) -> str:
    """An event's type as shown to people: a word of at most 100 letters."""
    return re.sub(r"[^\w.:-]", "?", given or default, flags=re.ASCII)[:100]
