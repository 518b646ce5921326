"""A step that waits between two attempts, as its page and the command line show it."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.async_api import Page, expect

from pushrod.presentation import step_summary
from tests.integration.coordinator_fixture import new_work_tree, open_coordinator

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]

WORKFLOW = "steps: [{name: a, image: base, run: c, retries: {max: 1, delay: 90s}}]"


async def test_what_is_left_of_a_delay_is_shown_and_goes_on(page: Page, tmp_path: Path) -> None:
    async with open_coordinator(tmp_path, poll_hold_seconds=1) as coordinator:
        admin = coordinator.admin
        tree = await new_work_tree(tmp_path, admin, await admin.new_project())
        await tree.commit({".pushrod.yml": WORKFLOW})
        await tree.push()
        agent = await admin.new_agent()
        (await agent.complete(await agent.take(), status="failed", exitCode=75)).expect(200)
        [build] = (await admin.get("/api/projects/-/builds")).expect(200).json["builds"]
        [step] = (await admin.build(build["id"]))["steps"]
        assert step_summary(step).startswith("blocked (tried again in ")
        await page.context.clear_cookies()
        await page.goto(f"{coordinator.url}/login?next=/builds/{build['id']}")
        await page.get_by_label("Access token").fill(admin.token or "")
        await page.keyboard.press("Enter")
        notice = page.get_by_text("Tried again in")
        await expect(notice).to_be_visible()
        await expect(page.get_by_text("exit code 75")).to_be_visible()
        first = await notice.inner_text()
        await expect(notice).not_to_have_text(first)
        await page.goto("about:blank")
