"""An installation's database and objects moved elsewhere, while no coordinator works on it.

The data folder's lock is held, so that none can begin, and the source is only read. A mark stands
at each target from before the first row or object to after the last, and no coordinator starts
there meanwhile. Whatever a run that was ended left is compared, and what is right stays.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from obstore.exceptions import BaseError
from obstore.store import ObjectStore
from sqlalchemy.exc import DBAPIError

from coordinator.moving.errors import MoveError, NothingToMove, TargetDiffers, TargetOccupied
from coordinator.moving.marks import Marks
from coordinator.object_ports import ObjectsUnusable
from coordinator.objects import moved_objects
from coordinator.objects.moved_objects import ObjectsMove, ObjectsSum
from coordinator.objects.places import ObjectsCheck, ObjectsPlace, first_line, open_objects
from coordinator.place import Moved, only_one
from coordinator.services.keys import KEY_FILE, KEY_PRINT_FILE
from coordinator.storage import whole_tables
from coordinator.storage.backup_reading import missing_objects
from coordinator.storage.migrate import HEAD, current_revision, known_revisions, migrate_apart
from coordinator.storage.postgres_transactions import PostgresAlone
from coordinator.storage.postgresql import PostgresPlace, engine_of, words_of
from coordinator.storage.soundness import DatabaseUnusable, check_known, check_sound
from coordinator.storage.whole_tables import TableReader, TableSum, TableWriter

WAIT_SECONDS = 15.0
"""For a database that does not answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseMove:
    target: PostgresPlace
    noted: Moved


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreMove:
    source: ObjectsPlace
    target: ObjectsPlace
    noted: Moved


@dataclass(slots=True, kw_only=True)
class Report:
    tables: dict[str, TableSum] = field(default_factory=dict)
    """What the source has."""
    copied: list[str] = field(default_factory=list)
    differing: list[str] = field(default_factory=list)
    replaced: Mapping[str, int] = field(default_factory=dict)
    objects: ObjectsSum | None = None
    missing: Sequence[str] = ()
    """Objects that the database names and the source doesn't have."""
    database_seconds: float = 0.0
    objects_seconds: float = 0.0

    @property
    def rows(self) -> int:
        return sum(one.rows for one in self.tables.values())


