"""Files that a coordinator lets be fetched from its object store, at an address of short life.

Who follows sends no token there, and writes the address nowhere: it is a credential.
"""

from __future__ import annotations

from urllib.parse import urlsplit

STATUS = 307
HEADER = "Redirects"
"""Of a request: whether its sender follows. Without it a step's token gets the bytes themselves,
since scripts and older agents follow nothing, and everybody else the address."""
FOLLOW, NONE = "follow", "none"
SMALLEST_BYTES = 1024 * 1024
"""What is smaller comes from the coordinator: a second connection would take longer."""


def address_to_follow(base: str, location: str | None) -> str | None:
    """`location`, unless it is no URL of the web, or is plain HTTP while the coordinator at `base`
    is not."""
    if location is None:
        return None
    try:
        parts = urlsplit(location)
    except ValueError:
        return None
    allowed = ("https",) if urlsplit(base).scheme == "https" else ("https", "http")
    return location if parts.scheme in allowed and parts.hostname else None
