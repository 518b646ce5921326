"""What git says it can do, by what that depends on: itself, and a repository's configuration."""

from __future__ import annotations

import asyncio
import os
import shutil
from pathlib import Path

MAX_KNOWN = 64

Origin = tuple[bytes, str, int]
"""The repository's configuration, git's path and when it was installed."""


class KnownCapabilities:
    def __init__(self) -> None:
        self._answers: dict[Origin, bytes] = {}

    async def origin(self, repository: Path) -> Origin | None:
        """None where the configuration or git can't be read."""
        return await asyncio.to_thread(_origin, repository)

    def find(self, origin: Origin | None) -> bytes | None:
        return self._answers.get(origin) if origin is not None else None

    def keep(self, origin: Origin, answer: bytes) -> bytes:
        if len(self._answers) >= MAX_KNOWN:
            self._answers.clear()
        self._answers[origin] = answer
        return answer


def _origin(repository: Path) -> Origin | None:
    git = shutil.which("git")
    try:
        config = (repository / "config").read_bytes()
        return (config, git, os.stat(git).st_mtime_ns) if git else None
    except OSError:
        return None
