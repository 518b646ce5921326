"""Logs and artifacts in a bucket: where they lie, and what is said while they can't be had."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import obstore
import pytest
from aiohttp import web

from coordinator.object_ports import ObjectsUnusable
from coordinator.objects.places import PROBE_KEY, ObjectsCheck, ObjectsPlace, open_objects
from tests.empty_objects import settings_of
from tests.integration.coordinator_fixture import Coordinator, eventually, open_coordinator, step_of
from tests.ports import free_port
from tests.s3_server import BUCKET, S3Server, write_credentials

LONG = b"a line that the database has no room for\n" * 2000


@pytest.fixture
def place(s3_server: S3Server, tmp_path: Path) -> ObjectsPlace:
    return s3_server.place(tmp_path / "credentials", tmp_path.name)


def files_below(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


async def test_logs_and_artifacts_lie_in_the_bucket_and_outlive_a_restart(
    tmp_path: Path, place: ObjectsPlace
) -> None:
    async with open_coordinator(tmp_path, **settings_of(place)) as coordinator:
        admin = coordinator.admin
        agent, project = await admin.new_agent(), await admin.new_project()
        build = await admin.new_build(project, step_of("a"))
        spec = await agent.take()
        (await agent.append(spec, 0, b"first\n")).expect(204)
        (await agent.append(spec, 6, b"second\n")).expect(204)
        (await agent.upload(spec, "dist/app", b"x" * 100_000)).expect(201)
        whole = b"first\nsecond\n"
        end = {"logBytes": len(whole), "logSha256": hashlib.sha256(whole).hexdigest()}
        (await agent.complete(spec, **end)).expect(200)
        await coordinator.restart()

        [step] = (await admin.build(build["id"]))["steps"]
        assert (await admin.get(f"/api/steps/{step['id']}/log")).expect(200).text == whole.decode()
        artifact = await admin.get(f"/api/steps/{step['id']}/artifacts/dist/app")
        assert artifact.expect(200).text == "x" * 100_000
        ready = (await coordinator.nobody.get("/readyz")).expect(200).json
        assert ready["checks"]["objects"] == "ok"
        assert not files_below(coordinator.data / "objects")
        assert {key.split("/")[0] for key in await keys_at(place)} == {".pushrod", "blobs", "logs"}

        (await admin.call("DELETE", f"/api/projects/{project['id']}")).expect(204)

        async def is_empty() -> bool:
            return await keys_at(place) == [PROBE_KEY]

        await eventually(is_empty)


async def keys_at(place: ObjectsPlace) -> list[str]:
    return [one["path"] for one in await obstore.list(open_objects(place)).collect_async()]


async def test_objects_may_lie_in_another_folder(tmp_path: Path) -> None:
    elsewhere = tmp_path / "large disk"
    async with open_coordinator(tmp_path, objects=str(elsewhere)) as coordinator:
        agent, project = await coordinator.admin.new_agent(), await coordinator.admin.new_project()
        await coordinator.admin.new_build(project, step_of("a"))
        (await agent.append(await agent.take(), 0, LONG)).expect(204)
        assert files_below(elsewhere)
        assert not files_below(coordinator.data / "objects")
        assert "objects" not in (await coordinator.nobody.get("/readyz")).expect(200).json["checks"]


async def test_what_a_store_did_not_take_is_told_and_comes_again(
    tmp_path: Path, s3_server: S3Server, place: ObjectsPlace
) -> None:
    async with open_gate(s3_server.port) as gate:
        through = ObjectsPlace(
            location=place.location,
            endpoint=gate.url,
            region=place.region,
            credentials_file=place.credentials_file,
        )
        gate.is_open = False
        async with open_coordinator(tmp_path, **settings_of(through)) as coordinator:
            await eventually(lambda: says(coordinator, "does not answer"))
            gate.is_open = True
            await eventually(lambda: says(coordinator, "ok"))

            admin = coordinator.admin
            agent, project = await admin.new_agent(), await admin.new_project()
            build = await admin.new_build(project, step_of("a"))
            spec = await agent.take()
            (await agent.append(spec, 0, b"first\n")).expect(204)
            gate.is_open = False
            refused = (await agent.append(spec, 6, LONG)).expect(503)
            assert "object store does not answer" in refused.json["error"]
            assert int(refused.headers["Retry-After"]) > 0
            gate.is_open = True
            (await agent.append(spec, 6, LONG)).expect(204)
            gate.is_open = False
            # What is short waits for no store.
            (await agent.append(spec, 6 + len(LONG), b"last\n")).expect(204)
            gate.is_open = True
            (await agent.complete(spec)).expect(200)
            [step] = (await admin.build(build["id"]))["steps"]
            shown = (await admin.get(f"/api/steps/{step['id']}/log")).expect(200)
            assert shown.body == b"first\n" + LONG + b"last\n"


async def says(coordinator: Coordinator, words: str) -> bool:
    checks = (await coordinator.nobody.get("/readyz")).json["checks"]
    return words in str(checks["objects"])


class Gate:
    """TCP to a server; while it is closed, connections end as they come."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._writers: list[asyncio.StreamWriter] = []
        self._open = True
        self.url = ""

    @property
    def is_open(self) -> bool:
        return self._open

    @is_open.setter
    def is_open(self, wanted: bool) -> None:
        self._open = wanted
        while not wanted and self._writers:
            self._writers.pop().close()

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        if not self._open:
            writer.close()
            return
        there, back = await asyncio.open_connection("127.0.0.1", self._port)
        self._writers.append(back)
        await asyncio.gather(_pass(reader, back), _pass(there, writer))


