"""`pushrod run` as a process, in a repository, with folders of its own that can be counted."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from tests.e2e.nursery import Forked, fork_pushrod, run_pushrod_for_text
from tests.e2e.processes import PUSHROD, Repository

SECONDS = 400.0
"""On a machine on which much else is tested; a run takes two seconds of a processor."""
LINE = re.compile(r"^(?P<step>\S.*?) *\| (?P<line>.*)$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """`folder` is new, with the user's caches below it; so is `temporary`, whose path is short."""

    repository: Repository
    folder: Path
    temporary: Path
    engine: str
    variables: Mapping[str, str] = field(default_factory=dict)
    """Besides those that it has anyway."""

    @property
    def caches(self) -> Path:
        return self.folder / "cache"

    @property
    def environment(self) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith("PUSHROD_")}
        kept |= {k: v for k, v in os.environ.items() if k.startswith("PUSHROD_ENGINE_")}
        return {
            **kept,
            "HOME": str(self.folder),
            "XDG_CACHE_HOME": str(self.caches),
            "TMPDIR": str(self.temporary),
            **self.variables,
        }

    def words(self, *words: str, engine: str | None = None) -> list[str]:
        return ["run", "--engine", engine or self.engine, *words]

    def command(self, *words: str, engine: str | None = None) -> list[str]:
        return [*PUSHROD, *self.words(*words, engine=engine)]

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """From its beginning to its end."""
        return run_pushrod_for_text(
            self.words(*words), self.environment, folder=self.repository.path, seconds=SECONDS
        )

    @contextmanager
    def begun(self, *words: str, from_the_start: bool = False) -> Iterator[Begun]:
        """`from_the_start`: as users begin it, for tests of what it does before it can do much."""
        output = self.folder / "output"
        with output.open("wb") as file:
            begin = self._start if from_the_start else self._fork
            process = begin(words, file)
        try:
            yield Begun(process, output)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait(SECONDS)

    def _start(self, words: Sequence[str], output: IO[bytes]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            self.command(*words),
            cwd=self.repository.path,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            preexec_fn=_hear_interrupts,
        )

    def _fork(self, words: Sequence[str], output: IO[bytes]) -> Forked:
        return fork_pushrod(
            self.words(*words), self.environment, output.fileno(), folder=self.repository.path
        )

    def workflow(self, text: str) -> None:
        self.repository.write(".pushrod.yml", text)

    def left(self) -> list[str]:
        """Folders and files of the run, and processes that know of it."""
        # Unlike rglob, it passes over what is removed meanwhile.
        paths = [
            os.path.join(where, name)
            for where, folders, files in os.walk(self.temporary)
            for name in (*folders, *files)
        ]
        mark = os.fsencode(f"TMPDIR={self.temporary}")
        return paths + [f"process {pid}" for pid in processes_with(mark)]

    def wait_until_nothing_is_left(self) -> None:
        deadline = time.monotonic() + 60
        while self.left():
            assert time.monotonic() < deadline, self.left()
            time.sleep(0.05)


def _hear_interrupts() -> None:
    """As at a terminal: who runs the tests in the background may have them ignored."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@contextmanager
def place_of(repository: Repository, folder: Path, engine: str) -> Iterator[Place]:
    with tempfile.TemporaryDirectory(prefix="run-") as temporary:
        yield Place(repository=repository, folder=folder, temporary=Path(temporary), engine=engine)


@dataclass(frozen=True, slots=True)
class Begun:
    process: subprocess.Popen[bytes] | Forked
    output: Path

    def text(self) -> str:
        return self.output.read_text(errors="replace")

    def wait_for(self, text: str) -> None:
        deadline = time.monotonic() + SECONDS
        while text not in self.text():
            assert self.process.poll() is None, self.text()
            assert time.monotonic() < deadline, self.text()
            time.sleep(0.02)

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def ended(self) -> int:
        return self.process.wait(SECONDS)


def processes_with(variable: bytes) -> list[int]:
    """Of ours, by what stands in their environment."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                if variable in (entry / "environ").read_bytes().split(b"\0"):
                    found.append(int(entry.name))
            except OSError:
                continue
    return found


def lines_of(output: str) -> dict[str, list[str]]:
    """The log lines of each step."""
    found: dict[str, list[str]] = {}
    for line in output.splitlines():
        if match := LINE.match(line):
            found.setdefault(match["step"], []).append(match["line"])
    return found
