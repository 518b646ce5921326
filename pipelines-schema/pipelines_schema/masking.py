"""Keeping secrets out of what is shown: every occurrence becomes `***`, also across the borders of
chunks.

Pure. What can still become a secret is held back until more comes or the text ends.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable

from pipelines_schema.secret_forms import families

MASK = b"***"
_BEGINNING = 3
"""So many bytes tell whether a form can begin at a place. No form is shorter."""


class Masker:
    """Masks one stream. `take` gives what is safe to show so far, `end` the rest.

    Whoever shortens a text masks it first: what a cut leaves of a secret is none of its forms.
    """

    def __init__(self, secrets: Iterable[str]) -> None:
        self._families = families(secrets)
        forms = {form for family in self._families for form in family.forms}
        self._longest = max(map(len, forms), default=0)
        self._begin_with: dict[bytes, list[bytes]] = {}
        for form in sorted(forms):
            self._begin_with.setdefault(form[:_BEGINNING], []).append(form)
        self._beginning = re.compile(b"|".join(map(re.escape, self._begin_with)) or b"(?!)")
        self._shorter = {form[:size] for form in forms for size in range(1, _BEGINNING)}
        self._held = b""
        self._covered = 0
        """So many of the held bytes belong to a secret whose mask is out already."""

    def fresh(self) -> Masker:
        """For another stream; the forms are worked out once."""
        other = copy.copy(self)
        other._held, other._covered = b"", 0
        return other

    def hide(self, text: str) -> str:
        """A whole text with its secrets masked, whatever is taken meanwhile. What no UTF-8 can hold
        becomes `?`."""
        data = text.encode(errors="replace")
        if not any(family.common in data for family in self._families):
            return text
        whole = self.fresh()
        return (whole.take(data) + whole.end()).decode(errors="replace")

    def take(self, data: bytes) -> bytes:
        text = self._held + data
        return self._release(text, self._first_open(text))

    def end(self) -> bytes:
        return self._release(self._held, len(self._held))

    def _first_open(self, text: bytes) -> int:
        """Where the first beginning of a secret stands that the text's end cuts off."""
        start = max(0, len(text) - self._longest + 1)
        found = self._beginning.search(text, start)
        while found is not None:
            position = found.start()
            rest = text[position:]
            for form in self._begin_with[found[0]]:
                if len(form) > len(rest) and form.startswith(rest):
                    return position
            found = self._beginning.search(text, position + 1)
        for position in range(max(start, len(text) - _BEGINNING + 1), len(text)):
            if text[position:] in self._shorter:
                return position
        return len(text)

    def _release(self, text: bytes, until: int) -> bytes:
        """Mask the text up to `until` and hold the rest."""
        spans = self._spans(text)
        shown: list[bytes] = []
        done = 0
        covered = 0
        for begin, end, masked in spans:
            if begin >= until:
                if masked:
                    covered = end - until
                break
            shown.append(text[done:begin])
            if not masked:
                shown.append(MASK)
            done = end
            if end > until:
                covered = end - until
        if done < until:
            shown.append(text[done:until])
        self._held, self._covered = text[until:], covered
        return b"".join(shown)

    def _spans(self, text: bytes) -> list[tuple[int, int, bool]]:
        """The secrets' places, those that overlap made one; True where the mask is out already."""
        found: list[tuple[int, int]] = [(0, self._covered)] if self._covered else []
        for family in self._families:
            at = family.longest.search(text) if family.common in text else None
            while at is not None:
                found.append(at.span())
                at = family.longest.search(text, at.start() + 1)
        spans: list[tuple[int, int, bool]] = []
        for begin, end in sorted(found):
            if spans and begin < spans[-1][1]:
                first, last, masked = spans[-1]
                spans[-1] = (first, max(last, end), masked)
            else:
                spans.append((begin, end, begin == 0 and self._covered > 0))
        return spans
