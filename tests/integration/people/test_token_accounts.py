"""Whose account a new token is of, by command and by call."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.coordinator_fixture import Caller, Coordinator, open_coordinator


@pytest.fixture
async def coordinator(tmp_path: Path) -> AsyncIterator[Coordinator]:
    async with open_coordinator(tmp_path) as coordinator:
        yield coordinator


async def made(caller: Caller, **wanted: Any) -> tuple[dict[str, Any], Caller]:
    answer = await caller.post("/api/tokens", {"name": "somebody", **wanted})
    body = answer.expect(201).json
    return body, Caller(caller.coordinator, body["token"])


@pytest.mark.parametrize("role", ["viewer", "developer", "maintainer"])
async def test_a_role_is_within_the_default_account(coordinator: Coordinator, role: str) -> None:
    await coordinator.admin.new_project("other", "hidden")
    token, somebody = await made(coordinator.admin, role=role)
    assert token["account"] == "default"
    assert (await somebody.get("/api/projects?accountId=other")).status == 404
    body = {"name": "sneaky", "accountId": "other"}
    assert (await somebody.post("/api/projects", body)).status in (403, 404)


async def test_an_administrator_may_widen_one_to_every_account(coordinator: Coordinator) -> None:
    await coordinator.admin.new_project("other", "theirs")
    token, somebody = await made(coordinator.admin, role="viewer", allAccounts=True)
    assert "account" not in token
    [seen] = (await somebody.get("/api/projects?accountId=other")).expect(200).json
    assert seen["name"] == "theirs"


async def test_whoever_is_of_an_account_makes_tokens_of_it(coordinator: Coordinator) -> None:
    _, maintainer = await made(coordinator.admin, role="maintainer", account="other")
    token, _ = await made(maintainer, role="developer")
    assert token["account"] == "other"
    refused = await maintainer.post("/api/tokens", {"name": "x", "allAccounts": True})
    assert refused.status == 403
    assert "leave `allAccounts` out" in refused.text


@pytest.mark.parametrize("kind", [{"role": "admin"}, {"kind": "registration"}])
async def test_administrators_and_agents_are_of_all(
    coordinator: Coordinator, kind: dict[str, str]
) -> None:
    token, _ = await made(coordinator.admin, **kind)
    assert "accountId" not in token


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ({"account": "other", "allAccounts": True}, "not both"),
        ({"account": "other", "role": "admin"}, "leave `account` out"),
    ],
)
async def test_what_contradicts_itself_is_told(
    coordinator: Coordinator, wanted: dict[str, Any], said: str
) -> None:
    answer = await coordinator.admin.post("/api/tokens", {"name": "somebody", **wanted})
    assert answer.status == 400
    assert said in answer.text
