"""Keeping secrets out of logs: every occurrence becomes `***`, also across the borders of chunks.

Pure. What can still become a secret is held back until more comes or the log ends.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from typing import Protocol

from pipelines_schema.log_frames import Stream

MASK = b"***"
MIN_SECRET_BYTES = 3
"""Shorter ones (a line that is `}`) would mask half the log and protect nothing."""
BASE64_COLUMNS = 76
"""Where `base64` breaks its lines."""


def patterns(secrets: Iterable[str]) -> tuple[bytes, ...]:
    """All that a secret can look like in a log: each of its lines, and its base64.

    Not the whole of several lines, since masking the line ends would run the log together.
    """
    found: dict[bytes, None] = {}
    for secret in secrets:
        value = secret.encode()
        lines = [line.strip() for line in value.splitlines()]
        for text in (*lines, *_base64_forms(value)):
            if len(text) >= MIN_SECRET_BYTES:
                found[text] = None
    return tuple(found)


def _base64_forms(value: bytes) -> Iterable[bytes]:
    """Of the value alone, and of its middle wherever it begins within a longer text."""
    for text in (value, value + b"\n"):
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            encoded = encode(text)
            yield encoded
            yield encoded.rstrip(b"=")
            if len(encoded) > BASE64_COLUMNS:
                for start in range(0, len(encoded), BASE64_COLUMNS):
                    yield encoded[start : start + BASE64_COLUMNS]
    for before in (1, 2):
        encoded = base64.b64encode(b"\0" * before + value)
        # The first group mixes with what stands before, the last with what follows.
        inner = encoded[4 : len(encoded) - (4 if (before + len(value)) % 3 else 0)]
        if len(inner) >= 8:
            yield inner
    inner = base64.b64encode(value)[: len(value) // 3 * 4]
    if len(inner) >= 8:
        yield inner


class Masker:
    """Masks one stream. `take` gives what is safe to show so far, `end` the rest."""

    def __init__(self, secrets: Iterable[str]) -> None:
        self._patterns = patterns(secrets)
        self._longest = max(map(len, self._patterns), default=0)
        self._firsts = frozenset(pattern[0] for pattern in self._patterns)
        self._held = b""
        self._covered = 0
        """So many of the held bytes belong to a secret whose mask is out already."""

    def take(self, data: bytes) -> bytes:
        text = self._held + data
        return self._release(text, self._first_open(text))

    def end(self) -> bytes:
        return self._release(self._held, len(self._held))

    def _first_open(self, text: bytes) -> int:
        """Where the first beginning of a secret stands that the text's end cuts off."""
        start = max(0, len(text) - self._longest + 1)
        for position in range(start, len(text)):
            if text[position] in self._firsts:
                rest = text[position:]
                if any(len(p) > len(rest) and p.startswith(rest) for p in self._patterns):
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
        for pattern in self._patterns:
            at = text.find(pattern)
            while at >= 0:
                found.append((at, at + len(pattern)))
                at = text.find(pattern, at + 1)
        spans: list[tuple[int, int, bool]] = []
        for begin, end in sorted(found):
            if spans and begin < spans[-1][1]:
                first, last, masked = spans[-1]
                spans[-1] = (first, max(last, end), masked)
            else:
                spans.append((begin, end, begin == 0 and self._covered > 0))
        return spans


class Sink(Protocol):
    def write(self, stream: Stream, data: bytes) -> None: ...


class MaskingSink:
    """An OutputSink that passes everything on but the secrets. `end` passes what was held back."""

    def __init__(self, output: Sink, secrets: Mapping[str, str]) -> None:
        self._output = output
        self._maskers = {stream: Masker(secrets.values()) for stream in Stream}

    def write(self, stream: Stream, data: bytes) -> None:
        self._pass(stream, self._maskers[stream].take(data))

    def end(self) -> None:
        for stream, masker in self._maskers.items():
            self._pass(stream, masker.end())

    def _pass(self, stream: Stream, data: bytes) -> None:
        if data:
            self._output.write(stream, data)


def masked(text: str, secrets: Mapping[str, str]) -> str:
    """A whole text with its secrets masked."""
    masker = Masker(secrets.values())
    return (masker.take(text.encode()) + masker.end()).decode(errors="replace")