@dataclass(slots=True, kw_only=True)
class Move:
    """Blocking, for as long as it takes."""

    data: Path
    installed: Path | PostgresPlace
    """The database as it is. It is what a move of the database reads, and names the objects."""
    database: DatabaseMove | None
    objects: StoreMove | None
    tell: Callable[[str, str], None]
    """Told the kind of what it comes to (`mark`, `table`, `rows`, `copied`, `object`,
    `object there`), and its name."""
    report: Report = field(default_factory=Report)

    def run(self) -> Report:
        """Raises MoveError, DataFolderInUse, DatabaseUnusable, ObjectsUnusable, OSError."""
        with self._alone() as marks:
            self._refuse_what_was_moved(marks)
            self._check_installed()
            begun = marks.begun()
            self._each(
                lambda move: self._move_database(move, marks, begun),
                lambda move: self._move_objects(move, marks, begun),
            )
            self._finish(marks)
        return self.report

    def compare(self) -> Report:
        """Change nothing."""
        with self._alone():
            self._check_installed()
            self._each(self._compare_database, self._compare_objects)
        return self.report

    def _each(
        self,
        database: Callable[[DatabaseMove], None],
        objects: Callable[[StoreMove], Coroutine[Any, Any, ObjectsSum]],
    ) -> None:
        """In that order, each with its time."""
        since = time.monotonic()
        if self.database is not None:
            database(self.database)
            self.report.database_seconds = time.monotonic() - since
        since = time.monotonic()
        if self.objects is not None:
            found = self.report.objects = asyncio.run(objects(self.objects))
            with _disposed(whole_tables.open_source(self.installed)) as source:
                self.report.missing = missing_objects(source, found.keys)
            self.report.objects_seconds = time.monotonic() - since

    @property
    def _moves(self) -> Sequence[DatabaseMove | StoreMove]:
        return [one for one in (self.database, self.objects) if one is not None]

    @contextmanager
    def _alone(self) -> Iterator[Marks]:
        if not any((self.data / name).exists() for name in (KEY_FILE, KEY_PRINT_FILE)):
            raise NothingToMove(
                f"there is no installation in {self.data}: name the coordinator's folder with "
                "--data, or its settings with --config"
            )
        with ExitStack() as stack:
            stack.enter_context(only_one(self.data))
            for place in self._databases():
                transactions = PostgresAlone(place, wait_seconds=WAIT_SECONDS, readers=1)
                stack.callback(transactions.close)
                transactions.take()
            try:
                yield Marks(self.data)
            except DBAPIError as error:
                where = self.database.target if self.database else None
                raise MoveError(
                    f"the database ({where}) failed in the middle: {words_of(error)}; "
                    "run this again, it goes on where it stopped"
                ) from error

    def _databases(self) -> Sequence[PostgresPlace]:
        """Whose lock keeps coordinators away, whatever folder they have."""
        both = (self.installed, self.database.target if self.database else None)
        return [place for place in both if isinstance(place, PostgresPlace)]

    def _refuse_what_was_moved(self, marks: Marks) -> None:
        """It goes on elsewhere. The same move again, after a kill at its very end, is finished."""
        installed = self.installed.name if isinstance(self.installed, Path) else self.installed.url
        noted = [move.noted for move in self._moves]
        left = {installed, *(one.source for one in noted)}
        for one in marks.moved():
            if one.source in left and one not in noted:
                raise TargetOccupied(
                    f"the {one.what} of this installation was moved to {one.target} before: write "
                    f'{one.what} = "{one.target}" into the settings, and move from there'
                )

    def _check_installed(self) -> None:
        """Raises NothingToMove, DatabaseUnusable."""
        place = self.installed
        if isinstance(place, Path):
            if not place.exists():
                raise NothingToMove(f"there is no database {place}: name the coordinator's folder")
            check_sound(place, known_revisions=known_revisions())
        revision = current_revision(place)
        check_known(place, revision, known_revisions())
        if revision != HEAD:
            raise DatabaseUnusable(
                f"the database {place} is of an older pushrod (schema {revision}, this one has "
                f"{HEAD}): start this version's coordinator on it once, stop it, and run this again"
            )

    def _finish(self, marks: Marks) -> None:
        """From here on nobody goes on with the source; then others may with the targets."""
        self.tell("mark", "moved")
        marks.note(*(move.noted for move in self._moves))
        self.tell("mark", "database")
        if self.database is not None:
            with _disposed(engine_of(self.database.target)) as engine:
                whole_tables.end_move(engine)
        self.tell("mark", "objects")
        if self.objects is not None:
            store = open_objects(self.objects.target)
            with _told(self.objects.target):
                asyncio.run(moved_objects.end_move(store))
        self.tell("mark", "end")
        marks.end()

    # The database

    def _move_database(self, move: DatabaseMove, marks: Marks, begun: str) -> None:
        with _disposed(engine_of(move.target)) as engine:
            writer = TableWriter(move.target, engine)
            if whole_tables.unfinished_move(engine) is None and marks.was_moved(move.noted):
                self._compare_database(move)
                self._refuse_differing(str(move.target), self.report.differing)
                return
            self._prepare(writer, begun)
            with _disposed(whole_tables.open_source(self.installed)) as source:
                reader = TableReader(source)
                self._move_tables(reader, writer)
                writer.follow_numbers(reader)
            writer.finish()
        self.report.replaced = reader.replaced

    def _prepare(self, writer: TableWriter, begun: str) -> None:
        place, found = writer.place, whole_tables.unfinished_move(writer.engine)
        revision = current_revision(place)
        check_known(place, revision, known_revisions())
        if found is None:
            older = revision not in (None, HEAD)
            if occupied := "an older pushrod" if older else whole_tables.occupied_by(writer):
                raise TargetOccupied(
                    f"{place} has something in it already ({occupied}): a move overwrites nothing. "
                    "Name an empty database, such as createdb makes"
                )
            self.tell("mark", "begin database")
            whole_tables.begin_move(writer.engine, begun)
        elif found != begun:
            raise TargetOccupied(
                f"another installation's move to {place} was begun and not finished: name another "
                "database, or drop this one and make it anew"
            )
        self.tell("mark", "schema")
        migrate_apart(place)

    def _move_tables(self, reader: TableReader, writer: TableWriter) -> None:
        """Rows that are there are of an earlier try: right, if nobody worked on since."""
        back = TableReader(writer.engine)
        left = list(whole_tables.tables())
        while left:
            table = left[0]
            self.tell("table", table.name)
            if not writer.is_empty(table):
                if (there := back.sum(table)) == reader.sum(table):
                    self.report.tables[table.name] = there
                    left.pop(0)
                    continue
                # With those after it, which name it.
                writer.clear(left)
            read = writer.copy(reader, table, partial(self.tell, "rows", table.name))
            self.tell("copied", table.name)
            if back.sum(table) != read:
                raise TargetDiffers(
                    f"the table {table.name} in {writer.place} is not as it was written: see that "
                    "nobody else writes to that database, and run this again"
                )
            self.report.tables[table.name] = read
            if read.rows:
                self.report.copied.append(table.name)
            left.pop(0)

    def _compare_database(self, move: DatabaseMove) -> None:
        with _disposed(engine_of(move.target)) as engine:
            check_known(move.target, current_revision(move.target), known_revisions())
            if current_revision(move.target) != HEAD:
                raise TargetDiffers(f"{move.target} has no installation in it yet")
            with _disposed(whole_tables.open_source(self.installed)) as source:
                self._compare_tables(TableReader(source), TableReader(engine))

    def _compare_tables(self, reader: TableReader, back: TableReader) -> None:
        for table in whole_tables.tables():
            self.tell("table", table.name)
            found = self.report.tables[table.name] = reader.sum(table)
            if back.sum(table) != found:
                self.report.differing.append(table.name)
        self.report.replaced = reader.replaced

    # The objects

    async def _move_objects(self, move: StoreMove, marks: Marks, begun: str) -> ObjectsSum:
        with _told(move.target):
            _refuse_folder_in_folder(move)
            source, target = await self._stores(move)
            found = await moved_objects.unfinished_move(target)
            if found is None and marks.was_moved(move.noted):
                compared = await self._compare_objects(move)
                self._refuse_differing(str(move.target.location), compared.differing)
                return compared
            if found not in (None, begun):
                raise TargetOccupied(
                    f"another installation's move to {move.target.location} was begun and not "
                    "finished: name another bucket or prefix, or empty this one"
                )
            if found is None:
                if (key := await moved_objects.first_key(target)) is not None:
                    raise TargetOccupied(
                        f"{move.target.location} has something in it already ({key}): a move "
                        "overwrites nothing. Name another bucket, prefix or folder"
                    )
                self.tell("mark", "begin objects")
                await moved_objects.begin_move(target, begun)
            return await self._objects_move(source, target, str(move.target.location)).move()

    async def _compare_objects(self, move: StoreMove) -> ObjectsSum:
        with _told(move.target):
            source, target = await self._stores(move)
            return await self._objects_move(source, target, str(move.target.location)).compare()

    async def _stores(self, move: StoreMove) -> tuple[ObjectStore, ObjectStore]:
        source, target = open_objects(move.source), open_objects(move.target)
        for store, place in ((source, move.source), (target, move.target)):
            if place.folder is None:
                await ObjectsCheck(store, place).look()
        return source, target

    def _objects_move(self, source: ObjectStore, target: ObjectStore, where: str) -> ObjectsMove:
        return ObjectsMove(
            source=source,
            target=target,
            where=where,
            tell=self.tell,
        )

    def _refuse_differing(self, where: str, differing: Sequence[str]) -> None:
        """Of a move that had come to its end."""
        if differing:
            raise TargetOccupied(
                f"this installation was moved to {where} before, and {differing[0]} is another "
                "there since: it goes on there"
            )


@contextmanager
def _disposed(engine: sa.Engine) -> Iterator[sa.Engine]:
    try:
        yield engine
    finally:
        engine.dispose()


@contextmanager
def _told(place: ObjectsPlace) -> Iterator[None]:
    """A store that answers no more is no fault of ours."""
    try:
        yield
    except (BaseError, FileNotFoundError, BaseExceptionGroup) as error:
        first = _first(error)
        if isinstance(first, ObjectsUnusable):
            raise first from error
        if not isinstance(first, BaseError | FileNotFoundError):
            raise
        raise MoveError(
            f"the objects can't be moved to {place.location}: {first_line(first)}; run this again, "
            "it goes on where it stopped"
        ) from error


def _first(error: BaseException) -> BaseException:
    """Of those that fail at once, the others by being cancelled."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _refuse_folder_in_folder(move: StoreMove) -> None:
    """Raises TargetOccupied."""
    source, target = move.source.folder, move.target.folder
    if source is None or target is None:
        return
    if source == target or source in target.parents or target in source.parents:
        raise TargetOccupied(f"{source} and {target} lie in each other: name a folder elsewhere")
