"""The form by which somebody answers a step that asks for an approval: a real coordinator."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.async_api import Page, expect

from tests.integration.coordinator_fixture import new_work_tree, open_coordinator

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]

WORKFLOW = """
steps:
  - name: release
    approve: {message: Publish?, params: {channel: {oneOf: [beta, stable]}, note: {default: none}}}
  - {name: publish, image: base, dependsOn: [release], run: 'true'}
"""


async def test_a_gate_is_answered_by_its_form_which_only_those_have_who_may(
    page: Page, tmp_path: Path
) -> None:
    async with open_coordinator(tmp_path) as coordinator:
        admin = coordinator.admin
        tree = await new_work_tree(tmp_path, admin, await admin.new_project())
        await tree.commit({".pushrod.yml": WORKFLOW})
        await tree.push()
        [build] = (await admin.get("/api/projects/-/builds")).expect(200).json["builds"]
        developer = await admin.new_token(role="developer", account="default")
        form = page.get_by_role("form", name="Approval of release")
        for token in (developer.token, admin.token):
            await page.context.clear_cookies()
            await page.goto(f"{coordinator.url}/login?next=/builds/{build['id']}")
            await page.get_by_label("Access token").fill(token or "")
            await page.keyboard.press("Enter")
            await expect(page.locator(".build-state")).to_contain_text("waiting for approval")
            await expect(page.get_by_text("Publish?")).to_be_visible()
            await expect(form).to_have_count(1 if token == admin.token else 0)
        await form.get_by_label("channel").select_option("stable")
        await form.get_by_label("note").fill("hello")
        await form.get_by_role("button", name="Approve").click()
        await expect(page.get_by_text("approved by admin")).to_be_visible()
        await expect(form).to_have_count(0)
        found = await admin.build(build["id"])
        assert found["steps"][0]["outputs"] == {"channel": "stable", "note": "hello"}
        await page.goto("about:blank")
