"""What `outputPaths` mean, without looking at a disk: which folders have to be listed is asked for.

A path is a file, or a folder with all below it. `*`, `?` and `[…]` match within one name, hidden
names too; `**` matches any number of folders. Where a path names a link, or leads through one, the
link is kept as it is, and what it leads to inside the workspace comes along at its own place. Below
a folder that is taken, and behind `**`, links are kept and not followed.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from fnmatch import fnmatchcase
from pathlib import PurePosixPath

GLOB_CHARACTERS = frozenset("*?[")
ANY_DEPTH = "**"
MAX_LINKS = 40
"""On the way of one path, as the kernel has it."""
MAX_NAME_BYTES = 1024
MAX_TARGET_BYTES = 4096


class OutsideWorkspaceError(ValueError):
    """The pattern is absolute or climbs above the workspace."""


class Kind(Enum):
    FILE = "file"
    FOLDER = "folder"
    LINK = "link"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Listed:
    """An entry of a folder."""

    kind: Kind
    target: str = ""
    """Of a link, as it is written."""


Names = tuple[str, ...]
Listing = Mapping[str, Listed]


@dataclass(frozen=True, slots=True)
class Asked:
    """Entries of a folder, at least those that match; none of what is no folder."""

    folder: str
    pattern: str
    """Of one name, as in a pattern of outputs."""


Resolution = Generator[Asked, Listing, "Matches"]


@dataclass(frozen=True, slots=True)
class Match:
    """What a pattern names: a path without links on its way."""

    path: str
    """Relative to the workspace; empty for itself."""
    rest: Names = ()
    """Of a pattern with `**`, which it begins with: what is still to be looked for below."""
    through_link: bool = False


@dataclass(slots=True)
class Matches:
    found: list[Match] = field(default_factory=list)
    links: list[str] = field(default_factory=list)
    """Those that the pattern names, or leads through."""
    astray: list[str] = field(default_factory=list)
    """Links that lead out of the workspace though the pattern goes on behind them."""

    def __bool__(self) -> bool:
        return bool(self.found or self.links or self.astray)


def parse_pattern(pattern: str) -> Names:
    """The names of a pattern; empty for the workspace itself. Raises OutsideWorkspaceError."""
    path = PurePosixPath(pattern)
    if path.is_absolute() or ".." in path.parts or "\0" in pattern:
        raise OutsideWorkspaceError(pattern)
    return path.parts


def matches(pattern: Sequence[str], path: Sequence[str]) -> bool:
    """Whether the names of a path match the names of a pattern, `**` being any number of them."""
    reachable = {0}
    for name in path:
        reachable = _skip_stars(pattern, reachable)
        step = set()
        for index in reachable:
            if index == len(pattern):
                continue
            if pattern[index] == ANY_DEPTH:
                step.add(index)
            elif fnmatchcase(name, pattern[index]):
                step.add(index + 1)
        reachable = step
    return len(pattern) in _skip_stars(pattern, reachable)


def _skip_stars(pattern: Sequence[str], indexes: set[int]) -> set[int]:
    skipped = set(indexes)
    for index in indexes:
        while index < len(pattern) and pattern[index] == ANY_DEPTH:
            index += 1
            skipped.add(index)
    return skipped


def name_problem(name: str) -> str | None:
    """Why an output of that path can't be kept, for people; None if it can."""
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        return "has a name that is not UTF-8"
    if size > MAX_NAME_BYTES:
        return f"has a path of more than {MAX_NAME_BYTES} bytes"
    if any(ord(character) < 32 or ord(character) == 127 for character in name):
        return "has a control character in its name"
    return None


def target_problem(target: str) -> str | None:
    """Why a link to there can't be kept, for people; None if it can."""
    try:
        size = len(target.encode())
    except UnicodeEncodeError:
        return "is a link to a name that is not UTF-8"
    return "is a link to too long a name" if size > MAX_TARGET_BYTES else None


def resolve(names: Names, workspace: str) -> Resolution:
    """What a pattern names. Asks for entries of folders, and never for one behind a link.
    `workspace`: its path in absolute links.

    What has the pattern itself for its name is meant before what matches it.
    """
    if any(GLOB_CHARACTERS & set(name) for name in names):
        literally = yield from _Resolution(workspace).run(names, literal=True)
        if literally:
            return literally
    return (yield from _Resolution(workspace).run(names, literal=False))


@dataclass(frozen=True, slots=True)
class _Piece:
    name: str
    literal: bool

    def chosen(self, listing: Listing) -> list[str]:
        if self.literal or not GLOB_CHARACTERS & set(self.name):
            return [self.name] if self.name in listing else []
        return sorted(name for name in listing if fnmatchcase(name, self.name))


@dataclass(frozen=True, slots=True)
class _Place:
    at: Names
    """A folder, or a file if nothing is left."""
    left: tuple[_Piece, ...]
    links: tuple[str, ...] = ()
    """Those that were followed to here."""
    goes_on: bool = False
    """Whether the pattern has more behind the last of them."""


class _Resolution:
    def __init__(self, workspace: str) -> None:
        self._workspace = PurePosixPath(workspace).parts
        self._todo: list[_Place] = []
        self._result = Matches()

    def run(self, names: Names, *, literal: bool) -> Resolution:
        self._todo.append(_Place((), tuple(_Piece(name, literal) for name in names)))
        while self._todo:
            place = self._todo.pop()
            if not place.left:
                self._arrive(place)
            elif place.left[0] == _Piece(ANY_DEPTH, literal=False):
                rest = tuple(piece.name for piece in place.left)
                self._find(place, rest)
            elif place.left[0].name == "..":
                self._climb(place)
            else:
                asked = Asked("/".join(place.at), place.left[0].name)
                self._enter(place, (yield asked))
        return self._result

    def _arrive(self, place: _Place) -> None:
        # A link to a folder above itself would bring all of that, and itself once more.
        around = place.links and place.at == tuple(place.links[-1].split("/"))[: len(place.at)]
        if not around:
            self._find(place)

    def _find(self, place: _Place, rest: Names = ()) -> None:
        self._result.links.extend(place.links)
        self._result.found.append(Match("/".join(place.at), rest, bool(place.links)))

    def _climb(self, place: _Place) -> None:
        if place.at:
            self._go(place, place.at[:-1])
        else:
            self._lose(place)

    def _go(self, place: _Place, at: Names) -> None:
        self._todo.append(_Place(at, place.left[1:], place.links, place.goes_on))

    def _lose(self, place: _Place) -> None:
        if place.goes_on:
            self._result.astray.append(place.links[-1])

    def _enter(self, place: _Place, listing: Listing) -> None:
        for name in reversed(place.left[0].chosen(listing)):
            entry, path = listing[name], (*place.at, name)
            if entry.kind is Kind.LINK:
                self._follow(place, path, entry.target)
            elif entry.kind is Kind.FOLDER or not place.left[1:]:
                self._go(place, path)

    def _follow(self, place: _Place, link: Names, target: str) -> None:
        left, links = place.left[1:], (*place.links, "/".join(link))
        # What a link before this one left open is open still.
        goes_on = place.goes_on if place.links else bool(left)
        if not goes_on:
            self._result.links.extend(links)
        names, start = PurePosixPath(target).parts, place.at
        if names[:1] == ("/",):
            inside = names[: len(self._workspace)] == self._workspace
            names, start = (names[len(self._workspace) :], ()) if inside else (("..",), ())
        pieces = tuple(_Piece(name, literal=True) for name in names)
        if len(links) <= MAX_LINKS:
            self._todo.append(_Place(start, pieces + left, links, goes_on))
