"""A real engine for the tests, and a bench that runs steps on it."""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from agent.engines.buildkit.engine import BuildKitEngine
from agent.engines.private import (
    EnginePlaces,
    builder_variant,
    down,
    engine_places,
    ensure_test_image,
    up,
)
from agent.engines.private.record import read_record
from agent.engines.protocol import CacheMount, GitTree, SourceTree, StepRequest, StepResult
from pipelines_schema.log_frames import Stream
from tests.quiet_time import quiet_seconds

from .registries import Registry, own_registry, registry_with_password

if TYPE_CHECKING:
    from .image_bench import ImageBench


@dataclass(frozen=True, slots=True, kw_only=True)
class TestEngine:
    __test__ = False

    address: str
    image: str
    busybox_image: str = ""
    """Without bash; empty where there is none."""
    lifted: bool
    """Whether the daemon is known not to clip logs."""
    record: Path = field(default_factory=lambda: engine_places().record)
    """Of the private engine in whose network it reaches registries."""

    @property
    def builder_image(self) -> str:
        return builder_variant(self.image)


@pytest.fixture(scope="session")
def engine_under_test() -> TestEngine:
    """The machine's private engine, or the one of PUSHROD_TEST_ENGINE and PUSHROD_TEST_IMAGE."""
    if address := os.environ.get("PUSHROD_TEST_ENGINE"):
        record = Path(os.environ.get("PUSHROD_TEST_RECORD", engine_places().record))
        image = os.environ["PUSHROD_TEST_IMAGE"]
        return TestEngine(address=address, image=image, lifted=False, record=record)

    async def start() -> TestEngine:
        engine = await up(reuse=False)
        return TestEngine(
            address=engine.url,
            image=await ensure_test_image(address=engine),
            busybox_image=await ensure_test_image(address=engine, bash=False),
            lifted=True,
        )

    return asyncio.run(start())


@dataclass(slots=True)
class Log:
    """What a step wrote, with the time of each piece."""

    pieces: list[tuple[float, Stream, bytes]] = field(default_factory=list)
    grown: asyncio.Event = field(default_factory=asyncio.Event)

    def write(self, stream: Stream, data: bytes) -> None:
        self.pieces.append((time.monotonic(), stream, data))
        self.grown.set()

    @property
    def stdout(self) -> bytes:
        return b"".join(data for _, stream, data in self.pieces if stream is Stream.STDOUT)

    @property
    def stderr(self) -> bytes:
        return b"".join(data for _, stream, data in self.pieces if stream is Stream.STDERR)

    async def wait_for(self, text: bytes) -> None:
        async with asyncio.timeout(60):
            while text not in self.stdout:
                self.grown.clear()
                await self.grown.wait()


@dataclass(slots=True, kw_only=True)
class FolderSource:
    """A folder as a step's source; counts how often it is lent and whether it is now."""

    folder: Path
    key: str
    git: GitTree | None = None
    lent: int = 0
    in_use: bool = False

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Path]:
        self.lent += 1
        self.in_use = True
        try:
            yield self.folder
        finally:
            self.in_use = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    result: StepResult
    log: Log
    outputs: Path
    seconds: float
    quiet_seconds: float

    def collected(self) -> dict[str, bytes]:
        return {
            str(path.relative_to(self.outputs)): path.read_bytes()
            for path in sorted(self.outputs.rglob("*"))
            if path.is_file()
        }


@dataclass(slots=True, kw_only=True)
class Bench:
    engine: BuildKitEngine
    image: str
    builder_image: str
    folder: Path

    log = Log
    source = FolderSource

    async def run(
        self,
        script: str,
        *,
        log: Log | None = None,
        image: str | None = None,
        env: Mapping[str, str] | None = None,
        cache_mounts: Sequence[CacheMount] = (),
        output_paths: Sequence[str] = (),
        timeout_seconds: float = 120,
        source: SourceTree | None = None,
        inputs: Path | None = None,
        attempt_id: str = "",
        **more: Any,
    ) -> Ran:
        attempt_id = attempt_id or secrets.token_hex(8)
        outputs, scratch = self.folder / attempt_id / "o", self.folder / attempt_id / "s"
        outputs.mkdir(parents=True)
        scratch.mkdir()
        log = log or Log()
        began, began_quiet = time.monotonic(), quiet_seconds()
        result = await self.engine.run(
            StepRequest(
                attempt_id=attempt_id,
                step_name="test",
                image=image or self.image,
                script=script,
                env=env or {},
                cache_mounts=cache_mounts,
                output_paths=output_paths,
                timeout_seconds=timeout_seconds,
                source=source,
                inputs=inputs,
                **more,
                outputs=outputs,
                scratch=scratch,
            ),
            log,
        )
        return Ran(
            result=result,
            log=log,
            outputs=outputs,
            seconds=time.monotonic() - began,
            quiet_seconds=quiet_seconds() - began_quiet,
        )


