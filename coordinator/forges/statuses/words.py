"""What the forges' status calls have in common. Pure."""

from __future__ import annotations

import base64
from collections.abc import Mapping

from coordinator.domain.outbox.forge_place import ForgePlace


def shortened(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def has_label(host: str, *words: str) -> bool:
    """Whether a part of the host's name is one of these, as in `gitlab.example.org`."""
    return not set(host.split(".")).isdisjoint(words)


def bearer_or_basic(place: ForgePlace) -> Mapping[str, str]:
    """USER:TOKEN is a password, a token alone bears itself."""
    if ":" in place.token:
        pair = base64.b64encode(place.token.encode()).decode("ascii")
        return {"Authorization": f"Basic {pair}"}
    return {"Authorization": f"Bearer {place.token}"}
