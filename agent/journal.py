"""What an agent must still know after kill -9: one file that grows, written before acted on.

A record says that a step was begun, how far it is and what is to be reported, which artifacts are
stored, that it is over. What must survive a power cut is on the disk before its call returns: the
beginning, and the end with the log's length and digest. A short log is in the end's record itself;
a longer one has its own file beside the attempt's folder, as every log has while its script runs.
`journal_records` says what becomes of records that are torn or damaged.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Collection, Sequence
from pathlib import Path

from agent import journal_records as records
from agent.appended_file import AppendedFile
from agent.earlier_journal import EarlierAttempt, earlier_attempts
from agent.journal_entries import SPOOL_SUFFIX, Entry, Phase
from agent.journal_records import Attempt, Record, replayed
from agent.removal import remove_folder
from pipelines_schema.contract import StepSpec

logger = logging.getLogger(__name__)

FILE_NAME = "journal"
REWRITE_BYTES = 1 << 20
"""A file that has grown beyond this, and to twice what is needed of it, is written anew."""


class Journal:
    """The attempts below one folder. Blocking; calls may come from several threads."""

    def __init__(self, folder: Path, *, rewrite_bytes: int = REWRITE_BYTES) -> None:
        self._folder = folder
        self._file = AppendedFile(folder / FILE_NAME)
        self._attempts: dict[str, Attempt] = {}
        self._lock = threading.Lock()
        """Of the attempts and the file's content: the one always says what the other does."""
        self._rewrite_bytes = self._rewrite_beyond = rewrite_bytes

    def open(self) -> None:
        """Read what an earlier process left, and remove what means nothing. Raises OSError."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        replay = replayed(self._file.open(), self._folder)
        if replay.damaged:
            logger.warning("the journal has %d damaged records", replay.damaged)
        for attempt_id in sorted(replay.beheaded):
            logger.warning(
                "journal entry %s is not whole: the step is left to its lease", attempt_id
            )
        self._attempts = replay.attempts
        earlier = list(earlier_attempts(self._folder))
        for one in earlier:
            self._attempts[one.entry.attempt_id] = _adopted(one)
        self._remove_strays()
        for attempt in self._attempts.values():
            _restore_log(attempt)
        if (self._file.size or earlier) and self._rewrite():
            for one in earlier:
                one.remove_records()

    def close(self) -> None:
        self._file.close()

    def begin(self, spec: StepSpec) -> Entry:
        """Record an accepted step. Raises OSError; an older entry of that epoch is removed."""
        folder = self._folder / f"{spec.step_id}-{spec.epoch}"
        entry = Entry(folder=folder, spec=spec, phase=Phase.ACCEPTED)
        if older := self._attempts.get(entry.attempt_id):
            self.forget(older.entry)
        if self._file.size > self._rewrite_beyond:
            self._rewrite()
        if spec.output_paths:
            for made in (entry.folder, entry.outputs, entry.scratch):
                made.mkdir(mode=0o700, exist_ok=True)
        try:
            self._begin(entry)
        except OSError:
            self.forget(entry)
            raise
        return entry

    def _begin(self, entry: Entry) -> None:
        data = records.begun(entry).encode()
        with self._lock:
            mark = self._file.append(data)
            self._attempts[entry.attempt_id] = Attempt(entry, [data])
        self._file.make_lasting(mark)

    def record(self, entry: Entry, frames: bytes | None = None) -> None:
        """Write how far the attempt is, before anything is done that relies on it. Raises OSError.

        `frames`: the whole log, if it is short. That the artifacts are stored need not last: they
        would be sent again.
        """
        mark = self._add([records.reached(entry, frames)], entry)
        if entry.phase is Phase.ENDED:
            self._file.make_lasting(mark)

    def mark_sent(self, entry: Entry, names: Collection[str]) -> None:
        """Record that artifacts are stored. It need not last: sending one twice does no harm."""
        self._add([records.sent(entry, name) for name in names], entry)
        self._attempts[entry.attempt_id].sent.update(names)

    def _add(self, added: Sequence[Record], entry: Entry) -> int:
        data = b"".join(record.encode() for record in added)
        attempt = self._attempts[entry.attempt_id]
        with self._lock:
            mark = self._file.append(data)
            attempt.entry = entry
            attempt.records.append(data)
        return mark

    def sent(self, entry: Entry) -> frozenset[str]:
        return frozenset(self._attempts[entry.attempt_id].sent)

    def forget(self, entry: Entry) -> None:
        """Remove all of an attempt. Raises OSError."""
        with self._lock:
            self._attempts.pop(entry.attempt_id, None)
            try:
                self._file.append(records.forgotten(entry).encode())
            except OSError as error:
                # A full disk must not keep us from making room; what comes back is reported twice.
                logger.warning("journal of attempt %s: %s", entry.attempt_id, error)
        entry.spool.unlink(missing_ok=True)
        remove_folder(entry.folder)

    def entries(self) -> list[Entry]:
        """The attempts that are not over: of an earlier process, and begun since."""
        with self._lock:
            return [attempt.entry for attempt in self._attempts.values()]

    def _remove_strays(self) -> None:
        """What a kill left between an attempt's record and its files."""
        for path in self._folder.iterdir():
            attempt_id = path.name.removesuffix(SPOOL_SUFFIX)
            if path.name == FILE_NAME or attempt_id in self._attempts:
                continue
            if path.is_dir() and not path.is_symlink():
                remove_folder(path)
            else:
                path.unlink()

    def _rewrite(self) -> bool:
        """Keep of the file what still means something; False where the disk has no room for it."""
        with self._lock:
            data = b"".join(
                record for attempt in self._attempts.values() for record in attempt.records
            )
            try:
                self._file.replace(data)
                return True
            except OSError as error:
                logger.warning("the journal can't be written anew: %s", error)
                return False
            finally:
                self._rewrite_beyond = max(self._rewrite_bytes, 2 * self._file.size)


def _adopted(earlier: EarlierAttempt) -> Attempt:
    """An attempt of the journal before this one, in records that are still to be written."""
    entry = earlier.entry
    earlier.move_log()
    found = [records.begun(entry), *(records.sent(entry, name) for name in sorted(earlier.sent))]
    if entry.report is not None:
        found.append(records.reached(entry))
    return Attempt(entry, [record.encode() for record in found], set(earlier.sent))


def _restore_log(attempt: Attempt) -> None:
    """The log of an ended script as its record has it, where the disk lost the file."""
    spool, frames = attempt.entry.spool, attempt.frames
    if frames is None:
        return
    try:
        if (spool.read_bytes() if spool.exists() else b"") != frames:
            spool.touch(mode=0o600)
            spool.write_bytes(frames)
    except OSError as error:
        logger.warning("log of attempt %s: %s", attempt.entry.attempt_id, error)
