"""The real parts that tests share, the engine and its test image, and how workers share tests."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import structlog
from hypothesis import HealthCheck, settings

from tests import compiled_once, rewritten_once, scratch, workers
from tests.workers import GroupScheduling, rank

if TYPE_CHECKING:
    from tests.postgres_server import PostgresServer
    from tests.s3_server import S3Server

# structlog's own choice draws all local variables of a traceback, which takes seconds for each.
structlog.configure(
    processors=[
        *structlog.get_config()["processors"][:-1],
        structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback),
    ]
)


# How long examples take to make or to try says more of the machine than of us.
settings.register_profile("ours", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("ours")

compiled_once.begin()


@dataclass(frozen=True, slots=True, kw_only=True)
class TestEngine:
    __test__ = False

    address: str
    """What `--engine` takes."""
    image: str
    """bash and busybox; its environment has IMAGE_ENV=from-image."""
    builder_image: str
    """The same, with the user `builder` (uid 1000)."""


@pytest.fixture(scope="session")
def buildkit() -> TestEngine:
    """The machine's private engine, started where it isn't running yet; it stays up."""
    from agent.engines import private

    async def prepare() -> TestEngine:
        address = await private.up(reuse=False)
        image = await private.ensure_test_image(print, address=address)
        return TestEngine(
            address=address.url, image=image, builder_image=private.builder_variant(image)
        )

    return asyncio.run(prepare())


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Server]:
    """One that tests share, each under a prefix of its own."""
    from tests.s3_server import running_s3_server

    with running_s3_server() as server:
        yield server


_SCRATCH = pytest.StashKey[Path | None]()


def pytest_configure(config: pytest.Config) -> None:
    # Workers have it of the process that started them.
    config.stash[_SCRATCH] = scratch.begin()
    rewritten_once.begin(config)


def pytest_unconfigure(config: pytest.Config) -> None:
    scratch.end(config.stash.get(_SCRATCH, None))


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """One that tests share, each with a database of its own."""
    from tests.postgres_server import running_postgres_server

    with running_postgres_server() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def each_database(request: pytest.FixtureRequest) -> Iterator[None]:
    """The test runs once with each: what it opens in a folder is there."""
    from tests.empty_database import kept_by

    if request.param == "sqlite":
        yield
        return
    with kept_by(request.getfixturevalue("postgres_server")):
        yield


@pytest.fixture
def on_servers(postgres_server: PostgresServer, s3_server: S3Server) -> Iterator[None]:
    """What the test opens in a folder is kept by PostgreSQL and in a bucket."""
    from tests.empty_database import kept_by
    from tests.empty_objects import objects_at

    with kept_by(postgres_server), objects_at(s3_server):
        yield


@pytest.fixture(params=["here", "servers"])
def each_storage(request: pytest.FixtureRequest) -> str:
    """The test runs once with SQLite and a folder, and once `on_servers`: there with one row of
    its table, if it has one, since what differs in rows is how a request is read."""
    if request.param == "servers":
        request.getfixturevalue("on_servers")
    return str(request.param)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> GroupScheduling:
    config.option.loadscopereorder = False  # in the order of the collection, see `rank`
    return GroupScheduling(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """After pytest-randomly, whose order stays within a rank."""
    left_out = workers.further_rows(items)
    if left_out:
        items[:] = [item for item in items if item not in left_out]
        config.hook.pytest_deselected(items=list(left_out))
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: rank(item.nodeid))


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """What is collected stays until the end: no collection of garbage must walk through it, which
    was a quarter of the time that tests were collected in, nor later."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()
