"""Ids as requests write them."""

from __future__ import annotations

import re

_ID = re.compile(r"([a-z]+-)?[0-9a-f]{8}(-?[0-9a-f]{4}){3}-?[0-9a-f]{12}", re.IGNORECASE | re.ASCII)
"""A UUID, also one without dashes behind a word, as `build-…` is."""


def lower_id(text: str) -> str:
    """As we write it, if it is an id of ours; any other text unchanged."""
    return text.lower() if _ID.fullmatch(text) else text
