"""Logs of several steps in one stream of whole lines, each with its step's name before it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

LONGEST_PARTIAL_BYTES = 64 * 1024
"""A longer line is shown in pieces, so that a log without line ends stays live."""

Write = Callable[[bytes], None]


@dataclass(slots=True, kw_only=True)
class PrefixedLines:
    """Takes one step's bytes as they come and writes them as whole lines, marked."""

    prefix: bytes
    write: Write
    _partial: bytearray = field(default_factory=bytearray, init=False)

    def feed(self, data: bytes) -> None:
        self._partial += data
        end = self._partial.rfind(b"\n") + 1
        if end == 0 and len(self._partial) > LONGEST_PARTIAL_BYTES:
            end = len(self._partial)
        self._show(bytes(self._partial[:end]))
        del self._partial[:end]

    def close(self) -> None:
        """Write the last line, which had no end."""
        self._show(bytes(self._partial))
        self._partial.clear()

    def _show(self, lines: bytes) -> None:
        if lines:
            # Not splitlines(): a carriage return, as progress bars write it, ends no line here.
            whole = lines.removesuffix(b"\n").split(b"\n")
            self.write(b"".join(self.prefix + line + b"\n" for line in whole))


def prefix_for(name: str, names: list[str]) -> str:
    """`test    | `, as wide as the longest name (names beyond 24 characters stick out)."""
    width = min(24, max(map(len, names), default=0))
    return f"{name:<{width}} | "
