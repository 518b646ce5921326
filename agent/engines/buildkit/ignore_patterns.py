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
MAX_STARS = 20
MAX_STARS_OF_AN_EXPRESSION = 2
"""Beyond these a regular expression, which is quick else, tries more ways than it ever ends."""


class BadPatternError(ValueError):
    """A pattern that matches nothing because it is malformed; the text names it."""


@dataclass(frozen=True, slots=True)
class ManyStars:
    """Steps through all ways of matching at once: whatever the stars, it costs the pattern's length
    times the path's."""

    pieces: Sequence[re.Pattern[str] | str]
    """A star, or what one character must be."""

    @classmethod
    def of(cls, text: str) -> ManyStars:
        """Raises re.error."""
        return cls(
            [
                _star(part, is_last) or re.compile(_piece(part, is_last), re.DOTALL)
                for part, is_last in _parts(text)
            ]
        )

    def fullmatch(self, path: str) -> bool:
        reached = {0}
        for piece in self.pieces:
            reached = _step(piece, path, reached)
            if not reached:
                return False
        return len(path) in reached


_REST, _FOLDERS, _SEGMENT = "**", "**/", "*"


def _star(part: str, is_last: bool) -> str | None:
    if part.startswith("**"):
        return _REST if is_last else _FOLDERS
    return _SEGMENT if part == "*" else None


def _step(piece: re.Pattern[str] | str, path: str, reached: set[int]) -> set[int]:
    if isinstance(piece, re.Pattern):
        return {at + 1 for at in reached if piece.match(path, at)}
    first = min(reached)
    if piece == _REST:
        return {len(path)}
    if piece == _FOLDERS:
        return reached | {at + 1 for at in range(first, len(path)) if path[at] == "/"}
    return _within_segments(path, reached)


def _within_segments(path: str, reached: set[int]) -> set[int]:
    result: set[int] = set()
    inside = False
    for at in range(min(reached), len(path) + 1):
        inside = at in reached or (inside and path[at - 1] != "/")
        if inside:
            result.add(at)
    return result


@dataclass(frozen=True, slots=True, kw_only=True)
class IgnorePattern:
    takes_in: bool
    """Begins with `!`."""
    expression: re.Pattern[str] | ManyStars


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
    stars = sum(part.startswith("*") for part, _ in _parts(text))
    if stars > MAX_STARS:
        raise BadPatternError(
            f"a pattern of .dockerignore has more than {MAX_STARS} stars: {text[:50]}…"
        )
    try:
        if stars > MAX_STARS_OF_AN_EXPRESSION:
            expression: re.Pattern[str] | ManyStars = ManyStars.of(text)
        else:
            expression = re.compile(_expression(text), re.DOTALL)
        return IgnorePattern(takes_in=takes_in, expression=expression)
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
