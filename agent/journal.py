"""What an agent must still know after kill -9: one folder per attempt, written before acted on.

`spec.json` is the step as accepted; `state.json` says how far the attempt is and, once the script
has ended, what is to be reported, and length and digest of its log; `log.spool` is that log; `sent`
names the artifacts already stored. `spec.json` and `state.json` are replaced atomically, the other
two only grow: a torn tail of theirs is cut off. A log that is not as `state.json` says tells so.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

import pydantic

from agent.settings import is_safe_name
from pipelines_schema.contract import (
    BuiltImage,
    Completion,
    CompletionReason,
    LeaseRef,
    StepSpec,
)

logger = logging.getLogger(__name__)

SECRET_FIELDS = ("secrets", "registries")
MAX_MESSAGE_CHARACTERS = 4096
"""The contract's limit for a completion's message."""


class Phase(StrEnum):
    ACCEPTED = "accepted"
    """The script may be running: after a restart it is not, and the attempt is lost."""
    ENDED = "ended"
    """The script has ended and its log and outputs are on disk: what is left is to report."""
    STORED = "stored"
    """The artifacts are at the coordinator too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """How an attempt ended, as the coordinator is to be told."""

    status: Completion
    exit_code: int | None = None
    reason: CompletionReason | None = None
    message: str | None = None
    images: Sequence[BuiltImage] = ()

    @property
    def message_to_send(self) -> str | None:
        """The message within the contract's limit, saying so if it had to be cut."""
        if self.message is None or len(self.message) <= MAX_MESSAGE_CHARACTERS:
            return self.message
        tail = f"\n… ({len(self.message)} characters in all; the rest is in the agent's log)"
        return self.message[: MAX_MESSAGE_CHARACTERS - len(tail)] + tail

    def to_json(self) -> dict[str, Any]:
        return {
            "status": self.status,
            "exitCode": self.exit_code,
            "reason": self.reason,
            "message": self.message,
            "images": [image.to_json() for image in self.images],
        }

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Report:
        """Raises KeyError or ValueError if it is not a report."""
        reason = value["reason"]
        return cls(
            status=Completion(value["status"]),
            exit_code=value["exitCode"],
            reason=None if reason is None else CompletionReason(reason),
            message=value["message"],
            images=tuple(map(BuiltImage.model_validate, value.get("images", ()))),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class LogMark:
    """The whole log of an ended script, to know a spool that a disk has damaged."""

    text_bytes: int
    sha256: str

    def to_json(self) -> dict[str, Any]:
        return {"textBytes": self.text_bytes, "sha256": self.sha256}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> LogMark:
        """Raises KeyError or TypeError if it is not one."""
        return cls(text_bytes=value["textBytes"], sha256=value["sha256"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """An attempt as the journal has it. `report` is there from ENDED on."""

    folder: Path
    spec: StepSpec
    phase: Phase
    report: Report | None = None
    log: LogMark | None = None
    """None before ENDED, or where an older agent wrote the entry."""

    @property
    def lease(self) -> LeaseRef:
        return LeaseRef(step_id=self.spec.step_id, epoch=self.spec.epoch)

    @property
    def attempt_id(self) -> str:
        return self.folder.name

    @property
    def spool(self) -> Path:
        return self.folder / "log.spool"

    @property
    def inputs(self) -> Path:
        return self.folder / "inputs"

    @property
    def outputs(self) -> Path:
        return self.folder / "outputs"

    @property
    def scratch(self) -> Path:
        return self.folder / "scratch"

    def with_report(self, report: Report, phase: Phase) -> Entry:
        return replace(self, report=report, phase=phase)


class Journal:
    """The attempts below one folder. Blocking; a call is some small files at most."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def open(self) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def begin(self, spec: StepSpec) -> Entry:
        """Record an accepted step. Raises OSError; an older entry of that epoch is removed."""
        entry = Entry(
            folder=self._folder / f"{spec.step_id}-{spec.epoch}", spec=spec, phase=Phase.ACCEPTED
        )
        remove_folder(entry.folder)
        entry.folder.mkdir(mode=0o700)
        for folder in (entry.inputs, entry.outputs, entry.scratch):
            folder.mkdir()
        _replace(entry.folder / "spec.json", json.dumps(_without_secrets(spec)))
        return entry

    def record(self, entry: Entry) -> None:
        """Write how far the attempt is, before anything is done that relies on it."""
        report = None if entry.report is None else entry.report.to_json()
        log = None if entry.log is None else entry.log.to_json()
        state = {"phase": entry.phase, "report": report, "log": log}
        _replace(entry.folder / "state.json", json.dumps(state))

    def mark_sent(self, entry: Entry, name: str) -> None:
        """Record that an artifact is stored. No fsync: sending it twice does no harm."""
        with open(entry.folder / "sent", "a", encoding="utf-8") as file:
            file.write(json.dumps(name) + "\n")

    def sent(self, entry: Entry) -> frozenset[str]:
        try:
            lines = (entry.folder / "sent").read_text("utf-8").split("\n")
        except (FileNotFoundError, UnicodeDecodeError):
            return frozenset()
        # What stands after the last line's end is a torn line, or nothing.
        return frozenset(name for line in lines[:-1] if isinstance(name := _load(line), str))

    def forget(self, entry: Entry) -> None:
        # Without its spec the entry no longer counts, wherever the removal may be interrupted.
        (entry.folder / "spec.json").unlink(missing_ok=True)
        remove_folder(entry.folder)

    def entries(self) -> list[Entry]:
        """The attempts of an earlier process; what can't be read is removed with a warning."""
        found = []
        for folder in sorted(self._folder.iterdir()):
            entry = _read_entry(folder)
            if entry is None:
                logger.warning(
                    "journal entry %s is not whole: the step is left to its lease", folder
                )
                remove_folder(folder)
            else:
                found.append(entry)
        return found


def _without_secrets(spec: StepSpec) -> dict[str, Any]:
    """A script is never run a second time, so its secrets need not be on disk."""
    return {name: value for name, value in spec.to_json().items() if name not in SECRET_FIELDS}


def _read_entry(folder: Path) -> Entry | None:
    """An entry, or None if its beginning was never written whole (its script never started)."""
    try:
        spec = StepSpec.model_validate_json((folder / "spec.json").read_bytes())
    except (OSError, pydantic.ValidationError):
        return None
    if not is_safe_name(spec.step_id) or folder.name != f"{spec.step_id}-{spec.epoch}":
        return None
    entry = Entry(folder=folder, spec=spec, phase=Phase.ACCEPTED)
    try:
        state = _load((folder / "state.json").read_text("utf-8"))
        log = state.get("log")
        return replace(
            entry,
            phase=Phase(state["phase"]),
            report=Report.from_json(state["report"]),
            log=None if log is None else LogMark.from_json(log),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return entry


def _load(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


def _replace(path: Path, text: str) -> None:
    """Write a file so that it is there whole or not at all, also after a power cut."""
    temporary = path.with_suffix(".new")
    number = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with open(number, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(number)
    os.replace(temporary, path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def remove_folder(folder: Path) -> None:
    """Remove a folder of any depth; links are never followed. Raises OSError.

    A few files are removed here, more by rm: shutil.rmtree recurses, and would keep the event loop
    from its work.
    """
    if not os.path.lexists(folder) or _removed_small(folder):
        return
    done = subprocess.run(["rm", "-rf", "--", folder], capture_output=True, check=False)
    if done.returncode != 0:
        raise OSError(f"{folder}: {done.stderr.decode('utf-8', 'replace').strip()[:500]}")


SMALL_TREE_ENTRIES = 200
SMALL_TREE_DEPTH = 8


def _removed_small(folder: Path) -> bool:
    """False if something is left: too much, too deep, not ours to remove."""
    try:
        parent = os.open(folder.parent, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return False
    try:
        _remove_below(parent, folder.name, depth=SMALL_TREE_DEPTH, room=SMALL_TREE_ENTRIES)
    except OSError:
        return False
    finally:
        os.close(parent)
    return True


def _remove_below(parent: int, name: str, *, depth: int, room: int) -> int:
    """Remove a folder; how many entries more may be removed. Raises OSError.

    By descriptors, as rm does it: another process that puts a link in a folder's place must not
    lead us elsewhere.
    """
    folder = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=parent)
    try:
        with os.scandir(folder) as found:
            entries = list(found)
        room -= len(entries)
        if room < 0 or depth == 0:
            raise OSError("too much for here")
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                room = _remove_below(folder, entry.name, depth=depth - 1, room=room)
            else:
                os.unlink(entry.name, dir_fd=folder)
    finally:
        os.close(folder)
    os.rmdir(name, dir_fd=parent)
    return room
