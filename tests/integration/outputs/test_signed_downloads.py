"""Downloads that the bucket hands out itself, at signed addresses.

The S3 server of the tests checks no signature: the makers of another signer, botocore, do.
"""

from __future__ import annotations

import io
import logging
import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession
from botocore.auth import S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from yarl import URL

from coordinator.object_ports import ObjectsUnusable
from pushrod.connection import Connection
from pushrod.errors import NotFoundError
from pushrod.transport import Transport
from tests.empty_objects import settings_of
from tests.integration.coordinator_fixture import (
    GIT_ENVIRONMENT,
    ONE_STEP,
    Answer,
    Caller,
    Coordinator,
    WorkTree,
    git,
    new_work_tree,
    open_coordinator,
    step_of,
)
from tests.integration.recorded_store import RecordedStore, recorded_store
from tests.integration.source_fixture import finished, running_agent, track_with_lfs, workflow_of
from tests.s3_server import S3Server

BIG = bytes(range(256)) * 5000
SECONDS = 77
NAME = "dist/größe & more.bin"
QUOTED = "dist/gr%C3%B6%C3%9Fe%20&%20more.bin"


@pytest.fixture
async def store(s3_server: S3Server, tmp_path: Path) -> AsyncIterator[RecordedStore]:
    place = s3_server.place(tmp_path / "credentials", tmp_path.name)
    async with recorded_store(place) as store:
        yield store


@pytest.fixture
async def coordinator(store: RecordedStore, tmp_path: Path) -> AsyncIterator[Coordinator]:
    more = {"objects_signed_seconds": SECONDS, "poll_hold_seconds": 1}
    async with open_coordinator(tmp_path, **settings_of(store.place), **more) as coordinator:
        yield coordinator


@pytest.fixture
def admin(coordinator: Coordinator) -> Caller:
    return coordinator.admin


async def built(admin: Caller, name: str = QUOTED, body: bytes = BIG) -> str:
    """The path of an artifact of a build that has ended."""
    agent = await admin.new_agent()
    build = await admin.new_build(await admin.new_project(), step_of("a"))
    spec = await agent.take()
    (await agent.upload(spec, name, io.BytesIO(body))).expect(201)
    (await agent.complete(spec)).expect(200)
    return f"/api/steps/{build['steps'][0]['id']}/artifacts/{name}"


def address_in(answer: Answer) -> URL:
    assert "follow redirects" in answer.expect(307).text
    assert answer.headers["Cache-Control"] == "no-store"
    return URL(answer.headers["Location"], encoded=True)


async def test_a_large_artifact_is_at_an_address_that_is_good_for_a_while(admin: Caller) -> None:
    address = address_in(await admin.get(await built(admin)))
    assert address.query["X-Amz-Expires"] == str(SECONDS)
    assert address.query["X-Amz-SignedHeaders"] == "host"
    assert signature_of(address) == address.query["X-Amz-Signature"]


def signature_of(address: URL) -> str:
    """As botocore signs the same request at the same second."""
    signer = S3SigV4QueryAuth(Credentials("test", "test"), "s3", "us-east-1", expires=SECONDS)
    ours = {
        "X-Amz-Algorithm",
        "X-Amz-Credential",
        "X-Amz-Date",
        "X-Amz-Expires",
        "X-Amz-SignedHeaders",
        "X-Amz-Signature",
    }
    plain = address.with_query({k: v for k, v in address.query.items() if k not in ours})
    request = AWSRequest("GET", str(plain))
    request.context["timestamp"] = address.query["X-Amz-Date"]
    signer._modify_request_before_signing(request)
    canonical = signer.canonical_request(request)
    return str(signer.signature(signer.string_to_sign(request, canonical), request))


async def test_what_is_there_is_what_the_coordinator_would_have_sent(admin: Caller) -> None:
    path = await built(admin)
    direct = (await admin.call("GET", path, headers={"Redirects": "none"})).expect(200)
    assert direct.body == BIG
    address = address_in(await admin.get(path))
    async with ClientSession() as session:
        async with session.get(address) as found:
            assert (found.status, await found.read()) == (200, BIG)
            for name in ("Content-Disposition", "Content-Type"):
                assert found.headers[name] == direct.headers[name]
        async with session.get(address, headers={"Range": "bytes=1000-1002"}) as found:
            assert (found.status, await found.read()) == (206, BIG[1000:1003])


