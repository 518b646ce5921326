"""Logs for a terminal: a script's bytes may have colours, and do nothing else to it.

Whatever moves the cursor, clears, sets a title or asks the terminal for an answer is shown instead
of obeyed: it could overwrite what other steps printed, or put words into the reader's shell.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable
from dataclasses import dataclass, field

LONGEST_COLOUR = 64
"""Characters that a colour may take; what is longer is none."""

_COLOUR = re.compile(r"\x1b\[[0-9;:]*m")
_BEGUN = re.compile(r"\x1b(\[[0-9;:]*)?\Z|\r\Z")
"""What the next bytes may make a colour or a line end."""
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_PART = re.compile(r"\x1b\[[0-9;:]{0,60}m|\r\n|[^\x00-\x08\x0b-\x1f\x7f-\x9f]+|.", re.DOTALL)


def safe_text(text: str) -> str:
    """The text with all that a terminal would obey, but for colours, written out."""
    return "".join(map(_shown, _PART.findall(text)))


def _shown(part: str) -> str:
    if part == "\r\n" or _COLOUR.fullmatch(part):
        return part
    if part == "\r":
        return "\n"  # a progress bar's next state: a line of its own, over nothing
    if _CONTROL.fullmatch(part):
        return part.encode("unicode_escape").decode("ascii")
    return part


@dataclass(slots=True)
class SafeBytes:
    """Takes one log's bytes as they come; what may go on is held back until it is clear."""

    write: Callable[[bytes], None]
    _decoder: codecs.IncrementalDecoder = field(
        default_factory=lambda: codecs.getincrementaldecoder("utf-8")("backslashreplace")
    )
    _held: str = ""

    def feed(self, data: bytes) -> None:
        text = self._held + self._decoder.decode(data)
        begun = _BEGUN.search(text)
        cut = begun.start() if begun and len(text) - begun.start() < LONGEST_COLOUR else len(text)
        self._held = text[cut:]
        self._show(text[:cut])

    def close(self) -> None:
        text = self._held + self._decoder.decode(b"", final=True)
        self._held = ""
        self._show(text)

    def _show(self, text: str) -> None:
        if text:
            self.write(safe_text(text).encode("utf-8", "backslashreplace"))
