"""Every list over HTTP, on a coordinator whose database holds 200,000 builds, or `--builds`."""

from __future__ import annotations

import http.client
import json
import math
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.benchmarks.list_data import Size, fill
from tests.benchmarks.samples import Row
from tests.e2e.processes import Api, Pushrod
from tests.postgres_server import running_postgres_server

SAMPLES = 40
TO_HOLD = "≤ 10 ms"
SETTLE_SECONDS = 20.0
"""What a start does in the background goes through all builds once."""


def measure(folder: Path, builds: int | None = None) -> list[Row]:
    """Each list and the floor in turns, by one client over one connection."""
    folder.mkdir(parents=True)
    fill(folder / "coordinator", _size(builds))
    return measure_filled(Pushrod(folder))


def measure_postgresql(folder: Path, builds: int | None = None) -> list[Row]:
    folder.mkdir(parents=True)
    with running_postgres_server(shared_buffers="512MB") as postgres:
        place = postgres.new_database()
        fill(folder / "coordinator", _size(builds), place)
        pushrod = Pushrod(folder, settings=f'database = "{place.url}"\n')
        return measure_filled(pushrod, postgres.pid)


def _size(builds: int | None) -> Size:
    return Size() if builds is None else Size(builds=builds)


def measure_filled(pushrod: Pushrod, server: int | None = None) -> list[Row]:
    """`server` is PostgreSQL's first process."""
    pushrod.start_coordinator()
    try:
        worked = partial(_processor_seconds, pushrod.coordinator.pid, server)
        lists = list(_lists(pushrod.api))
        time.sleep(SETTLE_SECONDS)
        return [_row(what, path, client, worked) for what, path, client in lists]
    finally:
        pushrod.coordinator.stop()


def answers(api: Api) -> list[str]:
    """Every list asked for once: what they are called."""
    asked, clients = [], []
    for what, path, client in _lists(api):
        client.seconds(path)
        asked.append(what)
        clients.append(client)
    for client in clients:
        client.close()
    return asked


@dataclass(slots=True)
class Client:
    """Somebody with a token, on a connection that stays open."""

    url: str
    token: str
    tenant: str | None = None
    """The header that /api/v1 needs."""
    _connection: http.client.HTTPConnection = field(init=False)

    def __post_init__(self) -> None:
        place = urlsplit(self.url)
        self._connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=30)

    def close(self) -> None:
        self._connection.close()

    def json(self, path: str) -> Any:
        return json.loads(self._answer(path))

    def seconds(self, path: str) -> float:
        began = time.perf_counter()
        self._answer(path)
        return time.perf_counter() - began

    def _answer(self, path: str) -> bytes:
        headers = {"Authorization": f"Bearer {self.token}"}
        if self.tenant is not None:
            headers["X-Tenant-ID"] = self.tenant
        self._connection.request("GET", path, headers=headers)
        answer = self._connection.getresponse()
        body = answer.read()
        assert answer.status == 200, (path, answer.status, body[:300])
        return body


def _row(what: str, path: str, client: Client, worked: Callable[[], float]) -> Row:
    """The processor time of coordinator and database is told beside, which says more where others
    are busy."""
    client.seconds(path)
    ours, floor, took = [], [], 0.0
    for _ in range(SAMPLES):
        floor.append(client.seconds("/healthz"))
        before = worked()
        ours.append(client.seconds(path))
        took += worked() - before
    return Row(
        what=what,
        measured=_milliseconds(ours),
        floor=_milliseconds(floor),
        ratio=f"{took / SAMPLES * 1000:.1f} ms of CPU",
        to_hold=TO_HOLD,
    )


def _processor_seconds(pid: int, server: int | None) -> float:
    """What all threads of the process have run, and those that work for the server."""
    pids = [pid]
    if server is not None:
        pids += map(int, Path(f"/proc/{server}/task/{server}/children").read_text().split())
    threads = chain.from_iterable(Path(f"/proc/{one}/task").glob("*/schedstat") for one in pids)
    return sum(int(thread.read_text().split()[0]) for thread in threads) / 1e9


def _milliseconds(seconds: Sequence[float]) -> str:
    ordered = sorted(seconds)
    p95 = ordered[math.ceil(0.95 * len(ordered)) - 1]
    return f"{statistics.median(ordered) * 1000:.1f} ms median, {p95 * 1000:.1f} p95"