@pytest.fixture(params=["copied log", "trusted log"])
async def bench(
    request: pytest.FixtureRequest, engine_under_test: TestEngine, tmp_path: Path
) -> AsyncIterator[Bench]:
    """Both ways of keeping a log whole, where the daemon allows both."""
    trusted = request.param == "trusted log"
    if trusted and not engine_under_test.lifted:
        pytest.skip("this engine clips logs")
    async with bench_of(engine_under_test, tmp_path, trusted=trusted) as made:
        yield made


@pytest.fixture
async def one_bench(engine_under_test: TestEngine, tmp_path: Path) -> AsyncIterator[Bench]:
    """One way of keeping a log, where it makes no difference."""
    async with bench_of(engine_under_test, tmp_path, trusted=engine_under_test.lifted) as made:
        yield made


@asynccontextmanager
async def bench_of(
    engine: TestEngine,
    folder: Path,
    *,
    trusted: bool,
    unresponsive_seconds: float = 30,
    authorities: str = "",
    allow_privileged: bool = False,
) -> AsyncIterator[Bench]:
    made = BuildKitEngine(
        engine.address,
        data_dir=folder / "data",
        log_limits_lifted=trusted,
        unresponsive_seconds=unresponsive_seconds,
        authorities=authorities,
        allow_privileged=allow_privileged,
    )
    try:
        yield Bench(
            engine=made,
            image=engine.image,
            builder_image=engine.builder_image,
            folder=folder / "attempts",
        )
    finally:
        await made.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnEngine:
    """An engine that a test may break."""

    places: EnginePlaces

    async def start(self) -> TestEngine:
        address = await up(reuse=False, places=self.places)
        image = await ensure_test_image(address=address, places=self.places)
        record = self.places.record
        return TestEngine(address=address.url, image=image, lifted=True, record=record)

    def signal(self, number: int) -> None:
        record = read_record(self.places.record)
        assert record is not None
        assert record.daemon is not None
        os.kill(record.daemon.pid, number)


def needs_root() -> None:
    if os.geteuid() != 0:
        pytest.skip("the private engine needs root")


@pytest.fixture(scope="session")
def own_engine() -> Iterator[OwnEngine]:
    needs_root()
    folder = Path(tempfile.mkdtemp(prefix="pushrod-"))  # short: sockets lie in it
    places = EnginePlaces(data=folder, runtime=folder / "run", packages=engine_places().packages)
    try:
        yield OwnEngine(places=places)
    finally:
        asyncio.run(down(places=places))
        shutil.rmtree(folder)


@pytest.fixture
async def own_bench(own_engine: OwnEngine, tmp_path: Path) -> AsyncIterator[Bench]:
    engine = await own_engine.start()
    async with bench_of(engine, tmp_path, trusted=True, unresponsive_seconds=3) as made:
        yield made


@dataclass(frozen=True, slots=True, kw_only=True)
class Marker:
    """A number of seconds to sleep for, by which a test's processes are found on this machine."""

    word: str

    def processes(self) -> list[int]:
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    words = (entry / "cmdline").read_bytes().split(b"\0")
                except OSError:
                    continue
                if self.word.encode() in words:
                    found.append(int(entry.name))
        return found


@pytest.fixture
def marker() -> Marker:
    return Marker(word=f"87{secrets.randbelow(10**9):09d}")


@pytest.fixture
async def images(engine_under_test: TestEngine, tmp_path: Path) -> AsyncIterator[ImageBench]:
    from .image_bench import image_bench

    async with image_bench(engine_under_test, tmp_path) as bench:
        yield bench


@contextmanager
def engine_with_containerd() -> Iterator[TestEngine]:
    """A Docker Engine whose images are containerd's, so that BuildKit itself pushes them."""
    needs_root()
    folder = Path(tempfile.mkdtemp(prefix="pushrod-"))  # short: sockets lie in it
    places = EnginePlaces(
        data=folder,
        runtime=folder / "run",
        packages=engine_places().packages,
        containerd_images=True,
    )
    try:
        yield asyncio.run(OwnEngine(places=places).start())
    finally:
        asyncio.run(down(places=places))
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
def with_containerd() -> Iterator[TestEngine]:
    with engine_with_containerd() as engine:
        yield engine


@pytest.fixture
async def containerd_images(
    with_containerd: TestEngine, tmp_path: Path
) -> AsyncIterator[ImageBench]:
    from .image_bench import image_bench

    async with image_bench(with_containerd, tmp_path) as bench:
        yield bench


@pytest.fixture(scope="module")
def guarded(
    engine_under_test: TestEngine, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Registry]:
    """A registry that asks for a password."""
    folder = tmp_path_factory.mktemp("registry")
    with registry_with_password(folder, engine_under_test.record) as registry:
        yield registry


@pytest.fixture
def own(engine_under_test: TestEngine) -> Registry:
    return own_registry(engine_under_test.record)
