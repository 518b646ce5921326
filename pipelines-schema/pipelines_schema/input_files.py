"""Which files of a commit a step's `inputs` name: the coordinator works out what counts, the agent
what it lays into the workspace, both by this."""

from __future__ import annotations

import os
from collections.abc import Sequence

from pipelines_schema.patterns import chosen_by

_WILDCARDS = "*?"


def is_input(patterns: Sequence[str], path: str) -> bool:
    """Whether a file is one; `path` is relative to the repository, as `shown_path` has it."""
    return bool(patterns) and chosen_by(patterns, path)


def may_hold_inputs(patterns: Sequence[str], folder: str) -> bool:
    """Whether a file below the folder might be one: False only where none can."""
    if not patterns:
        return False
    wanted = [pattern for pattern in patterns if not pattern.startswith("!")]
    return not wanted or any(_may_match_below(pattern, folder + "/") for pattern in wanted)


def shown_path(raw: bytes) -> str:
    """Bytes that are not UTF-8 stand as `\\xNN`, on both sides alike."""
    return raw.decode(errors="backslashreplace")


def shown_file(path: str) -> str:
    """Of a path of this machine."""
    return shown_path(os.fsencode(path))


def _may_match_below(pattern: str, below: str) -> bool:
    cut = min((at for sign in _WILDCARDS if (at := pattern.find(sign)) >= 0), default=None)
    if cut is None:
        return pattern.startswith(below)
    fixed = pattern[:cut]
    return fixed.startswith(below) or below.startswith(fixed)
