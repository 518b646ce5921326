"""Several coordinators, each a process with a data folder of its own, over one database."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.e2e.processes import PUSHROD, READY, Api, Process
from tests.ports import free_port
from tests.postgres_server import PostgresServer
from tests.s3_server import BUCKET, S3Server, write_credentials

KEY = "secret-key"


@dataclass
class Several:
    """`start` them by their numbers. The first that starts makes the key that the others have."""

    folder: Path
    postgres: PostgresServer
    s3: S3Server
    database: str = ""
    running: dict[int, Process] = field(default_factory=dict)
    agents: dict[str, Process] = field(default_factory=dict)
    ports: dict[int, tuple[int, int]] = field(default_factory=dict)
    token: str = ""

    def __post_init__(self) -> None:
        self.database = self.database or self.postgres.new_database().url
        write_credentials(self.folder / "credentials")

    def data(self, number: int) -> Path:
        return self.folder / f"coordinator-{number}"

    def url(self, number: int) -> str:
        return f"http://127.0.0.1:{self.ports[number][0]}"

    def api(self, number: int) -> Api:
        return Api(self.url(number), self.token)

    @property
    def public_url(self) -> str:
        return self.url(min(self.ports))

    def database_of(self, number: int) -> str:
        """How that coordinator reaches it."""
        return self.database

    def endpoint_of(self, number: int) -> str:
        return self.s3.endpoint

    def peer_address(self, number: int) -> str:
        """Where the others reach it."""
        return f"127.0.0.1:{self.ports[number][1]}"

    def start(
        self,
        number: int,
        *,
        settings: str = "",
        wait: bool = True,
        program: Sequence[str] = PUSHROD,
    ) -> Process:
        listen, peers = self.ports.setdefault(number, (free_port(), free_port()))
        data = self.data(number)
        data.mkdir(mode=0o700, exist_ok=True)
        others = [other for one in self.ports if (other := self.data(one) / KEY).exists()]
        if others and not (data / KEY).exists():
            shutil.copy(others[0], data / KEY)
        config = self.folder / f"coordinator-{number}.toml"
        config.write_text(
            f'database = "{self.database_of(number)}"\n'
            f'objects = "s3://{BUCKET}/{self.folder.name}"\n'
            f'objects_endpoint = "{self.endpoint_of(number)}"\n'
            'objects_region = "us-east-1"\n'
            f'objects_credentials_file = "{self.folder / "credentials"}"\n'
            f'public_url = "{self.public_url}"\n'
            f'peer_listen = "127.0.0.1:{peers}"\n'
            f'peer_address = "{self.peer_address(number)}"\n' + settings
        )
        arguments = ["--data", str(data), "--listen", f"127.0.0.1:{listen}", "--config", config]
        process = self.running[number] = Process(
            "coordinator",
            *map(str, arguments),
            log=self.folder / f"coordinator-{number}.log",
            program=program,
        )
        if wait:
            process.start(READY.pattern)
        if not self.token:
            self.token = (data / "admin-token").read_text().strip()
        return process

    def leader(self) -> int | None:
        """The number of the one that leads now."""
        found = self.rows(
            "SELECT address FROM coordinator_starts WHERE beat_at > clock_timestamp() - '5s'"
            "::interval"
        )
        addresses = {self.peer_address(number): number for number in self.ports}
        return addresses.get(found[0][0]) if found else None

    def wait_for_leader(self, number: int, seconds: float = 60.0) -> None:
        deadline = time.monotonic() + seconds
        while self.leader() != number:
            assert time.monotonic() < deadline, f"coordinator {number} does not lead"
            time.sleep(0.05)

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        return self.postgres.execute(query, self.database.rpartition("@/")[2].partition("?")[0])

    def pause(self, number: int) -> None:
        os.kill(self.running[number].pid, signal.SIGSTOP)

    def resume(self, number: int) -> None:
        os.kill(self.running[number].pid, signal.SIGCONT)

    def halt(self, number: int) -> None:
        """As a service manager stops it."""
        assert self.running.pop(number).stop() == 0

    def wait_for_note(self, number: int, words: str, seconds: float = 60.0) -> None:
        log, deadline = self.folder / f"coordinator-{number}.log", time.monotonic() + seconds
        while words not in log.read_text(errors="replace"):
            assert time.monotonic() < deadline, f"coordinator {number} does not say {words!r}"
            time.sleep(0.05)

    def kill(self, number: int) -> None:
        self.running.pop(number).kill()

    def start_agent(self, name: str, url: str, *more: str, slots: int = 2) -> Process:
        """One that asks at `url`, such as that of what stands before all of them, with more
        arguments."""
        token = self.folder / "token"
        token.write_text(self.token)
        arguments = ["--name", name, "--slots", str(slots), "--engine", "host"]
        places = ["--token-file", str(token), "--data", str(self.folder / f"agent-{name}")]
        agent = self.agents[name] = Process(
            "agent", "--url", url, *arguments, *places, *more, log=self.folder / f"agent-{name}.log"
        )
        agent.start(r"agent\.worker: engine (\S+)")
        return agent

    def stop(self) -> None:
        for agent in self.agents.values():
            agent.kill()
        for process in self.running.values():
            process.kill()


@contextmanager
def several(
    folder: Path, postgres: PostgresServer, s3: S3Server, numbers: range, settings: str = ""
) -> Iterator[Several]:
    one = Several(folder, postgres, s3)
    try:
        for number in numbers:
            one.start(number, settings=settings)
        yield one
    except BaseException:
        for log in sorted(folder.glob("*.log")):
            print(f"--- {log.name}\n{log.read_text(errors='replace')[-4000:]}")  # noqa: T201
        raise
    finally:
        one.stop()
