"""A PostgreSQL of the tests: the distribution's programs over a cluster of our own.

Nothing of the packaged cluster is touched. Who connects by the socket in `folder` needs no password
and only this user can; by 127.0.0.1 it is PASSWORD. The server ends with whoever started it.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import psycopg

from coordinator.storage.migrate import migrate
from coordinator.storage.postgresql import PostgresPlace
from tests.ports import free_port

OWNER, PASSWORD = "pushrod", "of-the-tests"
START_SECONDS = 60.0
TEMPLATE = "migrated"
# Nothing here must survive a power cut; what was committed survives an end of the server.
QUICK = (
    "fsync=off",
    "full_page_writes=off",
    "shared_buffers=16MB",
    "dynamic_shared_memory_type=mmap",  # in its folder: else a killed server leaves it behind
)


@dataclass(slots=True)
class PostgresServer:
    """`start`, `new_database` for each test, `remove`; it may be stopped and started again."""

    folder: Path
    port: int = field(default_factory=free_port)
    more: Sequence[str] = ()
    """Settings of the server, which come after QUICK."""
    _process: subprocess.Popen[bytes] | None = None
    _kept: psycopg.Connection[Any] | None = None
    """The superuser's: a process of the server costs more to begin than a database to copy."""
    _numbers: Iterator[int] = field(default_factory=count)
    _has_template: bool = False

    def make(self) -> None:
        if os.getuid() == 0:
            shutil.chown(self.folder, "postgres", "postgres")
        options = ["-U", "postgres", "-E", "UTF8", "--locale=C", "--no-sync", "--no-instructions"]
        auth = ["--auth-local=trust", "--auth-host=scram-sha-256"]
        self._run("initdb", "-D", str(self._data), *options, *auth)

    def start(self) -> None:
        settings = [
            "listen_addresses=127.0.0.1",
            f"unix_socket_directories={self.folder}",
            *QUICK,
            *self.more,
        ]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *_as_its_user("--pdeathsig", "INT"),
                    _program("postgres"),
                    *("-D", str(self._data), "-p", str(self.port)),
                    *(word for setting in settings for word in ("-c", setting)),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
            )
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError((self.folder / "log").read_text())
            time.sleep(0.02)

    def stop(self, by: signal.Signals = signal.SIGQUIT) -> None:
        """At once, as by a kill; whoever is connected loses that. SIGINT has it end in order, by
        SIGKILL its first process is gone, and the others notice."""
        if self._kept is not None:
            self._kept.close()
            self._kept = None
        if self._process is not None:
            self._process.send_signal(by)
            self._process.wait()
            self._process = None

    def remove(self) -> None:
        self.stop()
        shutil.rmtree(self.folder)

    def execute(self, statement: Any, database: str = "postgres") -> list[tuple[Any, ...]]:
        """As the superuser."""
        with self._connect(database) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def _connect(self, database: str = "postgres") -> psycopg.Connection[Any]:
        return psycopg.connect(
            host=str(self.folder), port=self.port, user="postgres", dbname=database, autocommit=True
        )

    def new_database(self, *, migrated: bool = True) -> PostgresPlace:
        """An empty one of this version's schema, or of none."""
        if migrated and not self._has_template:
            self._create(TEMPLATE, "template0")
            migrate(self.place(TEMPLATE))
            self._has_template = True
        name = f"test{next(self._numbers)}"
        self._create(name, TEMPLATE if migrated else "template0")
        return self.place(name)

    def place(self, database: str) -> PostgresPlace:
        return PostgresPlace(url=self.url(database))

    def url(self, database: str) -> str:
        return f"postgresql://{OWNER}@/{database}?host={self.folder}&port={self.port}"

    @property
    def pid(self) -> int | None:
        """Of the first of its processes."""
        return self._process.pid if self._process is not None else None

    def drop(self, place: PostgresPlace) -> None:
        self._superuser().execute(f'DROP DATABASE "{place.name}" WITH (FORCE)')

    def _create(self, name: str, template: str) -> None:
        superuser = self._superuser()
        # The only way of older ones. By the other, block by block through the write-ahead log, a
        # copy is dearer, and who first connects to it makes caches anew that are files, too.
        by_files = " STRATEGY file_copy" if superuser.info.server_version >= 150_000 else ""
        superuser.execute(f'CREATE DATABASE "{name}" OWNER {OWNER} TEMPLATE {template}{by_files}')

    def _superuser(self) -> psycopg.Connection[Any]:
        """A connection that is kept, unless the server was ended meanwhile by other hands."""
        if self._kept is not None:
            try:
                self._kept.execute("SELECT 1")
                return self._kept
            except psycopg.OperationalError:
                self._kept.close()
        self._kept = self._connect()
        return self._kept

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    def _answers(self) -> bool:
        try:
            if not self.execute(f"SELECT 1 FROM pg_roles WHERE rolname = '{OWNER}'"):
                self.execute(f"CREATE ROLE {OWNER} LOGIN PASSWORD '{PASSWORD}'")
        except psycopg.OperationalError:
            return False
        return True

    def _run(self, name: str, *arguments: str) -> None:
        command = [*_as_its_user(), _program(name), *arguments]
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL, capture_output=True, cwd="/")


def _program(name: str) -> str:
    """Debian keeps the server's out of PATH."""
    versions = Path("/usr/lib/postgresql").glob(f"*/bin/{name}")
    found = sorted(versions, key=lambda path: int(path.parts[-3])) or [shutil.which(name)]
    if found[-1] is None:
        raise RuntimeError("the tests need PostgreSQL: run .ci/setup test")
    return str(found[-1])


def _as_its_user(*options: str) -> Sequence[str]:
    """PostgreSQL refuses to run as root."""
    other = ["--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.getuid() == 0 else []
    return ["setpriv", *other, *options, "--"]


def _reached_by_all() -> str:
    """A folder for scratch that another user may walk to."""
    for folder in (Path(tempfile.gettempdir()), Path("/dev/shm"), Path("/tmp")):
        if folder.is_dir() and all(one.stat().st_mode & 1 for one in (folder, *folder.parents)):
            return str(folder)
    raise RuntimeError("no folder for scratch that PostgreSQL's user can reach")


@contextmanager
def running_postgres_server(**settings: str) -> Iterator[PostgresServer]:
    server = PostgresServer(
        Path(tempfile.mkdtemp(prefix="pg-", dir=_reached_by_all())),
        more=[f"{name}={value}" for name, value in settings.items()],
    )
    try:
        server.make()
        server.start()
        yield server
    finally:
        server.remove()
