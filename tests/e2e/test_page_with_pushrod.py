"""The page over the real coordinator, with a real build of a real push on the host engine."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Page, expect

from tests.e2e.processes import Pushrod, Repository, running

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]


@pytest.fixture(scope="module")
def pushrod(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pushrod]:
    with running(tmp_path_factory.mktemp("pushrod"), "host") as pushrod:
        yield pushrod


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository.create(tmp_path / "repository")


@pytest.fixture
def gate() -> Iterator[Path]:
    """A file to be made by the test; a step, which may be another user's, waits for it."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder) / "open"


async def sign_in(page: Page, pushrod: Pushrod, path: str) -> None:
    await page.goto(pushrod.api.url + path)
    await page.get_by_label("Access token").fill(pushrod.api.token)
    await page.keyboard.press("Enter")
    await page.wait_for_url(pushrod.api.url + path)


def workflow(*steps: str) -> str:
    return "\n".join(["name: ci", "steps:", *(f"  - {{image: any, {step}}}" for step in steps)])


async def test_a_push_appears_on_its_project_and_its_log_runs_live_to_the_end(
    page: Page, pushrod: Pushrod, repository: Repository, gate: Path
) -> None:
    project = pushrod.create_project("live")
    await sign_in(page, pushrod, f"/projects/{project['id']}")
    await expect(page.locator("#project")).to_contain_text(project["pushUrl"])
    script = f"echo begun; until test -e {gate}; do sleep 0.05; done; echo grüße | tee out.txt"
    steps = [
        f'name: wait, run: "{script}", outputPaths: [out.txt]',
        "name: after, dependsOn: [wait], run: echo last",
    ]
    pushrod.push_workflow(repository, project, workflow(*steps))
    await page.locator(".build-row").click()
    log = page.get_by_role("log")
    await expect(log).to_contain_text("begun")
    await expect(page.locator(".build-state")).to_contain_text("running")
    await expect(log).not_to_contain_text("grüße")
    gate.touch()
    await expect(page.locator(".build-state")).to_contain_text("succeeded")
    await expect(log).to_contain_text("last")
    await page.locator(".step-link", has_text="wait").first.click()
    await expect(log).to_contain_text("grüße")
    assert await artifact(page, "out.txt") == "grüße\n"


async def artifact(page: Page, name: str) -> str:
    async with page.expect_download() as download:
        await page.get_by_role("link", name=name).click()
    return Path(await (await download.value).path()).read_text()


async def test_cancel_ends_a_running_build_and_retry_starts_it_again(
    page: Page, pushrod: Pushrod, repository: Repository
) -> None:
    project = pushrod.create_project("cancel")
    text = workflow('name: long, run: "echo begun; sleep 600"')
    build: dict[str, Any] = pushrod.push_workflow(repository, project, text)
    await sign_in(page, pushrod, f"/builds/{build['id']}")
    await expect(page.get_by_role("log")).to_contain_text("begun")
    await page.get_by_role("button", name="Cancel").click()
    await expect(page.locator(".build-state")).to_contain_text("cancelled")
    await page.get_by_role("button", name="Retry").click()
    await expect(page.get_by_role("heading", level=1)).to_contain_text("#2")
    await expect(page.get_by_role("log")).to_contain_text("begun")
    await page.get_by_role("button", name="Cancel").click()
    await expect(page.locator(".build-state")).to_contain_text("cancelled")


async def test_a_workflow_with_a_mistake_shows_where_it_is(
    page: Page, pushrod: Pushrod, repository: Repository
) -> None:
    project = pushrod.create_project("mistake")
    text = workflow("name: test, run: echo, dependOn: [lint]")
    build = pushrod.push_workflow(repository, project, text)
    await sign_in(page, pushrod, f"/builds/{build['id']}")
    await expect(page.locator(".build-state")).to_contain_text("failed")
    await expect(page.locator("#problems")).to_contain_text(".pushrod.yml:3:")
    await expect(page.locator("#problems")).to_contain_text("dependsOn")


async def test_a_wrong_token_is_refused_and_signing_out_ends_the_session(
    page: Page, pushrod: Pushrod
) -> None:
    await page.goto(pushrod.api.url + "/login")
    await page.get_by_label("Access token").fill("wrong")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("alert")).to_contain_text("not valid")
    await sign_in(page, pushrod, "/")
    await page.get_by_role("button", name="Sign out").click()
    await expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    await page.goto(pushrod.api.url + "/")
    await expect(page.get_by_role("heading", name="Sign in")).to_be_visible()


async def test_the_page_finds_a_restarted_coordinator_again(
    page: Page, pushrod: Pushrod, repository: Repository, gate: Path
) -> None:
    project = pushrod.create_project("restart")
    script = f"echo begun; until test -e {gate}; do sleep 0.05; done; echo ended"
    build = pushrod.push_workflow(repository, project, workflow(f'name: wait, run: "{script}"'))
    await sign_in(page, pushrod, f"/builds/{build['id']}")
    await expect(page.get_by_role("log")).to_contain_text("begun")
    pushrod.coordinator.kill()
    await expect(page.locator("#connection")).to_contain_text("Trying again")
    gate.touch()
    pushrod.restart_coordinator()
    await expect(page.get_by_role("log")).to_contain_text("ended", timeout=30_000)
    await expect(page.locator(".build-state")).to_contain_text("succeeded", timeout=30_000)
    await expect(page.locator("#connection")).to_be_empty()
    lines = await page.locator(".lines").evaluate("(lines) => lines.textContent")
    assert lines == "begun\nended\n"
