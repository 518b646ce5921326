"""Builds of many steps, on a desk and on a telephone: what one looks for is in sight."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Locator, Page, expect

from tests.e2e.fake_api import FakeApi, Log, serving
from tests.e2e.sample_builds import build, moment, project, sample, step

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]

DESK = {"width": 1440, "height": 900}
TELEPHONE = {"width": 390, "height": 844}
STEPS = 60
FAILED = 45


@dataclass
class Site:
    api: FakeApi
    url: str
    page: Page

    async def open(self, path: str, size: Any) -> None:
        await self.page.set_viewport_size(size)
        await self.page.goto(self.url + path)
        await expect(self.page.locator("[aria-busy]")).to_have_count(0)


@pytest_asyncio.fixture(loop_scope="module")
async def site(page: Page) -> AsyncIterator[Site]:
    api = sample()
    api.builds += [fanned_out("b-60", STEPS, FAILED), fanned_out("b-7", 7)]
    lines = b"".join(b"line %d\n" % n for n in range(300))
    api.logs |= {(f"s-{n}", 1): Log(lines + b"end of %d\n" % n, complete=True) for n in range(60)}
    async with serving(api) as url:
        yield Site(api=api, url=url, page=page)
        await page.goto("about:blank")


def fanned_out(id_: str, count: int, failed: int | None = None) -> dict[str, Any]:
    def one(number: int) -> dict[str, Any]:
        status = "FAILED" if number == failed else "SUCCESS"
        times = {"startedAt": moment(70), "finishedAt": moment(60)}
        depends_on = ["unit 0"] if number else []
        return step(f"s-{number}", f"unit {number}", status, dependsOn=depends_on, **times)

    state = "succeeded" if failed is None else "failed"
    steps = [one(number) for number in range(count)]
    return build(id_, count, state, startedAt=moment(70), finishedAt=moment(60), steps=steps)


def link(page: Page, name: str) -> Locator:
    return page.locator(".step-link", has=page.get_by_text(name, exact=True))


async def in_sight(element: Locator) -> bool:
    """Whether its middle is what one sees at that place, in the window and in what scrolls."""
    return bool(
        await element.evaluate(
            """(element) => {
              const { left, top, width, height } = element.getBoundingClientRect();
              const seen = document.elementFromPoint(left + width / 2, top + height / 2);
              return seen !== null && (element.contains(seen) || seen.contains(element));
            }"""
        )
    )


@pytest.mark.parametrize("path", ["/builds/b-60", "/builds/b-7", "/builds/b-1"])
async def test_a_desks_build_page_ends_where_the_window_ends(site: Site, path: str) -> None:
    await site.open(path, DESK)
    await expect(site.page.get_by_role("log")).to_be_visible()
    assert await site.page.evaluate("document.documentElement.scrollHeight") == DESK["height"]


@pytest.mark.parametrize("path", ["/", "/projects/p-1", "/builds/b-60", "/builds/b-7"])
@pytest.mark.parametrize("size", [DESK, TELEPHONE])
async def test_no_page_goes_on_below_its_content(site: Site, path: str, size: Any) -> None:
    await site.open(path, size)
    below = await site.page.evaluate(
        "document.documentElement.scrollHeight - Math.max(innerHeight, document.body.offsetHeight)"
    )
    assert below <= 0


@pytest.mark.parametrize("size", [DESK, TELEPHONE])
async def test_the_failed_step_and_its_log_are_in_sight_at_once(site: Site, size: Any) -> None:
    await site.open("/builds/b-60", size)
    await expect(site.page.get_by_role("log")).to_contain_text(f"end of {FAILED}")
    await expect(site.page.locator("#step-counts")).to_have_text("59 succeeded, 1 failed")
    assert await in_sight(link(site.page, f"unit {FAILED}"))
    top = await site.page.get_by_role("log").evaluate("(log) => log.getBoundingClientRect().top")
    assert top < size["height"] - 60


@pytest.mark.parametrize("size", [DESK, TELEPHONE])
async def test_a_chosen_step_is_in_sight_in_either_order(site: Site, size: Any) -> None:
    await site.open("/builds/b-60#step=unit+50", size)
    await expect(site.page.get_by_role("log")).to_contain_text("end of 50")
    assert await in_sight(link(site.page, "unit 50"))
    order = site.page.get_by_role("button", name="Failed first")
    await expect(order).to_have_attribute("aria-pressed", "true")
    await expect(site.page.locator(".step-name").first).to_have_text(f"unit {FAILED}")
    await order.focus()
    await site.page.keyboard.press("Enter")
    await expect(order).to_have_attribute("aria-pressed", "false")
    await expect(site.page.locator(".step-name").first).to_have_text("unit 0")
    assert await in_sight(link(site.page, "unit 50"))
    await site.page.reload()
    await expect(site.page.locator(".step-name").first).to_have_text("unit 0")


async def test_on_a_telephone_choosing_a_step_brings_its_log_into_sight(site: Site) -> None:
    await site.open("/builds/b-60", TELEPHONE)
    await link(site.page, "unit 2").click()
    await expect(site.page.get_by_role("log")).to_contain_text("end of 2")
    box = await site.page.get_by_role("log").bounding_box()
    assert box is not None
    assert box["y"] + box["height"] <= TELEPHONE["height"] + 1
    assert box["height"] > TELEPHONE["height"] / 2


@pytest.mark.parametrize("width", [390, 768])
async def test_a_short_list_of_steps_leaves_no_gap_above_the_log(site: Site, width: int) -> None:
    await site.open("/builds/b-1#step=lint", {"width": width, "height": 844})
    await expect(site.page.get_by_role("log")).to_contain_text("all good")
    gap = await site.page.evaluate(
        """document.querySelector("#step").getBoundingClientRect().top
           - document.querySelector("#steps").lastElementChild.getBoundingClientRect().bottom"""
    )
    assert 0 <= gap < 40


@pytest.mark.parametrize("width", [390, 768, 1440])
async def test_a_long_project_name_leaves_number_and_title_in_sight(site: Site, width: int) -> None:
    site.api.projects[0] = project("p-1", "a-project-with-a-name-" + "as-long-as-can-be-" * 8)
    await site.open("/", {"width": width, "height": 844})
    row = site.page.locator(".build-row", has_text="#12")
    title = row.locator(".title")
    for part in (row.locator(".number"), title):
        assert await right_edge(part) <= width
    assert await title.evaluate("(title) => title.offsetWidth") > 100
    await site.open("/builds/b-1", {"width": width, "height": 844})
    crumb = site.page.locator("#crumbs [aria-current]")
    assert await right_edge(crumb) <= width
    assert await in_sight(crumb)


async def right_edge(element: Locator) -> float:
    return float(await element.evaluate("(element) => element.getBoundingClientRect().right"))


async def test_a_cancelled_build_leaves_the_log_that_is_read(site: Site) -> None:
    running = next(one for one in site.api.builds if one["id"] == "b-1")
    await site.open("/builds/b-1", DESK)
    await expect(site.page.get_by_role("log")).to_contain_text("100% downloaded")
    for name in ("image", "test", "report"):
        later = {"startedAt": moment(1), "attempt": 1} if name == "image" else {}
        await site.api.update_step(running, name, status="CANCELLED", finishedAt=moment(0), **later)
    await site.api.update_build(running, state="cancelled", finishedAt=moment(0))
    await expect(site.page.locator(".build-state")).to_contain_text("cancelled")
    await expect(site.page.locator("#step h2")).to_have_text("test")
    await expect(site.page.get_by_role("log")).to_contain_text("100% downloaded")


async def test_each_state_of_a_step_has_its_symbol_in_sight(site: Site) -> None:
    states = ("BLOCKED", "READY", "RUNNING", "SUCCESS", "FAILED", "CANCELLED", "SKIPPED")
    steps = [step(f"x-{state}", state.lower(), state) for state in states]
    site.api.builds.append(build("b-states", 8, "running", steps=steps))
    await site.open("/builds/b-states", DESK)
    for state in states:
        assert await in_sight(link(site.page, state.lower()).locator(".symbol")), state


async def test_a_matrix_is_grouped_with_its_counts(site: Site) -> None:
    of_matrix = fanned_out("b-matrix", 7, 2)
    for one in of_matrix["steps"][1:4]:
        one["matrixOf"] = "unit"
    site.api.builds.append(of_matrix)
    await site.open("/builds/b-matrix", DESK)
    group = site.page.locator(".step-group")
    await expect(group).to_have_text("unit2 succeeded, 1 failed")
    await expect(site.page.locator("#steps .of-group")).to_have_count(3)
    await expect(site.page.locator("#steps .step-link")).to_have_count(7)
