"""Whose account a call means, and what one account sees and makes of another's."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.integration.coordinator_fixture import Caller, open_coordinator

IMAGE = {"slug": "python", "imageUrl": "registry.example/python:3"}
DEPLOYED = {"agent_name": "my-agent", "image": "registry.example/bot:1"}
BUILT = {"name": "my-agent", "files": {"agent.py": "import os\n"}}


@pytest.fixture
async def admin(tmp_path: Path) -> AsyncIterator[Caller]:
    async with open_coordinator(tmp_path) as coordinator:
        await coordinator.admin.new_project("alpha")
        await coordinator.admin.new_project("beta")
        yield coordinator.admin


async def maintainer(admin: Caller, account: str) -> Caller:
    return await admin.new_token(role="maintainer", account=account)


@pytest.mark.parametrize("path", ["/api/projects", "/api/audit-logs", "/api/docker-images"])
@pytest.mark.parametrize("theirs", ["beta", "nobody"])
async def test_a_list_of_another_account_is_not_there(
    admin: Caller, path: str, theirs: str
) -> None:
    alpha = await maintainer(admin, "alpha")
    (await alpha.get(f"{path}?accountId={theirs}")).expect(404)
    (await alpha.get(f"{path}?accountId=alpha")).expect(200)


async def test_an_image_is_made_in_no_account_but_ones_own(admin: Caller) -> None:
    alpha = await maintainer(admin, "alpha")
    (await alpha.post("/api/docker-images", {**IMAGE, "accountId": "beta"})).expect(404)
    assert (await alpha.get("/api/docker-images")).json == []
    (await alpha.post("/api/docker-images", {**IMAGE, "accountId": "alpha"})).expect(201)
    (await admin.post("/api/docker-images", {**IMAGE, "accountId": "beta"})).expect(201)
    beta = await maintainer(admin, "beta")
    assert [one["slug"] for one in (await beta.get("/api/docker-images")).json] == ["python"]


async def test_an_account_lists_no_image_that_another_calls_public(admin: Caller) -> None:
    alpha, beta = await maintainer(admin, "alpha"), await maintainer(admin, "beta")
    (await alpha.post("/api/docker-images", {**IMAGE, "public": True})).expect(201)
    (await admin.post("/api/docker-images", {**IMAGE, "slug": "all", "public": True})).expect(201)
    assert [one["slug"] for one in (await beta.get("/api/docker-images")).json] == ["all"]
    assert len((await alpha.get("/api/docker-images")).json) == 2


@pytest.mark.parametrize("path", ["/api/deploy", "/api/builds"])
async def test_a_developer_makes_no_project_by_building_or_deploying(
    admin: Caller, path: str
) -> None:
    body = DEPLOYED if path == "/api/deploy" else BUILT
    developer = await admin.new_token(role="developer", account="alpha")
    refused = (await developer.post(path, body)).expect(403)
    assert "maintainer" in refused.text
    assert len((await developer.get("/api/projects?accountId=alpha")).json) == 1
    made = await (await maintainer(admin, "alpha")).post(path, body)
    assert made.status < 300, made.text
    again = await developer.post(path, body)
    assert again.status < 300, again.text
