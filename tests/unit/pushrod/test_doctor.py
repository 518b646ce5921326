from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import UnixStreamServer
from typing import Any

import pytest
from aiohttp import web

from pushrod.doctor import machine
from pushrod.doctor.coordinator import check_coordinator
from pushrod.doctor.engine import check_address, check_engine
from pushrod.doctor.finding import Finding, Verdict, finding_json, is_fit

Serve = Callable[[web.Application], Any]


def test_an_old_python_fails_with_the_way_to_take_another() -> None:
    found = machine.check_python((3, 9, 2))
    assert found.verdict is Verdict.FAIL
    assert "3.9.2" in found.says
    assert found.remedy == "PYTHON=python3.11 make setup"
    assert machine.check_python((3, 11, 0)).verdict is Verdict.OK


@pytest.mark.parametrize(
    ("says", "version"),
    [
        ("git version 2.39.5", (2, 39)),
        ("git version 2.31.0 (Apple Git-130)", (2, 31)),
        ("git version unknown", None),
    ],
)
def test_gits_version_is_read(says: str, version: tuple[int, int] | None) -> None:
    assert machine.git_version(says) == version


@pytest.mark.parametrize(
    ("says", "verdict"),
    [
        ("2.30.9", Verdict.FAIL),
        ("2.31.0", Verdict.WARN),
        ("2.39.0", Verdict.OK),
        (None, Verdict.FAIL),
    ],
)
def test_git_must_be_new_enough_and_have_http_backend(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, says: str | None, verdict: Verdict
) -> None:
    if says is not None:
        (tmp_path / "git-http-backend").touch()
        program = tmp_path / "git"
        program.write_text(
            f'#!/bin/sh\n[ "$1" = --version ] && echo git version {says} || echo {tmp_path}\n'
        )
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/nonexistent")
    found = machine.check_git()
    assert found.verdict is verdict
    assert verdict is Verdict.OK or found.remedy == "apt-get install git"


def test_required_libraries_are_known_by_name_alone() -> None:
    names = machine.required_distributions()
    assert {"aiohttp", "pygit2", "sqlalchemy"} <= set(names)
    assert "pytest" not in names


@pytest.mark.parametrize(
    ("free_bytes", "verdict"),
    [(100 * 1024**2, Verdict.FAIL), (1024**3, Verdict.WARN), (50 * 1024**3, Verdict.OK)],
)
def test_little_room_warns_and_no_room_fails(free_bytes: int, verdict: Verdict) -> None:
    assert machine.judge_space("data folder", Path("/data"), free_bytes).verdict is verdict


def test_looking_at_a_folder_does_not_make_it(tmp_path: Path) -> None:
    folder = tmp_path / "not" / "yet"
    assert machine.check_folder("data folder", folder).verdict is not Verdict.FAIL
    assert not (tmp_path / "not").exists()


def test_a_file_in_the_place_of_the_folder_fails(tmp_path: Path) -> None:
    (tmp_path / "data").touch()
    assert machine.check_folder("data folder", tmp_path / "data").verdict is Verdict.FAIL


def test_a_taken_port_fails_and_a_free_one_stays_free() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        found = machine.check_port("127.0.0.1", port)
        assert found.verdict is Verdict.FAIL
        assert "Address already in use" in found.says
    assert machine.check_port("127.0.0.1", port).verdict is Verdict.OK
    assert machine.check_port("127.0.0.1", port).verdict is Verdict.OK


async def test_a_port_where_a_coordinator_serves_is_fine(aiohttp_server: Serve) -> None:
    import asyncio

    server = await aiohttp_server(coordinator())
    found = await asyncio.to_thread(machine.check_port, "127.0.0.1", server.port)
    assert found.verdict is Verdict.OK
    assert "a coordinator serves" in found.says


def test_a_clock_before_the_installation_fails() -> None:
    assert machine.check_clock(datetime(2001, 1, 1, tzinfo=UTC)).verdict is Verdict.FAIL
    assert machine.check_clock(datetime.now(UTC) + timedelta(days=1)).verdict is Verdict.OK


# --- the engine