async def _pass(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await source.read(65536):
            sink.write(data)
            await sink.drain()
    sink.close()


@asynccontextmanager
async def open_gate(port: int) -> AsyncIterator[Gate]:
    gate = Gate(port)
    server = await asyncio.start_server(gate.carry, "127.0.0.1", 0)
    gate.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield gate
    finally:
        gate.is_open = False
        server.close()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"objects": "s3://no-such-bucket/x"}, "there is no such bucket: make it"),
        ({"objects_credentials_file": Path("/nowhere/at/all")}, "can't be read: No such file"),
    ],
)
async def test_what_will_never_do_is_told_at_the_start(
    tmp_path: Path, place: ObjectsPlace, change: dict[str, Any], words: str
) -> None:
    with pytest.raises(ObjectsUnusable, match=words):
        async with open_coordinator(tmp_path, **(settings_of(place) | change)):
            pass


@pytest.mark.parametrize(
    ("text", "mode", "words"),
    [
        ("AWS_ACCESS_KEY_ID=a\n", 0o640, "can be read by others: chmod 600"),
        ("AWS_ACCESS_KEY_ID=a\nsecret of ours\n", 0o600, "line 2: write KEY=value"),
        ("AWS_NO_SUCH_KEY=hidden\n", 0o600, "AWS_NO_SUCH_KEY|aws_no_such_key"),
    ],
)
def test_a_file_of_credentials_is_checked_and_shows_no_value(
    tmp_path: Path, text: str, mode: int, words: str
) -> None:
    file = tmp_path / "credentials"
    file.write_text(text)
    file.chmod(mode)
    with pytest.raises(ObjectsUnusable, match=words) as caught:
        open_objects(ObjectsPlace(location="s3://bucket/x", credentials_file=file))
    assert not any(secret in str(caught.value) for secret in ("hidden", "secret of ours"))


async def test_a_store_that_replaces_objects_is_refused(tmp_path: Path) -> None:
    async def take(request: web.Request) -> web.Response:
        await request.read()
        return web.Response(headers={"ETag": '"1"'})

    app = web.Application()
    app.router.add_put("/{tail:.*}", take)
    runner, port = web.AppRunner(app), free_port()
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        write_credentials(tmp_path / "credentials")
        place = ObjectsPlace(
            location=f"s3://{BUCKET}/x",
            endpoint=f"http://127.0.0.1:{port}",
            region="us-east-1",
            credentials_file=tmp_path / "credentials",
        )
        with pytest.raises(ObjectsUnusable, match="created twice"):
            await ObjectsCheck(open_objects(place), place).look()
    finally:
        await runner.cleanup()
