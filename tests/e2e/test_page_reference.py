"""The API reference: drawn from the served OpenAPI document, by nobody's CDN, for anybody."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.async_api import Page, expect

from tests.integration.coordinator_fixture import open_coordinator

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]


async def test_every_operation_of_the_document_is_shown(page: Page, tmp_path: Path) -> None:
    async with open_coordinator(tmp_path) as coordinator:
        document = (await coordinator.nobody.get("/api/openapi.json")).expect(200).json
        count = sum(len(methods) for methods in document["paths"].values())
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        await page.goto(f"{coordinator.url}/api/docs")
        await expect(page.locator(".operation")).to_have_count(count)
        assert all(url.startswith(coordinator.url) for url in asked)

        call = page.locator("#build_server_create_build")
        await call.locator("summary").click()
        await expect(call).to_contain_text("workflowId string, at least 1 characters")
        await expect(call).to_contain_text("Project or workflow not found")
        await expect(call.locator("pre")).to_contain_text('-d \'{"workflowId":"…"}\'')

        await page.goto(f"{coordinator.url}/api/docs#tokens_create_token")
        await expect(page.locator("#tokens_create_token")).to_contain_text("expiresInDays")
