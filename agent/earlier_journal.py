"""The journal as it was before it became one file: read once, when such an agent is upgraded.

Each attempt had a folder with `spec.json`, `state.json` once the script had ended, `log.spool`, and
`sent` with a line for each artifact that was stored.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from agent.journal_entries import Entry, LogMark, Phase, Report
from agent.settings import is_safe_name
from pipelines_schema.contract import StepSpec


@dataclass(frozen=True, slots=True)
class EarlierAttempt:
    entry: Entry
    sent: frozenset[str]

    def move_log(self) -> None:
        """Put the log where it is looked for now. Raises OSError."""
        with contextlib.suppress(FileNotFoundError):
            (self.entry.folder / "log.spool").rename(self.entry.spool)

    def remove_records(self) -> None:
        """Leave inputs and outputs. Raises OSError."""
        for name in ("state.json", "sent", "spec.json"):
            (self.entry.folder / name).unlink(missing_ok=True)


def earlier_attempts(folder: Path) -> Iterator[EarlierAttempt]:
    """Those that such an agent left below the folder and that are whole."""
    for path in sorted(folder.iterdir()):
        entry = _read_entry(path)
        if entry is not None:
            yield EarlierAttempt(entry, _read_sent(path))


def _read_entry(folder: Path) -> Entry | None:
    """An entry, or None if its beginning was never written whole (its script never started)."""
    try:
        spec = StepSpec.model_validate_json((folder / "spec.json").read_bytes())
    except (OSError, ValueError):
        return None
    if not is_safe_name(spec.step_id) or folder.name != f"{spec.step_id}-{spec.epoch}":
        return None
    entry = Entry(folder=folder, spec=spec, phase=Phase.ACCEPTED)
    try:
        state = json.loads((folder / "state.json").read_text("utf-8"))
        log = state.get("log")
        return replace(
            entry,
            phase=Phase(state["phase"]),
            report=Report.from_json(state["report"]),
            log=None if log is None else LogMark.from_json(log),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return entry


def _read_sent(folder: Path) -> frozenset[str]:
    try:
        lines = (folder / "sent").read_text("utf-8").split("\n")
    except (OSError, UnicodeDecodeError):
        return frozenset()
    # What stands after the last line's end is a torn line, or nothing.
    return frozenset(name for line in lines[:-1] if isinstance(name := _load(line), str))


def _load(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None
