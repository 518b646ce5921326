"""Reading the file that a script wrote to `$PUSHROD_OUTPUT`, of which nothing is trusted."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from agent.engines.beneath import opened_beneath, opened_folder
from pipelines_schema.step_outputs import MAX_OUTPUT_BYTES, OUTPUT_VARIABLE, TOO_LARGE

_NO_FILE = (errno.ELOOP, errno.ENXIO, errno.ENOTDIR, errno.EACCES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Values:
    """What a script hands on, as it was written."""

    written: bytes = b""
    unkept: Sequence[str] = ()
    """For people: why it is not taken, for which the step fails."""


NOT_A_FILE = Values(
    unkept=(f"${OUTPUT_VARIABLE} is no file of the script's own any more: only append to it",)
)
TOO_MUCH = Values(unkept=(f"${OUTPUT_VARIABLE}: {TOO_LARGE}",))


def read_values(file: Path, *, above: Path, owner: int) -> Values:
    """Nothing where the script removed it.

    Blocking. Its folder may have been put in another's place: only what lies below `above`, a
    folder of ours, without a link on the way, is read, and only a file of the owner's (a hard link
    may be of anybody's). Raises OSError.
    """
    inside = str(file.relative_to(above))
    try:
        with (
            opened_folder(above) as folder,
            opened_beneath(folder, inside, os.O_RDONLY | os.O_NONBLOCK, follow=False) as found,
        ):
            return _content(found, owner)
    except FileNotFoundError:
        return Values()
    except OSError as error:
        if error.errno in _NO_FILE:
            return NOT_A_FILE
        raise


def _content(descriptor: int, owner: int) -> Values:
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode) or status.st_uid != owner:
        return NOT_A_FILE
    if status.st_size > MAX_OUTPUT_BYTES:
        return TOO_MUCH
    return Values(written=os.pread(descriptor, MAX_OUTPUT_BYTES, 0))
