"""The private engine's registry by ways that no rule on references knows: names that lead to it."""

from __future__ import annotations

import asyncio
import json
import secrets
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest

from agent.engines.private import down, image_digest, up
from agent.engines.private.places import EnginePlaces
from agent.engines.private.record import read_record
from agent.engines.protocol import Outcome
from pipelines_schema.contract_images import RegistryLogin
from pipelines_schema.own_registries import OwnRegistries

from .conftest import Bench, Log, OwnEngine, TestEngine, bench_of
from .image_bench import BuiltOnce, ImageBench
from .registries import OWN, Registry, entering, own_registry

pytestmark = pytest.mark.engine

ALPHA = OwnRegistries(registries=[OWN], account="alpha")
NAME = "leads-to-loopback.example"
"""As anybody's domain can."""
REDIRECT = """\
import http.server, sys
class Redirect(http.server.BaseHTTPRequestHandler):
    default_request_version = "HTTP/1.1"  # of what tries TLS first, and is told so
    def answer(self):
        known = self.path in ("/v2/", "/v2")
        self.send_response(200 if known else 307)
        self.send_header("Location", "http://127.0.0.1:5000" + self.path)
        self.send_header("Content-Length", "0")
        self.end_headers()
    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = answer
    def log_message(self, *_): pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Redirect)
print(server.server_port, flush=True)
server.serve_forever()
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbours:
    """Two accounts on one private engine."""

    bench: Bench
    images: ImageBench
    registry: Registry
    target: str
    """An image of `beta`, without its registry."""
    redirecting: str
    """A registry that sends all who ask on to the engine's own."""

    async def build(self, text: str, *, tags: tuple[str, ...] = ()) -> BuiltOnce:
        return await self.images.build(text, tags=list(tags), push=bool(tags), own_registries=ALPHA)

    def hosts(self) -> tuple[str, str]:
        return f"{NAME}:5000", self.redirecting


@pytest.fixture
async def neighbours(own_engine: OwnEngine, tmp_path: Path) -> AsyncIterator[Neighbours]:
    engine = await own_engine.start()
    await name_loopback(own_engine.places, tmp_path)
    (folder := tmp_path / "context").mkdir()
    async with bench_of(engine, tmp_path, trusted=True) as bench:
        images = ImageBench(engine=bench.engine, image=engine.image, folder=folder)
        target = f"beta/{secrets.token_hex(6)}:1"
        made = await images.build(
            "FROM BASE\nRUN echo of-beta > /who\n", tags=[f"{OWN}/{target}"], push=True
        )
        assert made.message == ""
        with redirecting(engine) as host:
            yield Neighbours(
                bench=bench,
                images=images,
                registry=own_registry(engine.record),
                target=target,
                redirecting=host,
            )


async def name_loopback(places: EnginePlaces, folder: Path) -> None:
    """Have the engine find the name, in a hosts file that only it sees."""
    record = read_record(places.record)
    assert record is not None
    assert record.init is not None
    if NAME not in Path(f"/proc/{record.init.pid}/root/etc/hosts").read_text():
        hosts = places.data / "hosts"
        hosts.write_text(f"127.0.0.1 localhost {NAME}\n")
        entered = ["nsenter", f"--mount=/proc/{record.init.pid}/ns/mnt"]
        subprocess.run([*entered, "mount", "--bind", str(hosts), "/etc/hosts"], check=True)
    connector = aiohttp.UnixConnector(path=str(places.socket))
    async with aiohttp.ClientSession("http://docker", connector=connector) as session:
        # What it read of the file before, it believes for some seconds.
        async with asyncio.timeout(30):
            while "no such host" in await _ask(session):
                await asyncio.sleep(0.2)


async def _ask(session: aiohttp.ClientSession) -> str:
    async with session.get(f"/distribution/{NAME}:5000/none:0/json") as response:
        return await response.text()


@contextmanager
def redirecting(engine: TestEngine) -> Iterator[str]:
    command = [*entering(engine.record), sys.executable, "-c", REDIRECT]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield f"127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.kill()


@pytest.mark.parametrize(
    "dockerfile",
    [
        "FROM HOST/TARGET\nRUN NEW cat /who\n",
        "FROM BASE\nCOPY --from=HOST/TARGET /who /who\nRUN NEW cat /who\n",
        "FROM BASE\nRUN --mount=from=HOST/TARGET,target=/mnt cat /mnt/who\n",
        "# syntax=HOST/TARGET\nFROM BASE\n",
        "FROM BASE\nADD http://HOST/v2/PATH/manifests/1 /who\nRUN NEW cat /who\n",
    ],
)
async def test_no_name_and_no_redirect_reads_anothers_image(
    neighbours: Neighbours, dockerfile: str
) -> None:
    path = neighbours.target.partition(":")[0]
    for host in neighbours.hosts():
        text = dockerfile.replace("TARGET", neighbours.target).replace("PATH", path)
        built = await neighbours.build(text.replace("HOST", host))

        assert built.result.outcome is Outcome.IMAGE_FAILED, built.text
        assert "401" in built.message or "authorization failed" in built.message, built.message
        assert "of-beta" not in built.text


