"""Specification 001: "Idempotency: Multiple requests should be safe", by `Idempotency-Key`."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from coordinator.domain.builds.keyed_requests import KEPT_FOR, KeyedRequest
from coordinator.services.builds.drafts import Origin, draft
from coordinator.services.builds.saved_drafts import save_asked_for
from coordinator.services.upkeep.housekeeping import Housekeeping
from coordinator.storage.tables import keyed_requests
from pipelines_schema import Triggers, Workflow
from tests.empty_database import change
from tests.integration.coordinator_fixture import Answer, Caller, Coordinator
from tests.integration.core_fixture import START, open_core, step_of
from tests.integration.execution_fixture import Tenant, assert_envelope, new_chain, new_member

WORKFLOW = Workflow(name="ci", file=None, triggers=Triggers(), steps=[step_of("one")])
KEY = "9c5c6c1e-order 1"


async def create(caller: Tenant, project: dict[str, Any], key: str = KEY, **more: Any) -> Answer:
    body = {"project_id": project["id"], "git_branch": "main", **more}
    return await caller.v1("POST", "/builds", body, headers={"Idempotency-Key": key})


async def retry(caller: Tenant, build_id: str, key: str = KEY) -> Answer:
    return await caller.v1("POST", f"/builds/{build_id}/retry", headers={"Idempotency-Key": key})


async def count(caller: Tenant) -> int:
    return int((await caller.v1("GET", "/builds")).expect(200).json["total_count"])


async def test_the_same_request_again_makes_nothing_and_is_answered_the_same(
    maintainer: Tenant, project: dict[str, Any]
) -> None:
    first = (await create(maintainer, project)).expect(201)
    await maintainer.start(first.json)
    for body in ({}, {"git_commit": None}, {"project_id": project["id"].upper()}):
        again = (await create(maintainer, project, **body)).expect(201)
        assert again.json == first.json, "as it was said then, though it is started"
        assert again.headers["Location"] == first.headers["Location"]
    assert await count(maintainer) == 1


async def test_a_key_with_another_request_is_refused_in_words(
    maintainer: Tenant, project: dict[str, Any]
) -> None:
    first = (await create(maintainer, project)).expect(201).json
    (await maintainer.v1("POST", f"/builds/{first['id']}/cancel")).expect(200)
    for answer in (
        await create(maintainer, project, git_branch="other"),
        await retry(maintainer, first["id"]),
    ):
        body = assert_envelope(answer, 409, "CONFLICT")
        assert first["id"] in body["error"]
        assert "new key" in body["error"]
    assert await count(maintainer) == 1


async def test_many_at_once_make_one_build(maintainer: Tenant, project: dict[str, Any]) -> None:
    answers = await asyncio.gather(*(create(maintainer, project) for _ in range(6)))
    assert len({answer.expect(201).json["id"] for answer in answers}) == 1
    build_id = answers[0].json["id"]
    (await maintainer.v1("POST", f"/builds/{build_id}/cancel")).expect(200)
    retries = await asyncio.gather(*(retry(maintainer, build_id, "again") for _ in range(4)))
    assert len({answer.expect(201).json["id"] for answer in retries}) == 1
    assert await count(maintainer) == 2


async def test_a_key_outlives_the_coordinator(
    coordinator: Coordinator, maintainer: Tenant, project: dict[str, Any]
) -> None:
    first = (await create(maintainer, project)).expect(201)
    await coordinator.restart()
    assert (await create(maintainer, project)).expect(201).json == first.json
    assert await count(maintainer) == 1


async def test_a_key_is_its_owners_alone_and_of_one_tenant(
    admin: Caller, maintainer: Tenant, project: dict[str, Any]
) -> None:
    developer = await new_member(admin, "developer")
    root = Tenant(admin.coordinator, admin.token, maintainer.tenant)
    elsewhere = await new_chain(admin, "x", account="other", name="theirs")
    there = Tenant(admin.coordinator, admin.token, elsewhere["accountUuid"])
    made = [await create(caller, project) for caller in (maintainer, developer, root)]
    made.append(await create(there, elsewhere))
    assert len({answer.expect(201).json["id"] for answer in made}) == 4


async def test_a_key_means_nothing_any_more_after_a_day(
    coordinator: Coordinator, maintainer: Tenant, project: dict[str, Any]
) -> None:
    first = (await create(maintainer, project)).expect(201).json
    microseconds = KEPT_FOR // timedelta(microseconds=1)
    change(coordinator.data, f"UPDATE keyed_requests SET created_at = created_at - {microseconds}")
    second = (await create(maintainer, project, git_branch="other")).expect(201).json
    assert second["id"] != first["id"]
    assert (await create(maintainer, project, git_branch="other")).expect(201).json == second


@pytest.mark.usefixtures("each_storage")
async def test_old_answers_are_forgotten_and_young_ones_kept(tmp_path: Path) -> None:
    async with open_core(tmp_path) as tested:
        project = await tested.new_project()
        for key in ("old", "young"):
            wanted = draft(WORKFLOW, project, Origin(event="manual"), None, START, answers={})
            keyed = KeyedRequest(
                account_id="a", holder="h", key=key, fingerprint="f", answer=lambda _: "answer"
            )
            save = partial(
                save_asked_for, tested.core, project=project, wanted=replace(wanted, keyed=keyed)
            )
            await tested.core.database.write(save)
            tested.clock.seconds += KEPT_FOR.total_seconds() / 2
        await Housekeeping(tested.core).forget_answers()
        rows = await tested.core.database.read(
            lambda connection: connection.execute(sa.select(keyed_requests.c.key))
        )
        assert list(rows.scalars()) == ["young"]


async def test_what_was_refused_may_be_tried_again(
    maintainer: Tenant, project: dict[str, Any]
) -> None:
    (await create(maintainer, project, workflow="nonsense")).expect(400)
    (await create(maintainer, project)).expect(201)


@pytest.mark.parametrize("key", ["", " ", "x" * 256, "\u00e9", "a\tb"])
async def test_a_key_that_can_not_be_read_is_a_400(
    maintainer: Tenant, project: dict[str, Any], key: str
) -> None:
    body = assert_envelope(await create(maintainer, project, key), 400, "INVALID_REQUEST")
    assert set(body["details"]) == {"Idempotency-Key"}


async def test_without_a_key_each_request_makes_a_build(
    maintainer: Tenant, project: dict[str, Any]
) -> None:
    made = [await maintainer.create(project) for _ in range(2)]
    assert made[0]["id"] != made[1]["id"]
    answer = await maintainer.v1(
        "POST", "/builds", {"project_id": project["id"], "git_branch": "main"}
    )
    shown = await maintainer.call(
        "GET",
        answer.expect(201).headers["Location"],
        headers={"X-Tenant-ID": maintainer.tenant or ""},
    )
    assert shown.expect(200).json == answer.json
