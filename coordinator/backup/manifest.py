"""What one backup consists of: paths of the data folder, each with its content's digest.

A file of lines: first what the backup is of, then an entry each, last the digest of all before. The
contents lie beside it by their digests, so that backups share what they have in common.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from coordinator.backup.errors import BackupDamaged, BackupError
from coordinator.services.keys import write_private

FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    path: str
    """In the data folder, with `/`."""
    size: int
    sha256: str
    mode: int

    def line(self) -> str:
        return json.dumps([self.path, self.size, self.sha256, self.mode])


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    id: str
    begun_at: str
    """When the database was copied: what was committed by then is in it."""
    pushrod: str
    """The version that made it."""
    schema: str
    format: int = FORMAT

    @property
    def backed_up_at(self) -> datetime:
        return datetime.fromisoformat(self.begun_at)


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    head: Head
    entries: Sequence[Entry]

    @property
    def bytes(self) -> int:
        return sum(entry.size for entry in self.entries)

    def save(self, path: Path) -> None:
        """Whole or not at all."""
        lines = [json.dumps(asdict(self.head)), *(entry.line() for entry in self.entries)]
        text = "".join(f"{line}\n" for line in lines)
        end = json.dumps({"sha256": hashlib.sha256(text.encode()).hexdigest()})
        write_private(path, f"{text}{end}\n".encode())


def load_manifest(path: Path) -> Manifest:
    """Raises BackupDamaged; BackupError for one that a newer pushrod made."""
    content = path.read_bytes()
    head, _, _ = content.partition(b"\n")
    try:
        made_as = json.loads(head).get("format")
        if made_as != FORMAT:
            raise BackupError(
                f"the backup {path.stem} is of another format ({made_as}, this pushrod reads "
                f"{FORMAT}): restore it with the version that made it, or a newer one"
            )
        text, end, _ = content.rpartition(b'{"sha256"')
        if json.loads(end + content[len(text) + len(end) :])["sha256"] != _digest(text):
            raise BackupDamaged(f"{path} is not as it was written: take another backup")
        lines = text.decode().splitlines()
        return Manifest(head=Head(**json.loads(lines[0])), entries=list(read_entries(lines[1:])))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BackupDamaged(f"{path} is not as it was written: take another backup") from error


def read_entries(lines: Iterable[str]) -> Iterator[Entry]:
    """Raises ValueError, TypeError."""
    for line in lines:
        path, size, sha256, mode = _checked(json.loads(line))
        yield Entry(path=path, size=size, sha256=sha256, mode=mode)


def _checked(values: Any) -> tuple[str, int, str, int]:
    """A path that leads out of the data folder is none of ours. Raises ValueError."""
    path, size, sha256, mode = values
    if not isinstance(path, str) or path.startswith("/") or ".." in path.split("/"):
        raise ValueError(path)
    return path, int(size), str(sha256), int(mode) & 0o777


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
