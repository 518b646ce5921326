"""Results that a laptop sends: who takes them, who does not, and what is refused."""

from __future__ import annotations

import asyncio
import io
import json
import sqlite3
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from pushrod.connection import Connection
from pushrod.local.sending import send_results as send
from tests.integration.coordinator_fixture import (
    Answer,
    Caller,
    Coordinator,
    eventually,
    open_coordinator,
)
from tests.integration.laptop_fixture import TESTS, WORKFLOW, laptop
from tests.integration.shop_fixture import OLD, Shop, new_shop, reasons, states, step

ATTEMPTS = "SELECT step_id, epoch FROM attempts"


@pytest.fixture
async def shop(coordinator: Coordinator, tmp_path: Path) -> Shop:
    """On whose main all has run once, with another content: the image's digest is known."""
    shop = await new_shop(coordinator, tmp_path, WORKFLOW)
    await shop.push({"src/a.py": "0"})
    assert await shop.run(2, content=b"<testsuite/>") == ["lint", "test"]
    await shop.tree.commit({"src/a.py": "1"})
    return shop


def address_of(caller: Caller) -> Connection:
    return Connection(url=caller.coordinator.url, token=caller.token or "")


async def post(shop: Shop, body: bytes, caller: Caller | None = None) -> Answer:
    path = f"/api/projects/{shop.project['id']}/laptop-results"
    return await (caller or shop.admin).call("POST", path, data=io.BytesIO(body))


