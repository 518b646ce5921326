"""Deleting most of many builds in the background, while steps go on, with a kill on the way.

Builds, logs and artifacts are put into an installation as they would be there; then a real
coordinator is told to keep a tenth of them.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import shutil
import signal
import sqlite3
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from tests.benchmarks.samples import Row
from tests.integration.coordinator_fixture import Coordinator, open_coordinator
from tests.integration.list_fixture import wrong_counts
from tests.integration.upkeep.many_builds import ManyBuilds, blob, named_by_rows
from tests.ports import free_port

BUILDS = 100_000
KEPT_SHARE = 10
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(slots=True)
class Measured:
    builds: int
    kept: int
    portions: int = 0
    statements: int = 0
    most_statements: int = 0
    most_rows: int = 0
    portion_seconds: list[float] = field(default_factory=list)
    rows_seconds: float = 0.0
    """Until the last row was gone, with the restart after the kill."""
    objects_seconds: float = 0.0
    """Until the last object was gone."""
    cpu_seconds: float = 0.0
    idle_cycles: list[float] = field(default_factory=list)
    cycles: list[float] = field(default_factory=list)
    """Seconds of a build that was made, handed out and ended, before and while builds went."""


def measure(folder: Path) -> list[Row]:
    folder.mkdir(parents=True)
    found = asyncio.run(delete_most(folder, BUILDS))
    portions, cycles, idle = (
        sorted(one) for one in (found.portion_seconds, found.cycles, found.idle_cycles)
    )
    return [
        Row(
            what=f"{found.builds} builds, of which {found.kept} stay: rows, then objects",
            measured=f"{found.rows_seconds:.0f} s, {found.objects_seconds:.0f} s; processor "
            f"{found.cpu_seconds:.0f} s",
        ),
        Row(
            what="portions; statements and rows of the largest",
            measured=f"{found.portions}; {found.most_statements}, {found.most_rows}",
            to_hold="≤ 60, ≤ 900",
        ),
        Row(
            what="a portion's transaction (median, 99 %, longest)",
            measured=", ".join(f"{_at(portions, part) * 1000:.0f} ms" for part in (0.5, 0.99, 1)),
        ),
        Row(
            what="a build made, handed out and ended meanwhile (median, 99 %, longest)",
            measured=", ".join(f"{_at(cycles, part) * 1000:.0f} ms" for part in (0.5, 0.99, 1))
            + f" ({len(cycles)}; before: {_at(idle, 0.5) * 1000:.0f} ms)",
        ),
    ]


def _at(ascending: list[float], part: float) -> float:
    return ascending[min(len(ascending) - 1, int(part * len(ascending)))] if ascending else 0.0


async def delete_most(folder: Path, builds: int) -> Measured:
    """Raises AssertionError where an object is left over, or one is missing."""
    measured = Measured(builds=builds, kept=builds // KEPT_SHARE)
    data = folder / "data"
    many, workflow = await _filled(folder, builds)
    port, counts = free_port(), folder / "counts.json"
    timeout = aiohttp.ClientTimeout(total=120)
    async with aiohttp.ClientSession(timeout=timeout, cookie_jar=aiohttp.DummyCookieJar()) as http:
        at = Coordinator(data, {}, http, port)
        process = await _started(at, counts)
        working = asyncio.create_task(_work(at, many.project_id, workflow, measured.idle_cycles))
        await _until(lambda: _done(measured.idle_cycles, 20))
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)
        began = time.monotonic()
        path = f"/api/projects/{many.project_id}/retention"
        body = {"builds": {"number": measured.kept}}
        (await at.admin.call("PATCH", path, json=body)).expect(200)
        working = asyncio.create_task(_work(at, many.project_id, workflow, measured.cycles))
        await _until(lambda: _fewer(many, builds * 2 // 3))
        measured.cpu_seconds += _cpu_seconds(process.pid)
        process.send_signal(signal.SIGKILL)
        await process.wait()
        _add(measured, counts)
        process = await _started(at, counts)
        # The next look comes an hour later, or when the limits are set.
        (await at.admin.call("PATCH", path, json=body)).expect(200)
        left = len(measured.cycles)
        await _until(lambda: _fewer(many, measured.kept + 1))
        measured.rows_seconds = time.monotonic() - began
        await _until(lambda: _done(measured.cycles, left + 1))
        await _until(lambda: _nothing_doomed(many))
        measured.objects_seconds = time.monotonic() - began
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)
        await asyncio.sleep(1)
        measured.cpu_seconds += _cpu_seconds(process.pid)
        process.terminate()
        await process.wait()
        _add(measured, counts)
    assert wrong_counts(many.path) == []
    wanted, found = named_by_rows(many.path), _objects(data)
    empty = {f"{one}-1" for one in _without_log(many)}
    assert found - wanted == set(), f"left over: {sorted(found - wanted)[:5]}"
    assert wanted - empty - found == set(), f"missing: {sorted(wanted - empty - found)[:5]}"
    return measured


async def _filled(folder: Path, builds: int) -> tuple[ManyBuilds, str]:
    async with open_coordinator(folder) as coordinator:
        project = await coordinator.admin.new_project()
        workflow = await coordinator.admin.new_workflow(project)
        await coordinator.stop()
        kept = folder / "kept"
        shutil.copytree(coordinator.data, kept)
    data = kept.rename(folder / "data")
    many = ManyBuilds(data / "pushrod.db", project["id"], _account(data, project["id"]))
    many.insert(builds, artifacts=1)
    many.execute("UPDATE projects SET build_count = ?", builds)
    await asyncio.to_thread(_put_objects, data, many, builds)
    return many, workflow


def _account(data: Path, project_id: str) -> str:
    with closing(sqlite3.connect(data / "pushrod.db")) as connection:
        query = "SELECT account_id FROM projects WHERE id = ?"
        return str(connection.execute(query, [project_id]).fetchone()[0])


def _put_objects(data: Path, many: ManyBuilds, builds: int) -> None:
    """One log as the store writes it, and copies of it."""
    objects = data / "objects"
    asyncio.run(_a_log(data, "step-1-0-1"))
    first = objects / "logs" / "step-1-0-1"
    contents = {one.name: one.read_bytes() for one in first.iterdir()}
    for number in range(1, builds + 1):
        log = objects / "logs" / f"step-{number}-0-1"
        log.mkdir(exist_ok=True)
        for name, content in contents.items():
            (log / name).write_bytes(content)
        content = blob(number, 0)
        sha = hashlib.sha256(content).hexdigest()
        place = objects / "blobs" / many.account_id / sha[:2]
        place.mkdir(parents=True, exist_ok=True)
        (place / sha).write_bytes(content)


async def _a_log(data: Path, attempt_id: str) -> None:
    """Of a step that has ended."""
    from coordinator.objects.log_tails import DatabaseLogTails
    from coordinator.objects.logs import ObjectLogStore
    from coordinator.objects.stores import open_store
    from coordinator.storage.database import Database
    from pipelines_schema.log_frames import Frame, Stream

    database = await Database.open(data / "pushrod.db")
    try:
        tails = DatabaseLogTails(database)
        store = ObjectLogStore(open_store(data / "objects"), tails)
        frame = Frame(stream=Stream.STDOUT, data=b"a line\n", time_ms=0)
        await store.append(attempt_id, 0, [frame])
        await store.close(attempt_id)
        await tails.forget(attempt_id)
    finally:
        await database.close()


async def _started(at: Coordinator, counts: Path) -> asyncio.subprocess.Process:
    script = str(Path(__file__).with_name("retention_process.py"))
    with (at.data.parent / "coordinator.log").open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable, script, str(at.data), str(at.port), str(counts), stdout=log, stderr=log
        )
    await _until(lambda: _answers(at))
    return process


async def _answers(at: Coordinator) -> bool:
    with suppress(aiohttp.ClientError):
        return (await at.nobody.get("/readyz")).status == 200
    return False


async def _work(at: Coordinator, project_id: str, workflow: str, cycles: list[float]) -> None:
    """Builds, one after the other, each handed out and ended by an agent of ours; one that a kill
    breaks is left."""
    agent = await at.admin.new_agent(f"agent-{time.monotonic_ns()}")
    while True:
        began = time.monotonic()
        try:
            path = f"/api/projects/{project_id}/builds"
            (await at.admin.post(path, {"workflowId": workflow})).expect(201)
            (await agent.complete(await agent.take())).expect(200)
        except aiohttp.ClientError:
            await _until(lambda: _answers(at))
            continue
        cycles.append(time.monotonic() - began)
        await asyncio.sleep(0.01)


async def _until(look: Callable[[], Awaitable[bool]]) -> None:
    while not await look():
        await asyncio.sleep(0.1)


async def _done(cycles: list[float], count: int) -> bool:
    return len(cycles) >= count


async def _fewer(many: ManyBuilds, count: int) -> bool:
    """Whether less than so many of the builds that were put in are there."""
    query = "SELECT count(*) FROM builds WHERE id LIKE 'build-%'"
    [[found]] = await asyncio.to_thread(many.execute, query)
    return bool(found < count)


async def _nothing_doomed(many: ManyBuilds) -> bool:
    [[found]] = await asyncio.to_thread(many.execute, "SELECT count(*) FROM doomed_objects")
    return not found


def _objects(data: Path) -> set[str]:
    objects = data / "objects"
    logs = {one.parent.name for one in (objects / "logs").glob("*/*")}
    return logs | {one.name for one in (objects / "blobs").glob("*/*/*")}


def _without_log(many: ManyBuilds) -> set[str]:
    return {
        one
        for (one,) in many.execute("SELECT step_id FROM attempts WHERE coalesce(log_bytes, 0) = 0")
    }


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def _add(measured: Measured, counts: Path) -> None:
    found: dict[str, Any] = json.loads(counts.read_text())
    measured.portions += found["portions"]
    measured.statements += found["statements"]
    measured.most_statements = max(measured.most_statements, found["most_statements"])
    measured.most_rows = max(measured.most_rows, found["most_rows"])
    measured.portion_seconds += found["seconds"]
