"""What the page shows of people: who may do what, who started a build, and with what."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Page, expect

from tests.e2e.fake_api import FakeApi, serving
from tests.e2e.sample_builds import build, moment, project, sample, step

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]


@dataclass
class Site:
    api: FakeApi
    url: str
    page: Page

    async def open(self, path: str) -> None:
        await self.page.goto(self.url + path)
        await expect(self.page.locator("[aria-busy]")).to_have_count(0)


@pytest_asyncio.fixture(loop_scope="module")
async def site(page: Page) -> AsyncIterator[Site]:
    api = sample()
    api.builds.append(build("b-held", 20, "held", steps=[step("s", "test", "BLOCKED")]))
    async with serving(api) as url:
        yield Site(api=api, url=url, page=page)
        await page.goto("about:blank")


def member(rights: list[str]) -> dict[str, Any]:
    """Of the account that the sample's projects are in, and of another as a maintainer."""
    return {
        "name": "ada",
        "rights": [],
        "accounts": [
            {"id": "a-1", "slug": "default", "rights": rights},
            {"id": "a-2", "slug": "acme", "rights": ["build", "manage", "read"]},
        ],
    }


@pytest.mark.parametrize(
    ("rights", "buttons"),
    [
        (["read"], {"b-1": [], "b-ok": [], "b-held": []}),
        (
            ["build", "read"],
            {"b-1": ["Cancel", "Pin"], "b-ok": ["Pin", "Retry"], "b-held": ["Cancel", "Pin"]},
        ),
        (
            ["build", "manage", "read"],
            {
                "b-1": ["Cancel", "Pin"],
                "b-ok": ["Pin", "Retry"],
                "b-held": ["Cancel", "Approve", "Pin"],
            },
        ),
    ],
)
@pytest.mark.parametrize("of_several", [False, True])
async def test_buttons_are_for_those_who_may(
    site: Site, rights: list[str], buttons: dict[str, list[str]], of_several: bool
) -> None:
    site.api.person = member(rights) if of_several else {"name": "ada", "rights": rights}
    for build_id, expected in buttons.items():
        await site.open(f"/builds/{build_id}")
        await expect(site.page.locator(".actions button:visible")).to_have_text(expected)


async def test_a_user_of_several_accounts_sees_the_projects_of_all(site: Site) -> None:
    site.api.person = member(["read"])
    site.api.projects[1] |= {"accountId": "a-2", "account": "acme"}
    await site.open("/")
    titles = site.page.locator(".card-title")
    await expect(titles).to_have_text(["acme / website", "default / compiler", "default / hello"])
    await expect(site.page.locator(".build-row", has_text="website")).to_have_count(2)
    await expect(site.page.locator(".build-row", has_text="hello")).to_have_count(4)


async def test_a_build_shows_who_started_it_with_which_parameters_and_of_which_tag(
    site: Site,
) -> None:
    steps = [step("s", "test", "SUCCESS", startedAt=moment(9), agent={"id": "a", "name": "<b>one"})]
    params = {"VERSION": "1.2.3", "NOTE": "<b>bold</b> \u202egnp"}
    site.api.builds.append(
        build(
            "b-manual",
            30,
            "succeeded",
            event="manual",
            startedBy="ada@example.org",
            params=params,
            tag="v1.2.3",
            branch=None,
            steps=steps,
        )
    )
    await site.open("/builds/b-manual")
    facts = site.page.locator(".facts")
    await expect(facts).to_contain_text("Started byada@example.org (manual)")
    await expect(facts).to_contain_text("Tagv1.2.3")
    await expect(facts).to_contain_text("Parameter VERSION1.2.3")
    await expect(facts).to_contain_text("Parameter NOTE<b>bold</b>")
    await expect(site.page.locator(".step-state")).to_contain_text("on <b>one")
    await site.open("/")
    await expect(site.page.locator(".build-row", has_text="#30")).to_contain_text("v1.2.3")


async def test_a_build_links_to_the_one_that_started_it(site: Site) -> None:
    upstream = {
        "project": "<b>lib",
        "workflow": "ci",
        "buildId": "b-1",
        "buildNumber": 12,
        "url": "http://elsewhere.example/builds/b-1",
    }
    site.api.builds.append(build("b-after", 31, "succeeded", event="build", upstream=upstream))
    await site.open("/builds/b-after")
    facts = site.page.locator(".facts")
    await expect(facts).to_contain_text("Started by<b>lib #12 (ci)")
    await facts.get_by_role("link", name="<b>lib #12").click()
    await site.page.wait_for_url("**/builds/b-1")


async def test_a_build_of_a_server_that_tells_less_shows_less(site: Site) -> None:
    site.api.projects.append(project("p-9", "plain"))
    await site.open("/builds/b-1")
    await expect(site.page.locator(".facts")).to_contain_text("Started bypush")
    await expect(site.page.locator(".facts")).not_to_contain_text("Parameter")
    await expect(site.page.locator(".agent")).to_have_count(0)