async def test_a_script_runs_in_no_image_of_another_account_by_another_name(
    neighbours: Neighbours,
) -> None:
    for host in neighbours.hosts():
        ran = await neighbours.bench.run(
            "cat /who", image=f"{host}/{neighbours.target}", own_registries=ALPHA
        )

        assert ran.result.outcome is Outcome.ENGINE_FAILED, ran.log.stdout
        assert "could not be fetched" in (ran.result.message or "")
        assert b"of-beta" not in ran.log.stdout


async def test_no_name_and_no_redirect_replaces_anothers_image(neighbours: Neighbours) -> None:
    reference = f"{OWN}/{neighbours.target}"
    before = neighbours.registry.digest(reference)
    for host in neighbours.hosts():
        built = await neighbours.build(
            "FROM BASE\nRUN NEW :\n", tags=(f"{host}/{neighbours.target}",)
        )

        assert built.result.outcome is Outcome.IMAGE_FAILED
        assert "could not be pushed" in built.message
    assert neighbours.registry.digest(reference) == before is not None


async def test_an_account_pushes_and_reads_its_own(neighbours: Neighbours) -> None:
    tag = f"{OWN}/alpha/{secrets.token_hex(6)}:1"

    pushed = await neighbours.build("FROM BASE\nRUN echo of-alpha > /who\n", tags=(tag,))
    built = await neighbours.build(f"FROM {tag}\nRUN NEW cat /who\n")
    ran = await neighbours.bench.run("cat /who", image=tag, own_registries=ALPHA)

    assert [image.digest for image in pushed.result.images] == [neighbours.registry.digest(tag)]
    assert "of-alpha\n" in built.text
    assert ran.log.stdout == b"of-alpha\n"


async def test_a_login_that_somebody_keeps_for_the_registry_counts_for_nothing(
    neighbours: Neighbours,
) -> None:
    login = RegistryLogin(host=OWN, username="anybody", password="anything")
    tag = f"{OWN}/alpha/{secrets.token_hex(6)}:1"

    built = await neighbours.images.build(
        f"FROM BASE\nCOPY --from={neighbours.images.image} /bin/sh /other\n",
        tags=[tag],
        push=True,
        registries=[login],
        own_registries=ALPHA,
    )

    assert built.message == ""


async def test_no_step_sees_the_key(neighbours: Neighbours, own_engine: OwnEngine) -> None:
    key = own_engine.places.runtime / "registry.key"
    ran = await neighbours.bench.run(f"env; cat {key} 2>/dev/null; find / -name 'registry.*'")

    assert key.stat().st_mode & 0o777 == 0o640
    assert b"PRIVATE KEY" not in ran.log.stdout
    assert b"registry" not in ran.log.stdout
    assert "PRIVATE KEY" not in own_engine.places.log.read_text()


def made_by_an_earlier_version(places: EnginePlaces) -> None:
    file = places.runtime / "daemon.json"
    settings = json.loads(file.read_text())
    del settings["labels"]
    file.write_text(json.dumps(settings))


async def test_an_engine_of_an_earlier_version_is_started_anew_with_its_images(
    own_engine: OwnEngine,
) -> None:
    places = own_engine.places
    engine = await own_engine.start()
    address = await up(reuse=False, places=places)
    digest = await image_digest(engine.image, address=address)
    before = read_record(places.record)
    made_by_an_earlier_version(places)

    address = await up(reuse=False, places=places)
    again = await up(reuse=False, places=places)

    assert before is not None
    after = read_record(places.record)
    assert after is not None
    assert after.daemon != before.daemon
    assert await image_digest(engine.image, address=again) == digest is not None


async def test_steps_of_an_engine_of_an_earlier_version_run_on(
    own_engine: OwnEngine, own_bench: Bench
) -> None:
    places, said, log = own_engine.places, list[str](), Log()
    before = read_record(places.record)
    running = asyncio.create_task(own_bench.run("echo begun; sleep 4; echo done", log=log))
    await log.wait_for(b"begun")
    made_by_an_earlier_version(places)

    await up(reuse=False, places=places, say=said.append)
    assert read_record(places.record) == before
    assert ["while steps run" in line for line in said] == [True]

    assert (await running).log.stdout == b"begun\ndone\n"
    await up(reuse=False, places=places)
    assert read_record(places.record) != before
    await down(places=places)
