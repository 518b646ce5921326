"""Three coordinators and four agents, each with links of its own to what it needs."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.e2e.processes import Process
from tests.e2e.several import Several
from tests.integration.small_disks import small_disk
from tests.ports import free_port
from tests.postgres_server import OWNER, PASSWORD, PostgresServer
from tests.s3_server import S3Server
from tests.torture.links import Link

LEASE_SECONDS = 15
SETTINGS = f"""\
lease_seconds = {LEASE_SECONDS}
allow_file_repositories = true
fetch_retry_seconds = 1
"""
COORDINATORS = range(1, 4)
AGENTS = ("ada", "bob", "cyd", "dan")
SLOTS = 2
DISK_MIB = 48
"""Of each coordinator and agent, where this user may mount some."""


@dataclass
class Crowd(Several):
    """`links` are named by who connects and what to, such as "database of 1"."""

    links: dict[str, Link] = field(default_factory=dict)
    disks: dict[str, Path] = field(default_factory=dict)
    """Of their own, by whose they are, such as "agent ada"."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._password = self.folder / "database-password"
        self._password.write_text(PASSWORD)
        for number in COORDINATORS:
            listen, peers = self.ports[number] = (free_port(), free_port())
            assert listen != peers
            self.links[f"database of {number}"] = Link(self.postgres.port)
            self.links[f"store of {number}"] = Link(self.s3.port)
            self.links[f"peers of {number}"] = Link(peers)
        balanced = [self.ports[number][0] for number in COORDINATORS]
        for name in ("clients", "git", *(f"agent {name}" for name in AGENTS)):
            self.links[name] = Link(*balanced)

    @property
    def address(self) -> str:
        """Of the balancer, for clients."""
        return self.links["clients"].url

    @property
    def public_url(self) -> str:
        return self.links["git"].url

    def database_of(self, number: int) -> str:
        name = self.database.rpartition("@/")[2].partition("?")[0]
        return f"postgresql://{OWNER}@127.0.0.1:{self.links[f'database of {number}'].port}/{name}"

    def endpoint_of(self, number: int) -> str:
        return self.links[f"store of {number}"].url

    def peer_address(self, number: int) -> str:
        return f"127.0.0.1:{self.links[f'peers of {number}'].port}"

    def begin(self, number: int) -> Process:
        password = f'database_password_file = "{self._password}"\n'
        return self.start(number, settings=SETTINGS + password)

    def begin_agent(self, name: str) -> Process:
        url, floor = self.links[f"agent {name}"].url, ("--min-free", "1MiB")
        return self.start_agent(name, url, *floor, slots=SLOTS)

    def mount(self, disks: ExitStack) -> None:
        """Data folders on disks that are soon full."""
        folders = {f"coordinator {number}": self.data(number) for number in COORDINATORS}
        folders |= {f"agent {name}": self.agent_data(name) for name in AGENTS}
        for name, folder in folders.items():
            folder.mkdir(mode=0o755 if name.startswith("agent") else 0o700)
            try:
                self.disks[name] = disks.enter_context(small_disk(folder, DISK_MIB))
            except pytest.skip.Exception:
                return

    def agent_data(self, name: str) -> Path:
        return self.folder / f"agent-{name}"

    def stop(self) -> None:
        super().stop()
        for link in self.links.values():
            link.close()


@contextmanager
def crowd(
    folder: Path, postgres: PostgresServer, s3: S3Server, agents: tuple[str, ...] = AGENTS
) -> Iterator[Crowd]:
    one = Crowd(folder, postgres, s3)
    disks = ExitStack()
    try:
        one.mount(disks)
        one.begin(COORDINATORS[0])  # it makes the key
        with ThreadPoolExecutor() as threads:
            begun = [threads.submit(one.begin, number) for number in COORDINATORS[1:]]
            begun += [threads.submit(one.begin_agent, name) for name in agents]
        for each in begun:
            each.result()
        yield one
    except BaseException:
        for log in sorted(folder.glob("*.log")):
            print(f"--- {log.name}\n{log.read_text(errors='replace')[-4000:]}")  # noqa: T201
        raise
    finally:
        one.stop()
        disks.close()
