"""Outputs that were named and never came."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from pathlib import PurePosixPath

MAX_LISTED = 10
MAX_SHOWN_CHARACTERS = 100


def missing_outputs(paths: Sequence[str], stored: Collection[str]) -> str | None:
    """What to tell people of paths and patterns of which nothing is stored; None: all came.

    Of a pattern something came if the folder that it looks into has something: who wants to know
    better sees the artifacts.
    """
    known = {*stored, *(folder for name in stored for folder in _above(name))}
    missing = [path for path in paths if _place(path) not in known]
    if not missing:
        return None
    listed = ", ".join(path[:MAX_SHOWN_CHARACTERS] for path in missing[:MAX_LISTED])
    more = ", …" if len(missing) > MAX_LISTED else ""
    return (
        f"never uploaded, so that no step finds it: {listed}{more} (PUT "
        "/api/runner/STEP/artifacts/PATH before the completion)"
    )


def _above(name: str) -> Iterator[str]:
    return (str(folder) for folder in PurePosixPath(name).parents)


def _place(path: str) -> str:
    """The path, or what stands before a pattern's first segment with a wildcard."""
    segments = path.rstrip("/").split("/")
    wild = next((i for i, one in enumerate(segments) if re.search(r"[*?]", one)), len(segments))
    return str(PurePosixPath(*segments[:wild]))
