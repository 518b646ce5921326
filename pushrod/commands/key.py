"""`pushrod key create`: the secret that all coordinators of an installation have."""

from __future__ import annotations

import os
from pathlib import Path

import click

from pushrod.errors import CommandError
from pushrod.presentation import say


@click.group()
def key() -> None:
    """The key of an installation, which the setting `secret_key_file` names."""


@key.command("create")
@click.argument("file", required=False, type=click.Path(path_type=Path, dir_okay=False))
def create(file: Path | None) -> None:
    """Print a new key, or write it to FILE, readable by you alone.

    For a new installation. One that has run has a key already, `secret-key` in its data folder:
    copy that, or its secrets are lost. A FILE that is there is left as it is.
    """
    from coordinator.services.keys import new_key

    line = f"{new_key()}\n"
    if file is None:
        return click.echo(line, nl=False)
    try:
        _write_new(file, line.encode())
    except FileExistsError as error:
        raise CommandError(
            f"{file} is there already, and is not replaced: secrets may be sealed by it"
        ) from error
    except OSError as error:
        raise CommandError(f"{file} can't be written: {error.strerror}") from error
    return say(f"{file} holds a new key: keep a copy of it where the machine can't be lost with it")


def _write_new(file: Path, content: bytes) -> None:
    """Raises FileExistsError, OSError; a file that was not written whole is not left behind."""
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as opened:
            opened.write(content)
            opened.flush()
            os.fsync(opened.fileno())
    except OSError:
        file.unlink(missing_ok=True)
        raise
