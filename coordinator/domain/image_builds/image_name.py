"""What an image is called: its name from the agent's, its tag from all that goes into it."""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections.abc import Mapping

from coordinator.domain.image_builds.refusal import RefusedSources

GENERATOR_VERSION = 1
"""Counted up when the same sources make another image, so that it gets another tag."""
MAX_IMAGE_NAME = 100
TAG_DIGITS = 16
"""Hexadecimal: 64 bits, so that nobody can make sources whose image would replace another."""


def image_name(agent_name: str, *, field: str) -> str:
    """By the registries' rules: lower-case words of letters and digits with `.`, `_`, `-` between.

    Raises RefusedSources where nothing is left.
    """
    plain = unicodedata.normalize("NFKD", agent_name).encode("ascii", "ignore").decode().lower()
    joined = re.sub(r"[^a-z0-9._-]+", "-", plain)
    single = re.sub(r"[._-]*-[._-]*|\.[._]+|_[._]*\.[._]*|_{2,}", _joint, joined)
    name = single.strip("._-")[:MAX_IMAGE_NAME].rstrip("._-")
    if not name:
        raise RefusedSources.of(
            field,
            f"no image can be called {agent_name[:100]!r}: use letters a to z or digits",
        )
    return name


def _joint(found: re.Match[str]) -> str:
    """One separator for several: the rules know few ways to put them side by side."""
    return "-" if "-" in found[0] else "." if "." in found[0] else "_"


def tag(*, account: str, agent_name: str, files: Mapping[str, str]) -> str:
    """Of all files of the commit, the generated ones included.

    The account is one of the inputs, so that nobody's sources make another account's tag.
    """
    inputs = [GENERATOR_VERSION, account, agent_name, sorted(files.items())]
    canonical = json.dumps(inputs, ensure_ascii=True, separators=(",", ":")).encode()
    return hashlib.sha256(canonical).hexdigest()[:TAG_DIGITS]
