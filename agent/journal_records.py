"""The journal's file as values: what a record is, and what all of them together mean.

A record is one line, `RS digest SP JSON LF`. RS (0x1e) and LF stand nowhere inside it, so whatever
a disk does to one record, the next is found: a damaged one is noticed by its digest, a torn one by
its missing end.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from agent.journal_entries import Entry, LogMark, Phase, Report
from agent.settings import is_safe_name
from pipelines_schema.contract import StepSpec

START, END = b"\x1e", b"\n"
DIGEST_BYTES = 8
SECRET_FIELDS = frozenset({"secrets", "registries"})


class Kind(StrEnum):
    BEGUN = "begun"
    """A step as accepted: `spec`."""
    REACHED = "reached"
    """How far it is: `phase`, `report`, `log`, and of a short log the `frames` themselves."""
    SENT = "sent"
    """The artifact `name` is at the coordinator."""
    FORGOTTEN = "forgotten"


@dataclass(frozen=True, slots=True)
class Record:
    kind: Kind
    attempt_id: str
    fields: Mapping[str, Any]

    def encode(self) -> bytes:
        value = {"is": self.kind, "attempt": self.attempt_id, **self.fields}
        text = json.dumps(value, separators=(",", ":")).encode("ascii")
        return START + _digest(text) + b" " + text + END


def begun(entry: Entry) -> Record:
    """Without secrets: a script is never run a second time, so they need not be on disk."""
    spec = entry.spec.to_json().items()
    kept = {name: value for name, value in spec if name not in SECRET_FIELDS}
    return Record(Kind.BEGUN, entry.attempt_id, {"spec": kept})


def reached(entry: Entry, frames: bytes | None = None) -> Record:
    fields = {
        "phase": entry.phase,
        "report": None if entry.report is None else entry.report.to_json(),
        "log": None if entry.log is None else entry.log.to_json(),
        "frames": None if frames is None else base64.b64encode(frames).decode("ascii"),
    }
    return Record(Kind.REACHED, entry.attempt_id, fields)


def sent(entry: Entry, name: str) -> Record:
    return Record(Kind.SENT, entry.attempt_id, {"name": name})


def forgotten(entry: Entry) -> Record:
    return Record(Kind.FORGOTTEN, entry.attempt_id, {})


@dataclass(slots=True)
class Attempt:
    """All that the journal has of an attempt."""

    entry: Entry
    records: list[bytes]
    """Those of it that still mean something, encoded."""
    sent: set[str] = field(default_factory=set)
    frames: bytes | None = None
    """The whole log of an ended script, where it was short."""


@dataclass(slots=True)
class Replay:
    attempts: dict[str, Attempt] = field(default_factory=dict)
    damaged: int = 0
    """Records that can't be read."""
    beheaded: set[str] = field(default_factory=set)
    """Attempts of which the beginning was lost: they can't be gone on with."""


def replayed(data: bytes, folder: Path) -> Replay:
    """What a journal's bytes say of the attempts whose folders are below `folder`."""
    replay = Replay()
    for line in _lines(data):
        try:
            _apply(replay, line, folder)
        except (ValueError, KeyError, TypeError, AttributeError):
            replay.damaged += 1
    return replay


def _lines(data: bytes) -> Iterator[bytes]:
    """Each record's digest and text, and what stands between records."""
    before, *pieces = data.split(START)
    if before:
        yield before
    for piece in pieces:
        line, end, after = piece.partition(END)
        yield line if end else b""
        if after:
            yield after


def _apply(replay: Replay, line: bytes, folder: Path) -> None:
    """Raises ValueError, KeyError, TypeError or AttributeError for what is no record."""
    digest, _, text = line.partition(b" ")
    if not text or digest != _digest(text):
        raise ValueError("the digest is another")
    value = json.loads(text)
    kind, attempt_id = Kind(value["is"]), value["attempt"]
    if kind is Kind.BEGUN:
        entry = _begun_entry(attempt_id, value, folder)
        replay.attempts[attempt_id] = Attempt(entry, [START + line + END])
        replay.beheaded.discard(attempt_id)
    elif kind is Kind.FORGOTTEN:
        replay.attempts.pop(attempt_id, None)
        replay.beheaded.discard(attempt_id)
    elif attempt_id not in replay.attempts:
        replay.beheaded.add(attempt_id)
    else:
        _add(replay.attempts[attempt_id], kind, value)
        replay.attempts[attempt_id].records.append(START + line + END)


def _begun_entry(attempt_id: str, value: Mapping[str, Any], folder: Path) -> Entry:
    spec = StepSpec.model_validate(value["spec"])
    if not is_safe_name(spec.step_id) or attempt_id != f"{spec.step_id}-{spec.epoch}":
        raise ValueError("the attempt has another's name")
    return Entry(folder=folder / attempt_id, spec=spec, phase=Phase.ACCEPTED)


def _add(attempt: Attempt, kind: Kind, value: Mapping[str, Any]) -> None:
    if kind is Kind.SENT:
        attempt.sent.add(str(value["name"]))
        return
    log, frames = value["log"], value["frames"]
    attempt.entry = replace(
        attempt.entry,
        phase=Phase(value["phase"]),
        report=Report.from_json(value["report"]),
        log=None if log is None else LogMark.from_json(log),
    )
    if frames is not None:
        attempt.frames = base64.b64decode(frames, validate=True)


def _digest(text: bytes) -> bytes:
    return hashlib.blake2b(text, digest_size=DIGEST_BYTES).hexdigest().encode("ascii")