@contextmanager
def docker(socket_path: Path, version: str) -> Iterator[None]:
    """A socket that answers /version as Docker does."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps({"Version": version, "Components": [{"Name": "Engine"}]}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

        def address_string(self) -> str:
            return "local"

    class Server(UnixStreamServer):
        server_name, server_port = "docker", 0

    with Server(str(socket_path), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.skipif(os.geteuid() != 0, reason="others are shown root's engine")
async def test_a_docker_that_is_too_old_is_named_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PUSHROD_ENGINE_DIR", str(tmp_path / "engine"))
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/docker.sock")
    with docker(tmp_path / "docker.sock", "20.10.24"):
        found = {finding.name: finding for finding in await check_engine("auto")}
    old = found["system docker"]
    assert old.verdict is Verdict.WARN
    assert "20.10.24" in old.says
    assert "26 or newer" in old.says
    assert found["engine"].remedy == "pushrod engine up"
    assert {"namespaces", "network device", "cgroups", "engine programs"} <= set(found)
    assert not (tmp_path / "engine").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="others are shown root's engine")
async def test_a_docker_that_is_new_enough_is_the_engine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PUSHROD_ENGINE_DIR", str(tmp_path / "engine"))
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/docker.sock")
    with docker(tmp_path / "docker.sock", "27.5.1"):
        engine, *_ = await check_engine("auto")
    assert engine.verdict is Verdict.OK
    assert "system engine 27.5.1" in engine.says


def test_an_address_where_nothing_listens_fails(tmp_path: Path) -> None:
    assert check_address(f"unix://{tmp_path}/none.sock").verdict is Verdict.FAIL
    refused = check_address("tcp://127.0.0.1:1")
    assert refused.verdict is Verdict.FAIL
    assert refused.says == "nothing answers at tcp://127.0.0.1:1: Connection refused"
    assert check_address("ftp://127.0.0.1").verdict is Verdict.FAIL
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        assert check_address(f"tcp://127.0.0.1:{port}").verdict is Verdict.OK


async def test_no_other_engine_is_brought_up_for_an_address_where_nothing_listens() -> None:
    (found,) = await check_engine("unix:///nope.sock")
    assert found.says == "nothing answers at unix:///nope.sock: No such file or directory"
    assert found.remedy is not None
    assert "pushrod engine up" not in found.remedy


async def test_the_host_engine_is_warned_of() -> None:
    (found,) = await check_engine("host")
    assert found.verdict is Verdict.WARN


async def test_a_coordinators_machine_needs_no_engine() -> None:
    assert await check_engine("none") == []


async def test_an_engine_that_there_is_not_fails() -> None:
    (found,) = await check_engine("kubernetes")
    assert found.verdict is Verdict.FAIL


# --- a coordinator elsewhere


def coordinator(*, status: int = 200, date: str | None = None) -> web.Application:
    """Answers as one, to the token `right` alone."""

    async def health(_: web.Request) -> web.Response:
        return web.Response(text="ok\n", headers={"Date": date} if date else None)

    async def accounts(request: web.Request) -> web.Response:
        if request.headers.get("Authorization") != "Bearer right":
            return web.json_response({"error": "unauthorized"}, status=401)
        return web.json_response([{"id": "1"}], status=status)

    app = web.Application()
    app.router.add_get("/healthz", health)
    app.router.add_get("/api/accounts", accounts)
    return app


def verdicts(findings: list[Finding]) -> dict[str, Verdict]:
    return {finding.name: finding.verdict for finding in findings}


@pytest.mark.parametrize(
    ("token", "status", "verdict"),
    [("right", 200, Verdict.OK), ("right", 403, Verdict.OK), ("wrong", 200, Verdict.FAIL)],
)
async def test_a_coordinator_is_asked_whether_it_takes_the_token(
    aiohttp_server: Serve, token: str, status: int, verdict: Verdict
) -> None:
    server = await aiohttp_server(coordinator(status=status))
    found = await check_coordinator(str(server.make_url("")).rstrip("/"), token)
    expected = {"coordinator": Verdict.OK, "clocks": Verdict.OK, "token": verdict}
    assert verdicts(found) == expected


async def test_projects_whose_forge_hears_nothing_are_told_once(aiohttp_server: Serve) -> None:
    async def projects(request: web.Request) -> web.Response:
        assert request.query["accountId"] == "1"
        at_forge = {"account": "shop", "repoUrl": "https://forge.example/shop/site.git"}
        told = {"forge": "gitea", "url": "https://forge.example"}
        return web.json_response(
            [
                *({**at_forge, "slug": f"site-{number}"} for number in range(7)),
                {**at_forge, "slug": "told", "tellsForge": told},
                {**at_forge, "slug": "old", "archivedAt": "2026-01-01T00:00:00Z"},
                {"account": "shop", "slug": "hosted"},
            ]
        )

    app = coordinator()
    app.router.add_get("/api/projects", projects)
    server = await aiohttp_server(app)
    found = await check_coordinator(str(server.make_url("")).rstrip("/"), "right")
    [finding] = [one for one in found if one.name == "statuses"]
    assert finding.verdict is Verdict.WARN
    assert finding.says.endswith("shop/site-3, shop/site-4 and 2 more")
    assert finding.remedy == "pushrod project set shop/site-0 --forge-token-file FILE"


async def test_clocks_that_are_apart_are_told(aiohttp_server: Serve) -> None:
    server = await aiohttp_server(coordinator(date="Mon, 01 Jan 2001 00:00:00 GMT"))
    found = await check_coordinator(str(server.make_url("")).rstrip("/"), None)
    assert verdicts(found) == {"coordinator": Verdict.OK, "clocks": Verdict.WARN}


async def test_what_is_no_coordinator_fails(aiohttp_server: Serve) -> None:
    server = await aiohttp_server(web.Application())
    (found,) = await check_coordinator(str(server.make_url("")).rstrip("/"), "token")
    assert found.verdict is Verdict.FAIL
    (found,) = await check_coordinator("http://127.0.0.1:1", None)
    assert found.verdict is Verdict.FAIL
    assert found.says == "http://127.0.0.1:1 can't be reached: Connection refused"


# --- the command


def test_the_command_says_for_programs_whether_the_machine_is_fit(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        ran = subprocess.run(
            [
                *(sys.executable, "-m", "pushrod", "doctor", "--json", "--engine", "host"),
                *("--data", str(tmp_path / "data"), "--listen", listen),
            ],
            capture_output=True,
            text=True,
        )
    told = json.loads(ran.stdout)
    assert (told["fit"], ran.returncode) == (False, 1)
    failed = [finding for finding in told["findings"] if finding["verdict"] == "fail"]
    assert [finding["name"] for finding in failed] == ["port"]
    assert failed[0]["remedy"] == "pushrod up --listen 127.0.0.1:0"
    assert not (tmp_path / "data").exists()


def test_a_warning_alone_is_fit() -> None:
    warned = Finding(name="curl", verdict=Verdict.WARN, says="not installed")
    assert is_fit([warned])
    assert finding_json(warned) == {"name": "curl", "verdict": "warn", "says": "not installed"}