async def test_a_branchs_push_takes_what_a_laptop_has_sent(
    shop: Shop, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    developer = await shop.admin.new_token(kind="user", role="developer", account="default")
    async with laptop(tmp_path / "laptop") as its:
        await send(its.core, its.build_id, address_of(developer), shop.project["id"])
        assert capsys.readouterr().err == "-- sent as #2: lint, test\n"
    sent = await shop.newest()
    assert (sent["state"], sent["event"], sent.get("branch")) == ("succeeded", "laptop", None)
    pushed = await shop.push(ref="topic")

    assert (pushed["state"], reasons(pushed)) == ("succeeded", {"cached from laptop of somebody"})
    lint = step(pushed, "lint")
    log = (await shop.admin.get(f"/api/steps/{lint['id']}/log")).expect(200)
    assert log.body == b"log of lint\n"
    file = (await shop.admin.get(f"/api/steps/{lint['id']}/artifacts/out/file")).expect(200)
    assert file.body == TESTS
    tests = f"/api/projects/{shop.project['id']}/builds/{pushed['id']}/tests"
    [test] = (await shop.admin.get(tests)).expect(200).json["tests"]
    assert (test["name"], test["result"]) == ("works", "passed")
    why = await shop.why(pushed, "lint")
    assert (why["takenFrom"], why["laptopOf"]) == (sent["number"], "somebody")
    assert "sent from the laptop of somebody" in why["says"]
    assert "on the laptop of somebody" in (await shop.why(sent, "lint"))["says"]
    [entry] = (await shop.admin.get("/api/audit-logs?action=results.sent")).json["auditLogs"]
    assert entry["details"]["steps"] == "lint, test"
    assert entry["details"]["by"] == "somebody"


async def test_the_default_branch_tags_and_forks_never_take_it(shop: Shop, tmp_path: Path) -> None:
    async with laptop(tmp_path / "laptop") as its:
        (await post(shop, await its.body())).expect(200)
    assert reasons(await shop.push(ref="topic")) == {"cached from laptop of admin"}
    # Neither the laptop's own result, nor what a branch has made of it.
    on_main = await shop.push()
    assert states(on_main) == {"lint": "ready", "test": "blocked"}
    await shop.tree.git("tag", "v1")
    await shop.tree.git("push", "-q", "origin", "v1")
    assert states(await shop.newest()) == {"lint": "ready", "test": "blocked"}


async def test_what_an_agent_has_run_is_taken_before_what_a_laptop_has(
    shop: Shop, tmp_path: Path
) -> None:
    async with laptop(tmp_path / "laptop") as its:
        body = await its.body()
    on_main = await shop.push()
    (await post(shop, body)).expect(200)
    assert await shop.run(2, content=TESTS) == ["lint", "test"]

    assert reasons(await shop.push(ref="topic")) == {f"cached from #{on_main['number']}"}


async def test_sending_again_changes_nothing(shop: Shop, tmp_path: Path) -> None:
    async with laptop(tmp_path / "laptop") as its:
        body = await its.body()
    first = (await post(shop, body)).expect(200).json
    again = (await post(shop, body)).expect(200).json

    assert (first["taken"], first["known"]) == (["lint", "test"], [])
    assert again == {"taken": [], "known": ["lint", "test"]}
    assert len(await shop.admin.builds(shop.project)) == 2


async def test_two_who_send_the_same_at_once_make_one_build(shop: Shop, tmp_path: Path) -> None:
    async with laptop(tmp_path / "laptop") as its:
        body = await its.body()
    answers = await asyncio.gather(*(post(shop, body) for _ in range(4)))

    taken = [answer.expect(200).json["taken"] for answer in answers]
    assert sorted(taken) == [[], [], [], ["lint", "test"]]
    assert len(await shop.admin.builds(shop.project)) == 2


async def test_what_breaks_off_leaves_nothing(shop: Shop, tmp_path: Path) -> None:
    async with laptop(tmp_path / "laptop") as its:
        body = await its.body()
    head = body.index(b"\n") + 1
    data = shop.admin.coordinator.data
    for end in (head, head + 5, head + 30, len(body) - 40, len(body) - 1):
        answer = (await post(shop, body[:end])).expect(400)
        assert "shorter than its first line says" in answer.text
    (await post(shop, body + b"x")).expect(400)

    assert len(await shop.admin.builds(shop.project)) == 1
    assert states(await shop.push(ref="topic")) == {"lint": "ready", "test": "blocked"}

    async def all_gone() -> bool:
        return not strangers(data)

    await eventually(all_gone)


def strangers(data: Path) -> set[str]:
    """Objects that no row knows."""
    with closing(sqlite3.connect(data / "pushrod.db")) as database:
        logs = {f"{step}-{epoch}" for step, epoch in database.execute(ATTEMPTS)}
        blobs = {sha for (sha,) in database.execute("SELECT sha256 FROM artifacts")}
    found = [path.relative_to(data / "objects") for path in (data / "objects").rglob("*")]
    files = [str(path) for path in found if (data / "objects" / path).is_file()]
    return {one for one in files if not any(name in one for name in logs | blobs)}


async def test_only_those_who_may_push_may_send(shop: Shop, tmp_path: Path) -> None:
    viewer = await shop.admin.new_token(kind="user", role="viewer", account="default")
    await shop.admin.new_project(account="other", name="theirs")
    stranger = await shop.admin.new_token(kind="user", role="maintainer", account="other")
    async with laptop(tmp_path / "laptop") as its:
        body = await its.body()
    nobody = shop.admin.coordinator.nobody
    for caller, status in ((viewer, 403), (stranger, 404), (shop.agent, 403), (nobody, 401)):
        (await post(shop, body, caller)).expect(status)


def changed(head: Mapping[str, Any], **of_lint: Any) -> dict[str, Any]:
    lint, test = head["steps"]
    return {**head, "steps": [{**lint, **of_lint}, test]}


def rewritten(head: Mapping[str, Any], **of_lint: Any) -> dict[str, Any]:
    return changed(head, written={**head["steps"][0]["written"], **of_lint})


REFUSED: list[tuple[Callable[[Any], Any], str]] = [
    (lambda head: rewritten(head, secrets=["KEY"]), "it gets secrets"),
    (lambda head: rewritten(head, agents={"gpu": "yes"}), "names labels"),
    (lambda head: rewritten(head, atMostOnce=True), "atMostOnce"),
    (lambda head: rewritten(head, runOn=["failure"]), "runOn"),
    (lambda head: rewritten(head, name=7), "`name`"),
    (lambda head: rewritten(head, name="a\x1b[2J"), "printable"),
    (lambda head: rewritten(head, name="test"), "same name"),
    (lambda head: rewritten(head, later="x"), "does not know"),
    (lambda head: rewritten(head, env={"A": {}}), "env"),
    (lambda head: rewritten(head, retries=[]), "no step"),
    (lambda head: rewritten(head, script="x" * 1_100_000), "may have"),
    (lambda head: changed(head, files="0" * 64), "lacks the files"),
    (
        lambda head: {**head, "lists": {**head["lists"], "0" * 64: {}}},
        "another digest than it says",
    ),
    (lambda head: {**head, "machine": "pdp11"}, "pdp11"),
    (lambda head: changed(head, image="latest"), "image"),
    (lambda head: changed(head, dependencies={"lint": "succeeded "}), "dependsOn"),
    (lambda head: changed(head, outputs={"a b": "x"}), "no key"),
    (
        lambda head: changed(head, outputLinks=[{"name": "../x", "target": "y"}]),
        "not a plain path",
    ),
    (lambda head: {**head, "steps": []}, "steps"),
    (
        lambda head: changed(
            head, outputFiles=[{**head["steps"][0]["outputFiles"][0], "sha256": "0" * 64}]
        ),
        "did not have the files",
    ),
    (
        lambda head: changed(head, log={**head["steps"][0]["log"], "sha256": "0" * 64}),
        "another sha256",
    ),
    (lambda head: changed(head, log={"size": 1 << 40, "sha256": "0" * 64}), "a log may hold"),
]


async def test_what_can_not_be_is_refused(shop: Shop, sent_body: bytes) -> None:
    line, _, rest = sent_body.partition(b"\n")
    for change, said in REFUSED:
        head = json.dumps(change(json.loads(line))).encode()
        answer = await post(shop, head + b"\n" + rest)
        assert answer.status in (400, 413), f"{said}: {answer.text}"
        assert said in answer.text
    assert len(await shop.admin.builds(shop.project)) == 1


@pytest.fixture
async def sent_body(tmp_path: Path) -> bytes:
    async with laptop(tmp_path / "laptop") as its:
        return await its.body()


async def test_a_first_line_that_is_no_run_is_refused(shop: Shop) -> None:
    for head in (b"{", b"[]", b'{"steps": 1}', b"\xff", b"[" * 100_000):
        answer = (await post(shop, head + b"\n")).expect(400)
        assert "first line" in answer.text


async def test_a_first_line_without_an_end_is_not_read_for_ever(shop: Shop) -> None:
    (await post(shop, b"x" * (9 * 1024 * 1024))).expect(413)


async def test_a_file_with_another_content_is_refused(shop: Shop, sent_body: bytes) -> None:
    answer = (await post(shop, sent_body.replace(b"works", b"fails", 1))).expect(400)
    assert "another sha256" in answer.text
    assert len(await shop.admin.builds(shop.project)) == 1


async def test_there_is_no_more_room_for_it_than_for_others(tmp_path: Path) -> None:
    folder = tmp_path / "small"
    folder.mkdir()
    async with (
        open_coordinator(folder, poll_hold_seconds=1, project_max_stored_bytes=50) as coordinator,
        laptop(tmp_path / "laptop") as its,
    ):
        shop = await new_shop(coordinator, folder, WORKFLOW)
        answer = (await post(shop, await its.body())).expect(413)
        assert "50" in answer.text


async def test_an_archived_project_takes_nothing(shop: Shop, sent_body: bytes) -> None:
    path = f"/api/projects/{shop.project['id']}"
    (await shop.admin.call("PATCH", path, json={"archived": True})).expect(200)
    (await post(shop, sent_body)).expect(409)


async def test_it_is_no_build_to_try_again_and_can_be_deleted(shop: Shop, sent_body: bytes) -> None:
    (await post(shop, sent_body)).expect(200)
    sent = await shop.newest()
    path = f"/api/projects/{shop.project['id']}/builds/{sent['id']}"
    refused = await shop.admin.post(f"{path}/retry", {})
    assert (refused.status, "laptop" in refused.text) == (409, True)
    assert (await shop.admin.call("DELETE", path)).status in (200, 204)

    assert states(await shop.push(ref="topic")) == {"lint": "ready", "test": "blocked"}


@pytest.mark.parametrize(
    ("workflow", "digest", "said"),
    [
        (WORKFLOW.replace("run: lint", "run: lint, secrets: [KEY]"), OLD, "it gets secrets"),
        (WORKFLOW, None, "on the host engine"),
    ],
)
async def test_what_can_not_be_sent_is_told(
    shop: Shop,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    workflow: str,
    digest: str | None,
    said: str,
) -> None:
    async with laptop(tmp_path / "laptop", workflow, digest, secret=True) as its:
        await send(its.core, its.build_id, address_of(shop.admin), shop.project["id"])
    told = capsys.readouterr().err
    assert "-- lint: not sent: " in told
    assert said in told
    assert "sesame" not in told


async def test_a_step_that_differs_is_not_taken(shop: Shop, sent_body: bytes) -> None:
    (await post(shop, sent_body)).expect(200)
    pushed = await shop.push(
        {".pushrod.yml": WORKFLOW.replace("run: lint", "run: lint -q")}, "topic"
    )

    assert states(pushed) == {"lint": "ready", "test": "blocked"}
    why = await shop.why(pushed, "lint")
    assert (why["comparedWith"], why["differences"]) == (2, ["the script changed"])
