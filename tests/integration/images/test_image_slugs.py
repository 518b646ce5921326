"""Which image a step runs in, where several accounts register slugs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.integration.coordinator_fixture import Caller, open_coordinator, step_of


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
