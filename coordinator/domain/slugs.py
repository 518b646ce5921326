"""Slugs: names as they stand in a URL."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Container

MAX_LENGTH = 60
UUID_TEXT = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def slug_of(name: str, *, fallback: str) -> str:
    """Lower-case letters, digits and single `-`; `fallback` where nothing is left of the name."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z0-9]+", "-", plain.lower()).strip("-")[:MAX_LENGTH].strip("-") or fallback


def account_slug(key: str) -> str:
    """Of the id that an account is made with: that very id where it can stand in a URL.

    Otherwise a few digits of its hash close the slug, so that no other id, such as `a-c` beside
    `a_c`, names the same account by it.
    """
    slug = slug_of(key, fallback="account")
    if slug == key or UUID_TEXT.fullmatch(key.lower()):
        return slug
    return f"{slug}-{hashlib.sha256(key.encode()).hexdigest()[:8]}"


def free_slug(wanted: str, taken: Container[str]) -> str:
    """`wanted`, or `wanted-2`, `wanted-3`, … where it is taken."""
    slug, number = wanted, 1
    while slug in taken:
        number += 1
        slug = f"{wanted}-{number}"
    return slug
