"""Which files of a context its .dockerignore leaves out. Pure.

BuildKit reads the file and asks for the context less its patterns; leaving them out is the
sender's work. The last pattern that matches a path, or a folder above it, decides; `!` takes in
again.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

MAX_PATTERN_CHARACTERS = 4096


class BadPatternError(ValueError):
    """A pattern that matches nothing because it is malformed; the text names it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IgnorePattern:
    takes_in: bool
    """Begins with `!`."""
    expression: re.Pattern[str]


@dataclass(frozen=True, slots=True)
class IgnorePatterns:
    patterns: Sequence[IgnorePattern]

    @property
    def has_exceptions(self) -> bool:
        """Whether something below an ignored folder may be taken in again."""
        return any(pattern.takes_in for pattern in self.patterns)

    def ignores(self, path: str) -> bool:
        """`path` is relative to the context, its parts joined by `/`."""
        parts = path.split("/")
        above = ["/".join(parts[:count]) for count in range(1, len(parts) + 1)]
        ignored = False
        for pattern in self.patterns:
            # Only a pattern that would change the answer needs to be looked at.
            if pattern.takes_in is ignored and any(map(pattern.expression.fullmatch, above)):
                ignored = not pattern.takes_in
        return ignored


def ignore_patterns(lines: Sequence[str]) -> IgnorePatterns:
    """Of patterns as BuildKit sends them. Raises BadPatternError."""
    return IgnorePatterns([_pattern(line) for line in lines if line.strip("!/ ")])


def _pattern(line: str) -> IgnorePattern:
    takes_in = line.startswith("!")
    text = line.removeprefix("!").strip("/")
    if len(text) > MAX_PATTERN_CHARACTERS:
        raise BadPatternError(f"a pattern of .dockerignore is too long: {text[:50]}…")
    try:
        return IgnorePattern(takes_in=takes_in, expression=re.compile(_expression(text), re.DOTALL))
    except re.error as error:
        raise BadPatternError(f"the pattern {text!r} of .dockerignore is malformed") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeFilter:
    """What of a tree is sent."""

    ignore: IgnorePatterns = IgnorePatterns(())
    only: frozenset[str] | None = None
    """Paths of which, with what is below them, no more is asked for; None is everything."""

    def leaves_out(self, path: str, *, is_folder: bool) -> bool:
        """Whether neither the path nor anything below it is sent."""
        if self.only is not None and not self._is_asked_for(path):
            return True
        return self.ignores(path) and not (is_folder and self.ignore.has_exceptions)

    def ignores(self, path: str) -> bool:
        return bool(self.ignore.patterns) and self.ignore.ignores(path)

    def _is_asked_for(self, path: str) -> bool:
        return any(
            path == one or path.startswith(f"{one}/") or one.startswith(f"{path}/")
            for one in self.only or ()
        )


EVERYTHING = TreeFilter()


_PARTS = re.compile(r"\*\*/?|\*|\?|\\.|\[\^?[^\]]+\]|.", re.DOTALL)


def _expression(text: str) -> str:
    return "".join(_piece(part, is_last) for part, is_last in _parts(text))


def _parts(text: str) -> list[tuple[str, bool]]:
    found = list(_PARTS.finditer(text))
    return [(match.group(), match.end() == len(text)) for match in found]


def _piece(part: str, is_last: bool) -> str:
    if part.startswith("**"):
        return ".*" if is_last else "(?:.*/)?"
    if part == "*":
        return "[^/]*"
    if part == "?":
        return "[^/]"
    if part.startswith("[") and len(part) > 1:
        return part
    if part.startswith("\\") and len(part) > 1:
        return re.escape(part[1])
    return re.escape(part)
