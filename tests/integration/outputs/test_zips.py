"""Outputs as zip files: whole, in pieces, for those who may read them."""

from __future__ import annotations

import io
import stat
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from coordinator.domain.model import Artifact, OutputEntry
from coordinator.services.outputs.zips import Tree, zipped
from tests.integration.coordinator_fixture import (
    AgentCaller,
    Caller,
    Coordinator,
    open_coordinator,
    step_of,
)
from tests.integration.outputs.test_output_batches import described, send

CONTENT = b"x" * 300_000


@pytest.fixture
async def coordinator(tmp_path: Path) -> AsyncIterator[Coordinator]:
    async with open_coordinator(tmp_path) as coordinator:
        yield coordinator


@pytest.fixture
def admin(coordinator: Coordinator) -> Caller:
    return coordinator.admin


async def built(admin: Caller) -> dict[str, Any]:
    """A build whose step `a` has left a tree, `b (1)` a file, and `c` nothing."""
    agent: AgentCaller = await admin.new_agent()
    steps = (step_of("a"), step_of("b (1)", "a"), step_of("c", "a"))
    build = await admin.new_build(await admin.new_project(), *steps)
    first = await agent.take()
    files = [
        described("dist/run", b"#!/bin/sh\n", mode=0o755, modified=981173106),
        described("dist/ünï", b""),
    ]
    (await send(agent, first, b"#!/bin/sh\n", files=files)).expect(204)
    links = [{"name": "dist/link", "target": "../../etc/passwd"}]
    folders = [{"name": "dist", "mode": 0o755}, {"name": "dist/empty", "mode": 0o700}]
    (await send(agent, first, links=links, folders=folders)).expect(204)
    (await agent.complete(first)).expect(200)
    second = await agent.take()
    (await agent.upload(second, "big", CONTENT)).expect(201)
    (await agent.complete(second)).expect(200)
    (await agent.complete(await agent.take())).expect(200)
    return await admin.build(build["id"])


async def fetched(caller: Caller, path: str) -> zipfile.ZipFile:
    answer = (await caller.get(path)).expect(200)
    assert answer.headers["Content-Type"] == "application/zip"
    assert "attachment" in answer.headers["Content-Disposition"]
    archive = zipfile.ZipFile(io.BytesIO(answer.body))
    assert archive.testzip() is None
    return archive


async def test_a_steps_tree_is_kept_as_a_zip_file_can(admin: Caller) -> None:
    build = await built(admin)
    archive = await fetched(admin, f"/api/steps/{build['steps'][0]['id']}/artifacts.zip")
    modes = {one.filename: one.external_attr >> 16 for one in archive.infolist()}
    assert modes == {
        "dist/": stat.S_IFDIR | 0o755,
        "dist/empty/": stat.S_IFDIR | 0o700,
        "dist/link": stat.S_IFLNK | 0o777,
        "dist/run": stat.S_IFREG | 0o755,
        "dist/ünï": stat.S_IFREG | 0o644,
    }
    assert archive.read("dist/link") == b"../../etc/passwd"
    assert archive.read("dist/run") == b"#!/bin/sh\n"
    assert archive.getinfo("dist/run").date_time == (2001, 2, 3, 4, 5, 6)


async def test_a_builds_zip_has_a_folder_for_each_step(admin: Caller) -> None:
    build = await built(admin)
    archive = await fetched(admin, f"/api/projects/-/builds/{build['id']}/artifacts.zip")
    assert "a/dist/run" in archive.namelist()
    assert archive.read("b (1)/big") == CONTENT
    assert not [name for name in archive.namelist() if name.startswith("c/")]
    own = f"/api/projects/{build['projectId']}/builds/{build['id']}/artifacts.zip"
    assert (await fetched(admin, own)).namelist() == archive.namelist()


async def test_what_is_not_there_and_what_is_not_ones_own(admin: Caller) -> None:
    build = await built(admin)
    ids = {step["name"]: step["id"] for step in build["steps"]}
    empty = (await admin.get(f"/api/steps/{ids['c']}/artifacts.zip")).expect(404)
    assert "no outputs" in empty.json["error"]
    other = await admin.new_project(name="other")
    stranger = await admin.new_token(role="maintainer", account="other")
    for path in (
        f"/api/projects/{other['id']}/builds/{build['id']}/artifacts.zip",
        f"/api/projects/-/builds/{ids['a']}/artifacts.zip",
        f"/api/steps/{build['id']}/artifacts.zip",
    ):
        (await admin.get(path)).expect(404)
    for path in (
        f"/api/projects/-/builds/{build['id']}/artifacts.zip",
        f"/api/steps/{ids['a']}/artifacts.zip",
    ):
        (await stranger.get(path)).expect(404)


async def test_it_is_written_while_it_is_read() -> None:
    size, piece, most = 8 * 1024 * 1024, 64 * 1024, 0

    async def contents(_: Artifact) -> AsyncIterator[bytes]:
        for _ in range(size // piece):
            yield b"y" * piece

    artifact = Artifact(step_id="s", epoch=1, name="f", size=size, sha256="", mode=0o644)
    folder = OutputEntry(step_id="s", epoch=1, name="d", target=None, mode=0o755)
    whole = bytearray()
    async for data in zipped([Tree(folder="a/", artifacts=[artifact], entries=[folder])], contents):
        most = max(most, len(data))
        whole += data
    assert most < 2 * piece
    assert zipfile.ZipFile(io.BytesIO(whole)).getinfo("a/f").file_size == size


async def test_a_file_of_more_than_4_gib_is_told_as_zip64() -> None:
    piece = bytes(256 * 1024)  # one that fits into a processor's cache
    pieces = 4 * 1024**3 // len(piece) + 1
    size = pieces * len(piece)

    async def contents(_: Artifact) -> AsyncIterator[bytes]:
        for _ in range(pieces):
            yield piece

    artifact = Artifact(step_id="s", epoch=1, name="f", size=size, sha256="", mode=0o644)
    tail, total = b"", 0
    async for data in zipped([Tree(folder="", artifacts=[artifact], entries=[])], contents):
        total, tail = total + len(data), (tail + data)[-4096:]
    assert total > size
    assert b"PK\x06\x06" in tail  # the end of a Zip64 directory
