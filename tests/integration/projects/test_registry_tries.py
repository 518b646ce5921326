"""Registries tried: by the coordinator with a login that it keeps, and by `pushrod doctor`."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from coordinator.domain.outbox.calls import Reply
from coordinator.domain.outbox.registry_tries import Challenge, challenge_of, token_call
from pipelines_schema.contract_images import RegistryLogin
from tests.e2e.nursery import run_pushrod
from tests.integration.agent.test_host_authorities import certificate_with_key
from tests.integration.coordinator_fixture import Coordinator, open_coordinator

PASSWORD = "s3cret-password"


@dataclass(slots=True)
class Registry:
    scheme: str = "bearer"
    realm: str = ""
    host: str = ""
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    """Path, and the header Authorization."""

    async def handle(self, request: web.Request) -> web.Response:
        given = request.headers.get("Authorization")
        self.asked.append((request.path, given))
        right = "Basic " + base64.b64encode(f"robot:{PASSWORD}".encode()).decode()
        if request.path == "/token":
            return web.json_response({"token": "t"}, status=200 if given in (None, right) else 401)
        if self.scheme == "none":
            return web.json_response({})
        if self.scheme == "page":
            return web.Response(text="<html>", status=404)
        if self.scheme == "basic" and given == right:
            return web.json_response({})
        realm = self.realm or f"http://{self.host}/token"
        asks = f'Bearer realm="{realm}",service="r"' if self.scheme == "bearer" else "Basic"
        return web.Response(status=401, headers={"WWW-Authenticate": asks})


@pytest.fixture
async def registry() -> AsyncIterator[Registry]:
    registry = Registry()
    async with serving(registry):
        yield registry


@asynccontextmanager
async def serving(registry: Registry, tls: ssl.SSLContext | None = None) -> AsyncIterator[Registry]:
    app = web.Application()
    app.router.add_route("*", "/{rest:.*}", registry.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
    registry.host = f"127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield registry
    finally:
        await runner.cleanup()


@pytest.fixture
async def coordinator(tmp_path: Path, registry: Registry) -> AsyncIterator[Coordinator]:
    settings = {
        "allow_http_repositories": True,
        "allow_private_addresses": True,
        "insecure_registries": registry.host,
    }
    async with open_coordinator(tmp_path, **settings) as coordinator:
        yield coordinator


async def logged_in(coordinator: Coordinator, host: str, password: str = PASSWORD) -> str:
    """The path of the login of a new project."""
    project = await coordinator.admin.new_project()
    path = f"/api/projects/{project['id']}/registries/{host}"
    body = {"username": "robot", "password": password}
    (await coordinator.admin.call("PUT", path, json=body)).expect(200)
    return path


@pytest.mark.parametrize(
    ("scheme", "password", "good", "says"),
    [
        ("bearer", PASSWORD, True, "takes the login of robot"),
        ("bearer", "wrong-password", False, "refuses the login of robot (status 401)"),
        ("basic", PASSWORD, True, "takes the login of robot"),
        ("basic", "wrong-password", False, "refuses the login of robot (status 401)"),
        ("page", PASSWORD, False, "no registry (status 404 for /v2/)"),
    ],
)
async def test_a_login_is_tried_as_the_registry_wants_it(
    coordinator: Coordinator,
    registry: Registry,
    scheme: str,
    password: str,
    good: bool,
    says: str,
) -> None:
    registry.scheme = scheme
    path = await logged_in(coordinator, registry.host, password)
    told = (await coordinator.admin.post(f"{path}/try")).expect(200)
    assert told.json["good"] is good
    assert says in told.json["says"]
    assert ("remedy" in told.json) is not good
    assert password not in told.text


async def test_a_login_is_not_sent_in_the_clear_to_another_server(
    coordinator: Coordinator, registry: Registry
) -> None:
    registry.realm = "http://elsewhere.example/token"
    path = await logged_in(coordinator, registry.host)
    told = (await coordinator.admin.post(f"{path}/try")).expect(200).json
    assert not told["good"]
    assert "nothing was sent" in told["says"]
    assert {given for _, given in registry.asked} == {None}


async def test_what_the_operator_does_not_let_be_reached_is_not_asked(
    tmp_path: Path, registry: Registry
) -> None:
    async with open_coordinator(tmp_path, insecure_registries=registry.host) as coordinator:
        path = await logged_in(coordinator, registry.host)
        told = (await coordinator.admin.post(f"{path}/try")).expect(200).json
    assert not told["good"]
    assert registry.asked == []


async def test_without_a_login_there_is_nothing_to_try(coordinator: Coordinator) -> None:
    project = await coordinator.admin.new_project()
    path = f"/api/projects/{project['id']}/registries/registry.example/try"
    assert "no login to 'registry.example'" in (await coordinator.admin.post(path)).expect(404).text


def test_a_token_is_asked_for_where_the_registry_says() -> None:
    reply = Reply(
        status=401,
        headers={"www-authenticate": 'Bearer realm="https://auth.example/t?a=b",service="r"'},
    )
    challenge = challenge_of(reply)
    assert challenge == Challenge(scheme="bearer", realm="https://auth.example/t?a=b", service="r")
    login = RegistryLogin(host="r.example", username="robot", password=PASSWORD)
    call = token_call(challenge, "r.example", login)
    assert call is not None
    assert call.url == "https://auth.example/t?a=b&service=r&account=robot"
    assert PASSWORD not in repr(call)
    for realm in ("ftp://x/", "https://user:pw@x/", "javascript:alert(1)"):
        assert token_call(Challenge(scheme="bearer", realm=realm), "r.example", login) is None
    assert challenge_of(Reply(status=401, headers={"www-authenticate": "Digest x"})) is None


async def doctor(*arguments: str, data: Path, **environment: str) -> dict[str, dict[str, Any]]:
    """Findings by name."""
    words = ["doctor", "--json", "--engine", "none", "--data", str(data)]
    words += ["--listen", "127.0.0.1:0", *arguments]
    done = await asyncio.to_thread(run_pushrod, words, {**os.environ, **environment})
    told = done.stdout
    assert PASSWORD.encode() not in told + done.stderr
    return {one["name"]: one for one in json.loads(told)["findings"]}


async def test_the_doctor_tries_what_it_is_asked_for_from_its_own_machine(
    tmp_path: Path, registry: Registry
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        nobody = f"127.0.0.1:{closed.getsockname()[1]}"
    found = await doctor(
        *("--registry", registry.host, "--registry", nobody), data=tmp_path / "data"
    )
    answering, silent = found[f"registry {registry.host}"], found[f"registry {nobody}"]
    assert answering["verdict"] == "ok"
    assert "(asked from this machine)" in answering["says"]
    assert silent["verdict"] == "fail"
    assert "can't be reached" in silent["says"]
    assert f"curl -v https://{nobody}/v2/" in silent["remedy"]
    wrong = await doctor("--registry", "busybox", data=tmp_path / "data")
    assert wrong["registry"]["verdict"] == "fail"


async def test_the_doctor_tells_of_a_certificate_that_nobody_knows(tmp_path: Path) -> None:
    certificate, private = certificate_with_key()
    (chain := tmp_path / "chain.pem").write_bytes(private + certificate)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain)
    async with serving(Registry(), context) as registry:
        name = f"localhost:{registry.host.partition(':')[2]}"
        found = (await doctor("--registry", name, data=tmp_path / "data"))[f"registry {name}"]
    assert found["verdict"] == "fail"
    assert "a certificate that is not trusted here" in found["says"]
    assert "--ca-file" in found["remedy"]
    assert registry.asked == []


async def test_the_doctor_has_each_login_tried_by_the_coordinator(
    coordinator: Coordinator, registry: Registry, tmp_path: Path
) -> None:
    await logged_in(coordinator, registry.host, "wrong-password")
    account = f"/api/accounts/default/registries/{registry.host}"
    login = {"username": "robot", "password": PASSWORD}
    (await coordinator.admin.call("PUT", account, json=login)).expect(200)
    token = (coordinator.data / "admin-token").read_text().strip()
    found = await doctor(*("--url", coordinator.url), data=tmp_path / "data", PUSHROD_TOKEN=token)
    assert found[f"registry {registry.host}"]["verdict"] == "ok"
    said = found[f"login {registry.host}"]
    assert "asked from the coordinator's machine" in said["says"]
    posts = [given for path, given in registry.asked if path == "/token" and given]
    assert len(posts) == 2


async def test_the_doctor_asks_nobody_where_nothing_is_named(tmp_path: Path) -> None:
    found = await doctor(data=tmp_path / "data")
    assert not [name for name in found if "regist" in name or "login" in name]


async def test_the_doctor_tries_what_the_settings_name(tmp_path: Path, registry: Registry) -> None:
    found = await doctor(data=tmp_path / "data", PUSHROD_IMAGE_REGISTRY=f"{registry.host}/agents")
    assert found[f"registry {registry.host}"]["verdict"] == "ok"
