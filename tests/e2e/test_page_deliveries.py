"""The page of deliveries, and the approval of a held build, against a real coordinator."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.async_api import Page, expect

from tests.integration.coordinator_fixture import open_coordinator
from tests.integration.forge_fixture import open_forge, push_payload, remote_project

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]

WORKFLOW = "on: [push, pullRequest]\nsteps: [{name: test, image: base, run: 'true'}]\n"
SETTINGS = {"allow_http_repositories": True, "allow_private_addresses": True}


async def test_deliveries_are_listed_redelivered_and_a_held_build_approved(
    page: Page, tmp_path: Path
) -> None:
    async with (
        open_coordinator(tmp_path, **SETTINGS) as coordinator,
        open_forge(tmp_path) as forge,
    ):
        repository = await forge.new_repository(tmp_path / "tree")
        project, hook = await remote_project(coordinator, repository.url)
        await page.goto(f"{coordinator.url}/login?next=/projects/{project['id']}")
        await page.get_by_label("Access token").fill(coordinator.admin.token or "")
        await page.keyboard.press("Enter")
        await expect(page.get_by_text(project["webhookUrl"])).to_be_visible()

        sha = await repository.push({".pushrod.yml": WORKFLOW}, ref="refs/pull/3/head")
        await hook.github("issues", {"repository": {"clone_url": repository.url}})
        await repository.tree.git("push", "-q", "origin", "HEAD:main")
        await hook.github("push", push_payload(repository.url, sha), delivery="of-the-push")
        await page.get_by_role("link", name="Deliveries").click()
        rows = page.locator("#deliveries li")
        await expect(rows).to_have_count(2)
        await expect(rows.nth(0)).to_contain_text("processed")
        await expect(rows.nth(1)).to_contain_text("events of type issues start no build")
        await rows.nth(0).get_by_role("button", name="Redeliver").click()
        await expect(rows.nth(0).get_by_role("link", name="#2")).to_be_visible()

        head = {"ref": "pears", "sha": sha, "repo": {"id": 2}}
        pull = {"head": head, "base": {"ref": "main", "repo": {"id": 1}}}
        told = await hook.github(
            "pull_request",
            {
                "action": "opened",
                "number": 3,
                "pull_request": pull,
                "repository": {"clone_url": repository.url},
            },
        )
        await page.goto(told.json["builds"][0]["url"])
        await expect(page.get_by_text("(from a fork)")).to_be_visible()
        await page.get_by_role("button", name="Approve").click()
        await expect(page.get_by_text("queued").first).to_be_visible()
        await expect(page.get_by_role("button", name="Approve")).to_be_hidden()
        await page.goto("about:blank")
