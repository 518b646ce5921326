"""Rows as SQLAlchemy's are read, without what those cost: theirs are a third of a small query."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from sqlalchemy.exc import MultipleResultsFound, NoResultFound

RowMaker = Callable[[Iterable[Sequence[Any]]], "list[Any]"]


class Found:
    """What a statement found, as far as anybody asks for it; nothing of it is still to come."""

    __slots__ = ("_rows",)

    def __init__(self, rows: Sequence[Any]) -> None:
        self._rows = rows

    def __iter__(self) -> Iterator[Any]:
        return iter(self._rows)

    def all(self) -> Sequence[Any]:
        return self._rows

    def first(self) -> Any:
        return self._rows[0] if self._rows else None

    def one(self) -> Any:
        """Raises NoResultFound, MultipleResultsFound."""
        if len(self._rows) > 1:
            raise MultipleResultsFound
        if not self._rows:
            raise NoResultFound
        return self._rows[0]

    def scalars(self) -> Found:
        """The first column of each row."""
        return Found([row[0] for row in self._rows])

    def scalar(self) -> Any:
        return self._rows[0][0] if self._rows else None

    def scalar_one(self) -> Any:
        """Raises NoResultFound, MultipleResultsFound."""
        return self.one()[0]

    def scalar_one_or_none(self) -> Any:
        """Raises MultipleResultsFound."""
        return self.one()[0] if self._rows else None


class _Mapped:
    """Besides its columns' names a row has this, as SQLAlchemy's do."""

    __slots__ = ()

    @property
    def _mapping(self) -> Mapping[str, Any]:
        row: Any = self
        return dict(zip(row._fields, row, strict=True))


def maker_of(names: Sequence[str], converters: Sequence[Callable[[Any], Any] | None]) -> RowMaker:
    """Of the rows of one statement, with columns of these names; None converts to None."""
    plain: Any = namedtuple("plain", names)  # type: ignore[misc]
    kind = type("Row", (_Mapped, plain), {"__slots__": ()})
    # The driver's rows have one value for each name, which `kind._make` would count.
    make = partial(tuple.__new__, kind)
    places = [(place, one) for place, one in enumerate(converters) if one is not None]
    if not places:
        return lambda found: list(map(make, found))

    def converted(found: Iterable[Sequence[Any]]) -> list[Any]:
        rows: list[Any] = []
        for each in found:
            row = list(each)
            for place, convert in places:
                if (value := row[place]) is not None:
                    row[place] = convert(value)
            rows.append(make(row))
        return rows

    return converted
