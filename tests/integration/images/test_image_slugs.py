"""Which image a step runs in, where several accounts register slugs."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.integration.coordinator_fixture import AgentCaller, Caller, open_coordinator, step_of


@pytest.fixture
async def admin(tmp_path: Path) -> AsyncIterator[Caller]:
    async with open_coordinator(tmp_path, poll_hold_seconds=1) as coordinator:
        yield coordinator.admin


async def register(caller: Caller, slug: str, image_url: str, *, public: bool = True) -> None:
    body = {"slug": slug, "imageUrl": image_url, "public": public}
    answer = (await caller.post("/api/docker-images", body)).expect(201)
    assert answer.json["public"] is public


async def image_of_step(admin: Caller, account: str, slug: str) -> str:
    project = await admin.new_project(account)
    agent = await (await admin.new_token(kind="registration", account=account)).new_agent()
    await admin.new_build(project, step_of("a", imageSlug=slug))
    return str((await agent.take())["image"])


@pytest.mark.parametrize("slug", ["python:3.12", "debian", "library/debian", "debian@sha256:x"])
async def test_no_other_accounts_image_stands_for_what_a_step_names(
    admin: Caller, slug: str
) -> None:
    other = await admin.new_token(role="maintainer", account="other")
    await register(other, slug, "docker://evil.example/x")
    assert await image_of_step(admin, "acme", slug) == slug
    assert await image_of_step(admin, "other", slug) == "evil.example/x"


async def test_another_accounts_slug_can_be_taken_too_but_ones_own_only_once(
    admin: Caller,
) -> None:
    mine = await admin.new_token(role="maintainer", account="acme")
    other = await admin.new_token(role="maintainer", account="other")
    await register(other, "tools", "registry.example/theirs")
    await register(mine, "tools", "registry.example/mine", public=False)
    again = {"slug": "tools", "imageUrl": "registry.example/again"}
    (await mine.post("/api/docker-images", again)).expect(409)
    assert await image_of_step(admin, "acme", "tools") == "registry.example/mine"
    assert await image_of_step(admin, "other", "tools") == "registry.example/theirs"


async def test_an_administrators_public_image_is_everybodys_unless_they_have_their_own(
    admin: Caller,
) -> None:
    await register(admin, "tools", "registry.example/everybodys")
    await register(admin, "inner", "registry.example/inner", public=False)
    assert await image_of_step(admin, "acme", "tools") == "registry.example/everybodys"
    assert await image_of_step(admin, "other", "inner") == "inner"
    third = await admin.new_token(role="maintainer", account="third")
    await register(third, "tools", "registry.example/own")
    assert await image_of_step(admin, "third", "tools") == "registry.example/own"


async def test_no_public_image_stands_for_a_reference(admin: Caller) -> None:
    await register(admin, "python:3.12", "registry.example/python")
    assert await image_of_step(admin, "acme", "python:3.12") == "python:3.12"
    assert await image_of_step(admin, "default", "python:3.12") == "registry.example/python"


async def test_a_maintainer_of_the_administrators_account_makes_nothing_for_others(
    admin: Caller,
) -> None:
    near = await admin.new_token(role="maintainer", account="default")
    await register(near, "debian", "docker://evil.example/x")
    assert await image_of_step(admin, "acme", "debian") == "debian"


async def run_image(agent: AgentCaller, project: Mapping[str, Any], admin: Caller) -> str:
    """Of the step of a new build, which names the slug `tools`."""
    await admin.new_build(project, step_of("a", imageSlug="tools"))
    spec = await agent.take()
    (await agent.complete(spec)).expect(200)
    return str(spec["image"])


async def test_a_slug_that_was_changed_or_deleted_counts_for_the_next_step(admin: Caller) -> None:
    project = await admin.new_project()
    agent = await (await admin.new_token(kind="registration")).new_agent()
    await register(admin, "tools", "debian:12", public=False)
    assert await run_image(agent, project, admin) == "debian:12"
    change = await admin.call("PATCH", "/api/docker-images/tools", json={"imageUrl": "debian:13"})
    assert change.expect(200).json["imageUrl"] == "debian:13"
    assert await run_image(agent, project, admin) == "debian:13"
    renamed = await admin.call("PATCH", "/api/docker-images/tools", json={"slug": "other"})
    assert renamed.expect(200).json["slug"] == "other"
    assert await run_image(agent, project, admin) == "tools", "a reference again"
    (await admin.call("DELETE", "/api/docker-images/other")).expect(204)
    assert (await admin.get("/api/docker-images")).json == []
    (await admin.call("DELETE", "/api/docker-images/other")).expect(404)
    (await admin.call("PATCH", "/api/docker-images/other", json={"public": True})).expect(404)


async def test_what_is_not_said_of_an_image_stays(admin: Caller) -> None:
    await register(admin, "tools", "debian:12", public=True)
    (before,) = (await admin.get("/api/docker-images")).json
    path = f"/api/docker-images/{before['id']}"
    after = (await admin.call("PATCH", path, json={"slug": "new", "imageUrl": None})).expect(200)
    assert after.json == {**before, "slug": "new"}
    assert await image_of_step(admin, "acme", "new") == "debian:12", "it is everybody's still"
    (await admin.call("PATCH", path, json={"public": False})).expect(200)
    assert await image_of_step(admin, "acme", "new") == "new"


async def test_a_slug_is_not_changed_into_one_that_is_taken_or_is_none(admin: Caller) -> None:
    await register(admin, "tools", "debian:12")
    await register(admin, "other", "debian:12")
    for body, status in (
        ({"slug": "other"}, 409),
        ({"slug": "two words"}, 400),
        ({"imageUrl": "Not An Image"}, 400),
        ({"slug": "tools"}, 200),
    ):
        (await admin.call("PATCH", "/api/docker-images/tools", json=body)).expect(status)


async def test_what_is_every_accounts_is_changed_by_an_administrator_alone(admin: Caller) -> None:
    await register(admin, "tools", "debian:12")
    near = await admin.new_token(role="maintainer", account="default")
    change = {"imageUrl": "docker://evil.example/x"}
    (await near.call("PATCH", "/api/docker-images/tools", json=change)).expect(403)
    (await near.call("DELETE", "/api/docker-images/tools")).expect(403)
    await register(near, "mine", "debian:12")
    (await near.call("PATCH", "/api/docker-images/mine", json={"public": True})).expect(200)
    assert await image_of_step(admin, "acme", "mine") == "mine", "it is listed, and no more"
    assert await image_of_step(admin, "acme", "tools") == "debian:12"


async def test_who_changed_a_slug_is_in_the_audit_log(admin: Caller) -> None:
    await register(admin, "tools", "debian:12", public=False)
    change = {"slug": "new", "imageUrl": "debian:13"}
    (await admin.call("PATCH", "/api/docker-images/tools", json=change)).expect(200)
    (await admin.call("DELETE", "/api/docker-images/new")).expect(204)
    entries = (await admin.get("/api/audit-logs?limit=2")).json["auditLogs"]
    assert [(entry["action"], entry["details"]) for entry in entries] == [
        ("image.deleted", {"slug": "new", "imageUrl": "debian:13", "by": "admin"}),
        (
            "image.changed",
            {
                "slug": "tools",
                "newSlug": "new",
                "imageUrl": "debian:13",
                "public": False,
                "by": "admin",
            },
        ),
    ]
