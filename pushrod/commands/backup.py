"""`pushrod backup` and `pushrod restore`: on the coordinator's machine, by its user."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pushrod.commands.coordinator import DATA_HELP, settings_from
from pushrod.errors import CommandError
from pushrod.presentation import print_json, say, size

if TYPE_CHECKING:
    from coordinator.backup.making import Made
    from coordinator.backup.manifest import Manifest
    from coordinator.settings import Settings

KEEP = 3

_FOLDER = click.Path(path_type=Path, file_okay=False)
_config_option = click.option(
    "--config",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The coordinator's file of settings, for its data folder.",
)


@click.command()
@click.argument("folder", metavar="DIR", type=_FOLDER)
@click.option("--data", type=_FOLDER, help=DATA_HELP)
@_config_option
@click.option(
    "--keep",
    type=click.IntRange(min=1),
    default=KEEP,
    show_default=True,
    help="So many backups stay in DIR, the newest.",
)
@click.option("--check", is_flag=True, help="Make none: read what DIR has, and compare digests.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def backup(
    folder: Path, data: Path | None, config: Path | None, keep: int, check: bool, as_json: bool
) -> None:
    """Copy the installation to DIR, while it runs.

    The database, logs, artifacts, LFS files, repositories and the keys: keep DIR as safe as the
    machine. A further backup to the same DIR copies only what is new, and one that was ended goes
    on. Exit code 1 where something is missing or damaged; the rest is copied all the same.
    """
    with _told():
        if check:
            _check(folder, as_json)
            return
        from coordinator.backup.making import make_backup
        from coordinator.place import refuse_moved
        from coordinator.services.core import utc_now

        settings = settings_from(data, None, config)
        refuse_moved(settings)
        _refuse_postgresql(settings)
        objects = settings.objects_location
        if isinstance(objects, str):
            say(f"what lies in {objects} is not copied: let the bucket keep versions")
        made = make_backup(settings.data, folder, objects=objects, keep=keep, now=utc_now, say=say)
        _show(made, folder, as_json)


@click.command()
@click.argument("folder", metavar="DIR", type=_FOLDER)
@click.option("--data", type=_FOLDER, help=DATA_HELP)
@_config_option
@click.option("--at", metavar="BACKUP", help="Which of the backups in DIR (default the newest).")
def restore(folder: Path, data: Path | None, config: Path | None, at: str | None) -> None:
    """Make the installation of a backup in DIR, in a data folder where there is none.

    It overwrites nothing. What agents still hold of the old installation is refused by the new one.
    """
    with _told():
        from coordinator.backup.restoring import restore_backup
        from coordinator.services.core import utc_now

        settings = settings_from(data, None, config)
        _refuse_postgresql(settings)
        target = settings.data
        restored = restore_backup(
            folder, target, objects=settings.objects_location, at=at, now=utc_now()
        )
        manifest = restored.manifest
        say(
            f"restored backup {manifest.head.id} ({_amount(manifest)}) to {target}: generation "
            f"{restored.generation.number}. Start it with `pushrod coordinator --data {target}`, "
            "and never beside the old one"
        )


def _refuse_postgresql(settings: Settings) -> None:
    """Raises CommandError."""
    if settings.database is not None:
        raise CommandError(
            "the database is in PostgreSQL, of which this makes no copy: stop the coordinator, run "
            f"`pg_dump --format=custom --file=FILE {settings.database}` and copy {settings.data}; "
            "bring them back together, by pg_restore into an empty database"
        )


def _check(folder: Path, as_json: bool) -> None:
    from coordinator.backup.folder import BackupFolder

    backups = BackupFolder.at(folder)
    checked = []
    for name in backups.names():
        manifest = backups.manifest(name)
        checked.append((manifest, backups.damaged(manifest)))
    if not checked:
        backups.manifest()
    if as_json:
        print_json(
            [
                {"id": one.head.id, "files": len(one.entries), "damaged": [e.path for e in damaged]}
                for one, damaged in checked
            ]
        )
    else:
        for one, damaged in checked:
            say(f"{one.head.id}: {_amount(one)}, {len(damaged)} damaged or missing")
            for entry in damaged:
                say(f"  {entry.path}")
    if any(damaged for _, damaged in checked):
        raise click.exceptions.Exit(1)


def _show(made: Made, folder: Path, as_json: bool) -> None:
    if as_json:
        print_json(
            {
                "id": made.manifest.head.id,
                "files": len(made.manifest.entries),
                "bytes": made.manifest.bytes,
                "newFiles": made.new_files,
                "newBytes": made.new_bytes,
                "faults": list(made.faults),
            }
        )
    else:
        say(
            f"backup {made.manifest.head.id} in {folder}: {_amount(made.manifest)}, of which "
            f"{made.new_files} files ({size(made.new_bytes)}) are new"
        )
    for fault in made.faults:
        say(f"pushrod: {fault}")
    if made.faults:
        raise click.exceptions.Exit(1)


def _amount(manifest: Manifest) -> str:
    return f"{len(manifest.entries)} files, {size(manifest.bytes)}"


@contextmanager
def _told() -> Iterator[None]:
    from coordinator.backup.errors import BackupError
    from coordinator.place import DataFolderInUse
    from coordinator.storage.soundness import DatabaseUnusable

    try:
        yield
    except (BackupError, DataFolderInUse, DatabaseUnusable) as error:
        raise CommandError(str(error)) from error
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        raise CommandError(f"{error.strerror or error}{where}") from error
