"""`pushrod migrate`: on the coordinator's machine, by its user, while that is stopped."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pushrod.commands.coordinator import DATA_HELP, settings_from
from pushrod.errors import CommandError
from pushrod.presentation import print_json, say, size

if TYPE_CHECKING:
    from coordinator.moving.moving import Move, Report
    from coordinator.settings import Settings

OBJECTS_EACH = 1000
"""After so many there is a line of what was done."""

_FOLDER = click.Path(path_type=Path, file_okay=False)
_FILE = click.Path(path_type=Path, dir_okay=False)


@click.command()
@click.option("--to", "database", metavar="URL", help="postgresql://USER@HOST/NAME, empty.")
@click.option(
    "--password-file",
    "database_password_file",
    type=_FILE,
    help="Holds the password of --to (or PGPASSWORD, ~/.pgpass).",
)
@click.option(
    "--objects", metavar="PLACE", help="s3://BUCKET/PREFIX, gs://…, az://… or a folder, empty."
)
@click.option("--objects-endpoint", metavar="URL", help="Of an S3-compatible store.")
@click.option("--objects-region", metavar="REGION", help="Of the bucket.")
@click.option(
    "--objects-credentials-file", type=_FILE, help="Lines KEY=value (or the environment)."
)
@click.option("--data", type=_FOLDER, help=DATA_HELP)
@click.option("--config", type=_FILE, help="The coordinator's file of settings, as they are now.")
@click.option("--check", is_flag=True, help="Move nothing: read both sides, and compare.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def migrate(data: Path | None, config: Path | None, check: bool, as_json: bool, **to: Any) -> None:
    """Move the installation's database to PostgreSQL, its objects to a bucket, or both.

    Stop the coordinator before, and start it with the new settings afterwards. What is moved is
    only read; counts and digests of both sides are compared. A move that was ended goes on when it
    is run again. Repositories and keys stay in the data folder. Exit code 1 where something differs
    or was damaged or missing before.
    """
    with _told():
        settings = settings_from(data, None, config)
        move = _move(settings, {name: value for name, value in to.items() if value is not None})
        report = move.compare() if check else move.run()
        if as_json:
            print_json(_as_json(report))
        else:
            _show(report, move, to, check)
        if report.differing or (report.objects and report.objects.differing):
            raise CommandError("what was compared differs: see above")
        if report.objects and (faults := len(report.objects.damaged) + len(report.missing)):
            raise CommandError(
                f"{faults} objects were damaged or missing before; what is there is moved as it is"
            )


def _move(settings: Settings, to: Mapping[str, Any]) -> Move:
    """Raises CommandError."""
    from coordinator.adapters import database_place, objects_place
    from coordinator.moving.moving import DatabaseMove, Move, StoreMove
    from coordinator.place import Moved, named_place
    from coordinator.settings_file import SettingsError, checked_settings
    from coordinator.storage.postgresql import PostgresPlace

    for what in ("database", "objects"):
        if what not in to and (given := [name for name in to if name.startswith(f"{what}_")]):
            raise CommandError(f"{_option(given[0])} is given without {_option(what)}")
    try:
        target = checked_settings(settings.data, to)
    except SettingsError as error:
        raise CommandError(f"settings: {' '.join(str(error).split())}") from error

    def noted(what: str) -> Moved:
        source, there = named_place(settings, what), named_place(target, what)
        if source == there:
            raise CommandError(f"the installation's {what} is {there} already: name another")
        return Moved(what=what, source=source, target=there)

    if "database" not in to and "objects" not in to:
        raise CommandError("name where to move: --to postgresql://…, --objects s3://…, or both")
    database, objects = None, None
    if target.database is not None:
        database = DatabaseMove(
            target=PostgresPlace(url=target.database, password_file=target.database_password_file),
            noted=noted("database"),
        )
    if target.objects is not None:
        objects = StoreMove(
            source=objects_place(settings), target=objects_place(target), noted=noted("objects")
        )
    return Move(
        data=settings.data,
        installed=database_place(settings),
        database=database,
        objects=objects,
        tell=_Progress().tell,
    )


def _option(name: str) -> str:
    named = {"database": "--to", "database_password_file": "--password-file"}
    return named.get(name, f"--{name.replace('_', '-')}")


@dataclass(slots=True)
class _Progress:
    """For who waits."""

    objects: int = 0

    def tell(self, kind: str, _name: str) -> None:
        if kind == "object there":
            self.objects += 1
            if self.objects % OBJECTS_EACH == 0:
                say(f"  {self.objects} objects")


def _show(report: Report, move: Move, to: Mapping[str, Any], check: bool) -> None:
    done = "compared with" if check else "moved to"
    if move.database is not None:
        for name, found in report.tables.items():
            if found.rows and not check:
                say(f"  {name}: {found.rows} rows, {found.digest[:16]}")
        say(
            f"{done} {move.database.target}: {len(report.tables)} tables, {report.rows} rows, "
            f"{report.database_seconds:.1f} s; {_differing(report.differing)}"
        )
        for column, count in report.replaced.items():
            say(f"  {count} texts of {column} had a NUL character, which PostgreSQL can't hold")
    if move.objects is not None and report.objects is not None:
        found_objects = report.objects
        say(
            f"{done} {move.objects.target.location}: {found_objects.objects} objects, "
            f"{size(found_objects.bytes)} ({found_objects.sent_objects} sent, "
            f"{size(found_objects.sent_bytes)}), {report.objects_seconds:.1f} s; "
            f"{_differing(found_objects.differing)}"
        )
        for key in found_objects.damaged:
            say(f"  {key} is damaged in the source already")
        for key in report.missing:
            say(f"  {key} is missing in the source already")
    if not check:
        _show_what_follows(move, to)


def _differing(names: list[str]) -> str:
    return f"{len(names)} differ: {', '.join(names[:20])}" if names else "all equal"


def _show_what_follows(move: Move, to: Mapping[str, Any]) -> None:
    from coordinator.backup.making import KEYS
    from coordinator.place import MOVED

    say("write into the settings, then start the coordinator:")
    for name, value in to.items():
        if value is not None:
            say(f'  {name} = "{value}"')
    kept = ", ".join(("repositories", *(key for key in KEYS if (move.data / key).exists()), MOVED))
    say(f"{move.data} stays in use and must be kept: {kept} (the key opens the secrets)")
    old = []
    if move.database is not None:
        source = move.installed
        old.append(f"{source} and its -wal, -shm" if isinstance(source, Path) else str(source))
    if move.objects is not None:
        old.append(str(move.objects.source.location))
    say(f"as it was, and to be deleted by hand once all works: {'; '.join(old)}")


def _as_json(report: Report) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "tables": {
            name: {"rows": one.rows, "digest": one.digest} for name, one in report.tables.items()
        },
        "copiedTables": report.copied,
        "differingTables": report.differing,
        "replacedNul": dict(report.replaced),
        "databaseSeconds": round(report.database_seconds, 3),
    }
    if (found := report.objects) is not None:
        shown["objects"] = {
            "objects": found.objects,
            "bytes": found.bytes,
            "sentObjects": found.sent_objects,
            "sentBytes": found.sent_bytes,
            "removed": found.removed,
            "differing": found.differing,
            "damaged": found.damaged,
            "missing": list(report.missing),
            "seconds": round(report.objects_seconds, 3),
        }
    return shown


@contextmanager
def _told() -> Iterator[None]:
    from coordinator.moving.errors import MoveError
    from coordinator.object_ports import ObjectsUnusable
    from coordinator.place import DataFolderInUse
    from coordinator.storage.soundness import DatabaseUnusable

    try:
        yield
    except (MoveError, DataFolderInUse, DatabaseUnusable, ObjectsUnusable) as error:
        raise CommandError(str(error)) from error
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        raise CommandError(f"{error.strerror or error}{where}") from error
