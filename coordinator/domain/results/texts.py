"""Outsiders' words, brought to a length and a form that can be kept and shown."""

from __future__ import annotations

import codecs

from coordinator.domain.results.limits import MAX_DETAILS_CHARACTERS, MAX_NAME_CHARACTERS
from pipelines_schema.masking import Masker

_LEFT_OUT = "\n[… {left:,} characters left out …]\n"
_KEPT = MAX_DETAILS_CHARACTERS // 2


def one_line(text: str, most: int = MAX_NAME_CHARACTERS) -> str:
    """Without control characters, shortened at its end."""
    line = "".join(character if character.isprintable() else " " for character in text[: 4 * most])
    line = " ".join(line.split())
    return line if len(line) <= most else line[: most - 1] + "…"


def storable(text: str, most: int) -> str:
    """Several lines: without NUL and half surrogate pairs, shortened at their end."""
    kept = text.strip("\n")[:most].replace("\0", "\ufffd")
    return kept.encode("utf-8", "replace").decode()


class MiddleOut:
    """Text that comes in pieces, of which beginning and end are kept, without secrets."""

    def __init__(self, masker: Masker) -> None:
        """`masker`: of this text alone."""
        self._masker = masker
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._begin = ""
        self._end = ""
        self._total = 0

    def add(self, piece: str) -> None:
        self._keep(self._decoder.decode(self._masker.take(piece.encode(errors="replace"))))

    def _keep(self, piece: str) -> None:
        self._total += len(piece)
        room = _KEPT - len(self._begin)
        if room > 0:
            self._begin += piece[:room]
            piece = piece[room:]
        if piece:
            self._end = (self._end + piece)[-2 * _KEPT :]

    def end(self) -> str:
        """What is kept of the whole; nothing may be added then."""
        self._keep(self._decoder.decode(self._masker.end(), final=True))
        end = self._end[-_KEPT:]
        left = self._total - len(self._begin) - len(end)
        middle = _LEFT_OUT.format(left=left) if left > 0 else ""
        whole = self._begin + middle + end
        return storable(whole, len(whole))