async def test_a_modules_large_artifact_is_there_too(admin: Caller, tmp_path: Path) -> None:
    tree = await new_work_tree(tmp_path, admin, await admin.new_project())
    modules = "modules: {core: {path: ., targets: {default: ci}}}\n"
    by_hand = ONE_STEP.replace("push: {}", "manual: {}")
    await tree.commit({".pushrod.yml": by_hand, ".pushrod/modules.yml": modules})
    await tree.push()
    (await admin.post("/api/build_synthesis/trigger", {"module_name": "core"})).expect(202)
    agent = await admin.new_agent()
    spec = await agent.take()
    (await agent.upload(spec, "out", io.BytesIO(BIG))).expect(201)
    (await agent.complete(spec)).expect(200)
    sent_on = (await admin.get("/artifacts/core/out")).expect(307)
    async with ClientSession() as session, session.get(address_in(sent_on)) as found:
        assert await found.read() == BIG


async def test_a_head_and_a_small_file_are_answered_by_the_coordinator(
    admin: Caller, store: RecordedStore
) -> None:
    path = await built(admin)
    shown = (await admin.call("HEAD", path)).expect(200)
    assert int(shown.headers["Content-Length"]) == len(BIG)
    assert (await admin.get(await built(admin, "small", b"x" * 1000))).expect(200).body
    assert not store.by_address


async def test_nobody_is_sent_on_who_may_not_have_it(admin: Caller) -> None:
    path = await built(admin)
    stranger = await admin.new_token(role="developer", account="other")
    (await stranger.get(path)).expect(404)
    (await admin.coordinator.nobody.get(path)).expect(401)
    (await admin.get(f"{path}.not")).expect(404)


async def test_a_steps_token_is_sent_on_only_where_it_says_that_it_follows(admin: Caller) -> None:
    agent = await admin.new_agent()
    await admin.new_build(await admin.new_project(), step_of("a"), step_of("b", "a"))
    first = await agent.take()
    (await agent.upload(first, "out", io.BytesIO(BIG))).expect(201)
    (await agent.complete(first)).expect(200)
    script = Caller(admin.coordinator, (await agent.take())["token"])
    path = f"/api/steps/{first['stepId']}/artifacts/out"
    assert (await script.get(path)).expect(200).body == BIG
    address_in(await script.call("GET", path, headers={"Redirects": "follow"}))