def _lists(api: Api) -> Iterator[tuple[str, str, Client]]:
    """What is read, where, and by whom: the administrator sees all, a maintainer an account."""
    everybody = Client(api.url, api.token)
    maintainer = Client(api.url, _token(api, "account-0"))
    crowd = Client(api.url, _token(api, "account-3"))
    large = _largest_project(api)
    of_large = f"/api/projects/{large['id']}"
    build = api.get(f"{of_large}/builds?limit=1")["builds"][0]
    step = api.get(f"/api/projects/-/builds/{build['id']}")["steps"][0]
    yield "one row: a project", of_large, everybody
    for whose, path, client in (
        ("of all accounts", "/api/projects/-/builds", everybody),
        ("of an account", "/api/projects/-/builds", maintainer),
        ("of a project", f"{of_large}/builds", maintainer),
    ):
        yield from _pages(api, f"builds {whose}", f"{path}?limit=20", client)
    yield "builds of an account, 100 a page", "/api/projects/-/builds?limit=100", maintainer
    yield from _of_tenant(Client(api.url, maintainer.token, large["accountUuid"]), large["id"])
    yield "a build with its steps", f"/api/projects/-/builds/{build['id']}", maintainer
    yield "artifacts of a step", f"/api/steps/{step['id']}/artifacts", maintainer
    for whose, more, client in (
        ("of all accounts", "", everybody),
        ("of an account", "", maintainer),
        ("of a project", f"&projectId={large['id']}", maintainer),
        ("of an action", "&action=build.created", everybody),
        (
            "of a rare action in a project",
            f"&projectId={large['id']}&action=token.created",
            maintainer,
        ),
    ):
        path = f"/api/audit-logs?limit=20{more}"
        yield from _pages(api, f"audit log {whose}", path, client)
    yield from _pages(api, "deliveries of a project", f"{of_large}/deliveries?limit=20", maintainer)
    yield "projects of an account with 7", "/api/projects?accountId=account-0", maintainer
    yield "projects of an account with 1,000", "/api/projects?accountId=account-3", crowd
    yield "home page of an account", "/api/overview", maintainer
    yield "home page of all accounts, 1,020 projects", "/api/overview", everybody
    for what, path in (
        ("workflows", f"{of_large}/workflows"),
        ("secrets", f"{of_large}/secrets"),
        ("docker images", "/api/docker-images"),
        ("tokens", "/api/tokens"),
        ("agents", "/api/agents"),
        ("what waits for agents", "/api/agents/demand"),
        ("what uses how much", "/api/storage"),
        ("accounts", "/api/accounts"),
        ("deployments", "/api/deploy"),
    ):
        yield what, path, maintainer


def _of_tenant(client: Client, project: str) -> Iterator[tuple[str, str, Client]]:
    """The Build Execution API's list, each way it filters and sorts."""
    for query in (
        "page=1",
        "page=2000",
        "status=failed",
        "status=failed&page=100",
        "status=queued",
        f"project_id={project}&status=success",
        f"project_id={project}&sort_by=build_number&sort_order=asc",
        f"project_id={project}&sort_by=updated_at",
        f"project_id={project}&sort_by=updated_at&sort_order=asc&page=500",
        "sort_by=created_at&sort_order=asc&page=1000",
    ):
        name = query.replace(project, "…")
        yield f"/api/v1 builds, {name}", f"/api/v1/builds?{query}", client
    for query in (
        "status=success",
        f"project_id={project}&status=success&sort_order=asc",
        "sort_by=updated_at",
        f"project_id={project}&sort_by=updated_at",
        "status=success&sort_by=updated_at",
        "sort_by=build_number",
    ):
        path = f"/api/v1/builds?{query}"
        total = client.json(path)["total_count"]
        name = f"/api/v1 builds, {query.replace(project, '…')} ({total:,}), middle page"
        yield name, f"{path}&page={max(total // 40, 1)}", client


def _token(api: Api, account: str) -> str:
    made = api.post("/api/tokens", {"name": "bench", "role": "maintainer", "account": account})
    return str(made["token"])


def _largest_project(api: Api) -> dict[str, Any]:
    project: dict[str, Any] = api.get("/api/projects?accountId=account-0")[0]
    return project


def _pages(api: Api, what: str, path: str, client: Client) -> Iterator[tuple[str, str, Client]]:
    """The first, the middle and the last page."""
    total = Api(client.url, client.token).get(path)["pagination"]["total"]
    for which, offset in (("first", 0), ("middle", total // 2), ("last", total - 20)):
        yield f"{what} ({total:,}), {which} page", f"{path}&offset={offset}", client
