"""What is wrong with a workflow, and where."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from pipelines_schema.limits import MAX_PROBLEMS


@dataclass(frozen=True, slots=True)
class Place:
    """A spot in a file (line and column, 1-based), or in a JSON value (`path`)."""

    line: int
    column: int
    path: str | None = None
    file: str | None = None
    """Of an included file; None is the one that is read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One mistake: `message` says what is wrong and what to write instead.

    A mistake in a file has `file`, `line` and `column` (1-based, in characters); one in an API
    request has a `path` such as `steps[1].dependsOn[0]`.
    """

    message: str
    file: str | None = None
    line: int | None = None
    column: int | None = None
    path: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The problem as a JSON object; what is absent is left out."""
        fields = {
            "file": self.file,
            "line": self.line,
            "column": self.column,
            "path": self.path,
            "message": self.message,
        }
        return {name: value for name, value in fields.items() if value is not None}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Problem:
        return cls(
            message=value["message"],
            file=value.get("file"),
            line=value.get("line"),
            column=value.get("column"),
            path=value.get("path"),
        )

    def __str__(self) -> str:
        where = [
            str(part) for part in (self.file, self.line, self.column, self.path) if part is not None
        ]
        return ": ".join([":".join(where), self.message] if where else [self.message])


class TooManyProblems(Exception):
    """The list is full: reading on would only cost time."""


class NotComposed(Exception):
    """There is no document to read on; the problems say why."""


class ProblemList:
    """Collects the problems of one document, each once."""

    def __init__(self, file: str | None) -> None:
        self._file = file
        self._found: dict[tuple[Place, str], Problem] = {}

    def add(self, place: Place, message: str) -> None:
        """Note a problem. Raises TooManyProblems when the list is full."""
        if (place, message) in self._found:  # a mistake behind an anchor is met at each alias
            return
        if len(self._found) == MAX_PROBLEMS:
            raise TooManyProblems
        self._found[place, message] = self._problem(place, message)

    def _problem(self, place: Place, message: str) -> Problem:
        if place.path is not None:
            return Problem(message=message, path=place.path)
        file = place.file or self._file
        return Problem(message=message, file=file, line=place.line, column=place.column)

    def take(self, other: ProblemList) -> None:
        """Those of another file's list too. Raises TooManyProblems."""
        for place, message in other._found:
            self.add(replace(place, file=place.file or other._file), message)

    def in_order(self) -> tuple[Problem, ...]:
        """The problems by place; those of one place in the order they were found."""
        placed = sorted(self._found.items(), key=lambda item: _order(item[0][0]))
        return tuple(problem for _, problem in placed)

    @property
    def count(self) -> int:
        return len(self._found)

    def __bool__(self) -> bool:
        return bool(self._found)


def _order(place: Place) -> tuple[str, int, int]:
    """Those of included files stand behind the file's own."""
    return place.file or "", place.line, place.column


def shown(text: str, max_characters: int = 60) -> str:
    """Text of others for a message: in backticks, shortened, nothing in it that moves a cursor."""
    cut = text if len(text) <= max_characters else text[: max_characters - 1] + "…"
    return "`" + "".join(map(_visible, cut)) + "`"


def _visible(character: str) -> str:
    if character.isprintable():
        return character
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")