@pytest.fixture
def told(caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> Callable[[], str]:
    """All that is logged, by whomever."""
    caplog.set_level(logging.DEBUG)
    return lambda: caplog.text + "".join(capfd.readouterr())


@pytest.mark.parametrize(
    ("trouble", "told_why"),
    [
        ({}, None),
        ({"answers_addresses": False}, "(it answered 403)"),
        ({"breaks_off": True}, "(it broke off: ClientPayloadError)"),
    ],
    ids=["reached", "refused", "broken off"],
)
async def test_an_agent_has_its_inputs_of_the_store_or_else_of_the_coordinator(
    coordinator: Coordinator,
    store: RecordedStore,
    told: Callable[[], str],
    trouble: dict[str, bool],
    told_why: str | None,
) -> None:
    for name, is_so in trouble.items():
        setattr(store, name, is_so)
    admin, project = coordinator.admin, await coordinator.admin.new_project()
    script = "wc -c < out; wc -c < small"
    await admin.new_build(project, step_of("a"), step_of("b", "a", runScript=script))
    first = await admin.new_agent()
    spec = await first.take()
    large = BIG * 4  # of which the agent asks alone
    (await first.upload(spec, "out", io.BytesIO(large))).expect(201)
    (await first.upload(spec, "small", b"12345")).expect(201)
    (await first.complete(spec)).expect(200)
    async with running_agent(coordinator):
        build = await finished(admin, project)
    assert (build["state"], build["log"]) == ("succeeded", f"{len(large)}\n5\n"), build["steps"]
    assert len(store.by_address) == 1
    check_that_no_token_came(store)
    logged = told()
    assert ("can't be used from here" in logged) is bool(told_why)
    assert (told_why or "") in logged
    await check_that_nothing_is_told(coordinator, logged)


def check_that_no_token_came(store: RecordedStore) -> None:
    assert store.by_address
    for asked in store.by_address:
        assert "Authorization" not in asked.headers
        assert "Cookie" not in asked.headers


async def check_that_nothing_is_told(coordinator: Coordinator, logged: str) -> None:
    """An address is a credential."""
    assert logged
    assert "X-Amz-Signature" not in logged
    audit = (await coordinator.admin.get("/api/audit-logs?limit=100")).expect(200)
    assert "X-Amz" not in audit.text


@pytest.mark.parametrize("answers", [True, False], ids=["reached", "refused"])
async def test_the_command_line_downloads_from_the_store_or_else_from_the_coordinator(
    admin: Caller, store: RecordedStore, told: Callable[[], str], answers: bool
) -> None:
    store.answers_addresses = answers
    path = await built(admin)
    connection = Connection(url=admin.coordinator.url, token=admin.token or "")
    async with Transport(connection) as transport:
        assert b"".join([piece async for piece in transport.download(path)]) == BIG
        with pytest.raises(NotFoundError):
            await anext(transport.download(f"{path}.not"))
    assert len(store.by_address) == 1
    check_that_no_token_came(store)
    await check_that_nothing_is_told(admin.coordinator, told())


@pytest.mark.skipif(not shutil.which("git-lfs"), reason="apt-get install git-lfs")
async def test_git_lfs_and_steps_have_large_files_of_the_store(
    coordinator: Coordinator, store: RecordedStore, tmp_path: Path
) -> None:
    admin = coordinator.admin
    project = await admin.new_project(name="app")
    tree = await new_work_tree(tmp_path, admin, project, "app")
    await track_with_lfs(tree)
    (tree.folder / "big.bin").write_bytes(BIG)
    await tree.commit({".pushrod.yml": workflow_of("wc -c < big.bin")})
    async with running_agent(coordinator):
        await tree.push()
        build = await finished(admin, project)
    assert (build["state"], build["log"]) == ("succeeded", f"{len(BIG)}\n"), build["message"]
    assert len(store.by_address) == 1

    copy = WorkTree(tmp_path / "copy", tree.environment | {"GIT_LFS_SKIP_SMUDGE": "1"})
    clone = ("clone", "-q", project["pushUrl"], str(copy.folder))
    await git(tmp_path, *clone, environment=copy.environment)
    # As pushrod's own helper for git gives it: to git for this URL, and to nobody else.
    helper = f"!f() {{ echo username=x; echo password={admin.token}; }}; f"
    plain = {name: text for name, text in GIT_ENVIRONMENT.items() if "COUNT" not in name}
    copy = WorkTree(copy.folder, plain)
    await copy.git("config", f"credential.{coordinator.url}.helper", helper)
    await copy.git("lfs", "install", "--local")
    await copy.git("lfs", "pull")
    assert (copy.folder / "big.bin").read_bytes() == BIG
    assert len(store.by_address) == 2
    check_that_no_token_came(store)


async def test_a_folder_refuses_the_setting_in_words(tmp_path: Path) -> None:
    with pytest.raises(ObjectsUnusable, match="leave objects_signed_seconds out, or name a bucket"):
        async with open_coordinator(tmp_path, objects_signed_seconds=60):
            pass


async def test_without_the_setting_nobody_is_sent_on(tmp_path: Path, store: RecordedStore) -> None:
    settings: dict[str, Any] = settings_of(store.place)
    async with open_coordinator(tmp_path, **settings) as coordinator:
        answer = await coordinator.admin.get(await built(coordinator.admin))
        assert answer.expect(200).body == BIG
    assert not store.by_address
