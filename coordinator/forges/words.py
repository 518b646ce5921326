"""What the forges' status calls have in common. Pure."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping

from coordinator.domain.outbox.forge_place import ForgePlace

MAX_NAME_CHARACTERS = 255


def shortened(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def distinct(name: str, most: int = MAX_NAME_CHARACTERS) -> str:
    """Shortened such that no two become one: a status is known by it."""
    if len(name) <= most:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:8]
    return f"{name[: most - len(digest) - 1]}~{digest}"


def has_label(host: str, *words: str) -> bool:
    """Whether a part of the host's name is one of these, as in `gitlab.example.org`."""
    return not set(host.split(".")).isdisjoint(words)


def bearer_or_basic(place: ForgePlace) -> Mapping[str, str]:
    """USER:TOKEN is a password, a token alone bears itself."""
    if ":" in place.token:
        pair = base64.b64encode(place.token.encode()).decode("ascii")
        return {"Authorization": f"Basic {pair}"}
    return {"Authorization": f"Bearer {place.token}"}
