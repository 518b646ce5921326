"""What the page shows of tests, coverage and summaries; all of it are outsiders' words."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.async_api import Page, expect

from tests.e2e.fake_api import FakeApi, serving
from tests.e2e.sample_builds import build, sample, step

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]


def sample_results(api: FakeApi) -> None:
    """A failed build of two steps that have reported."""
    api.builds.append(
        build(
            "b-r",
            42,
            "failed",
            reason="step unit failed: 3 of 1,204 tests failed: test_total, test_cart, test_tax",
            steps=[
                step("s-u", "unit", "FAILED", reports=True, reason="3 of 1,204 tests failed"),
                step("s-c", "cover", "SUCCESS", reports=True),
            ],
        )
    )
    api.results = [
        {
            "step": "unit",
            "stepId": "s-u",
            "tests": {"tests": 1204, "failed": 3, "skipped": 12, "seconds": 34.25},
            "newlyFailing": 2,
            "comparedWith": 41,
            "flaky": 1,
            "warnings": [],
        },
        {
            "step": "cover",
            "stepId": "s-c",
            "coverage": {
                "percent": 83.21,
                "lines": 12000,
                "linesCovered": 9985,
                "branches": 0,
                "branchesCovered": 0,
                "change": -1.5,
                "comparedWith": 40,
            },
            "summary": SUMMARY,
            "warnings": [],
        },
    ]
    api.tests = [
        failed_test("test_total", newlyFailing=True),
        failed_test("test_cart[<b>x</b>]", flaky=True),
        failed_test("test_tax" + "_of_a_very_long_name" * 6, newlyFailing=True),
    ]


def failed_test(name: str, **more: Any) -> dict[str, Any]:
    details = (
        f"def {name}():\n>       assert total([1, 2]) == 4\nE       assert 3 == 4\n\n"
        "tests/test_shop.py:7: AssertionError"
    )
    return {
        "step": "unit",
        "suite": "tests.test_shop",
        "name": name,
        "result": "failed",
        "seconds": 0.5,
        "flaky": False,
        "newlyFailing": False,
        "message": "assert 3 == 4",
        "details": details,
        "file": "tests/test_shop.py",
        "line": 7,
    } | more


def node(tag: str, *children: Any, **more: str) -> dict[str, Any]:
    return {"tag": tag, "children": list(children), **more}


SUMMARY = [
    node("h1", "Sizes"),
    node(
        "table",
        node("thead", node("tr", node("th", "file"), node("th", "KiB", align="right"))),
        node(
            "tbody",
            node("tr", node("td", "shop.js"), node("td", node("strong", "128"), align="right")),
        ),
    ),
    node("p", "See ", node("a", "the docs", href="https://example.org/docs"), "."),
    node("p", "<script>window.hacked = 1</script>"),
    node("script", "window.hacked = 1"),
    node("a", "click", href="javascript:window.hacked = 1"),
    node("iframe", "text", src="https://example.org"),
]


async def test_failed_tests_coverage_and_summary_stand_above_the_steps(page: Page) -> None:
    api = sample()
    sample_results(api)
    async with serving(api) as url:
        await page.goto(f"{url}/builds/b-r")
        results = page.get_by_role("region", name="Results")
        await expect(results).to_contain_text("3 of 1,204 failed")
        await expect(results).to_contain_text("2 newly since #41 · 1 flaky · 12 skipped · 34.3 s")
        tests = results.locator(".failed-tests > li")
        await expect(tests).to_have_count(3)
        await expect(tests.nth(0)).to_contain_text("assert total([1, 2]) == 4")
        await expect(tests.nth(0)).to_contain_text("tests/test_shop.py:7")
        await expect(tests.nth(1)).to_contain_text("test_cart[<b>x</b>]")
        await expect(tests.nth(1).locator("pre")).to_be_hidden()
        await tests.nth(1).locator("summary").click()
        await expect(tests.nth(1).locator("pre")).to_be_visible()
        await expect(results).to_contain_text("83.21 % 9,985 of 12,000 lines · −1.50 against #40")
        await results.get_by_role("link", name="cover").last.click()
        await expect(page.locator("#step h2")).to_have_text("cover")
        await page.goto("about:blank")


async def test_a_summary_is_elements_of_ours_and_never_runs(page: Page) -> None:
    api = sample()
    sample_results(api)
    async with serving(api) as url:
        await page.goto(f"{url}/builds/b-r")
        summary = page.get_by_role("article", name="Summary of cover")
        await expect(summary.get_by_role("heading", name="Sizes")).to_be_visible()
        await expect(summary.get_by_role("cell", name="128")).to_be_visible()
        link = summary.get_by_role("link", name="the docs")
        await expect(link).to_have_attribute("rel", "noopener noreferrer nofollow")
        await expect(summary).to_contain_text("<script>window.hacked = 1</script>")
        await expect(summary.locator("script, iframe, [src]")).to_have_count(0)
        await expect(summary.locator("a")).to_have_count(1)
        assert await page.evaluate("window.hacked") is None
        await page.goto("about:blank")


async def test_a_build_whose_steps_report_nothing_has_no_results(page: Page) -> None:
    api = sample()
    async with serving(api) as url:
        await page.goto(f"{url}/builds/b-1")
        await expect(page.locator("#step h2")).to_have_text("test")
        await expect(page.locator("#results")).to_be_hidden()
        assert not [path for path in api.requests if path.endswith("/results")]
        await page.goto("about:blank")


async def test_results_fit_a_phone(page: Page) -> None:
    api = sample()
    sample_results(api)
    await page.set_viewport_size({"width": 390, "height": 844})
    async with serving(api) as url:
        await page.goto(f"{url}/builds/b-r")
        await expect(page.locator(".failed-tests > li")).to_have_count(3)
        width = await page.evaluate("document.documentElement.scrollWidth")
        assert width <= 390
        await page.goto("about:blank")


async def test_a_step_with_inputs_says_what_it_was_taken_from_or_what_differed(page: Page) -> None:
    api = sample()
    api.builds.append(
        build(
            "b-w",
            43,
            "succeeded",
            steps=[
                step("s-l", "lint", "SUCCESS", inputs=True, reason="cached from #12"),
                step("s-t", "test", "SUCCESS", inputs=True),
                step("s-o", "old", "SUCCESS", inputs=True),
                step("s-n", "notes", "SUCCESS"),
            ],
        )
    )
    api.whys = {
        "s-l": {"says": "it was not run", "takenFrom": 12, "otherBuildId": "b-12"},
        "s-t": {
            "says": "it ran, for it differs from #12",
            "comparedWith": 12,
            "otherBuildId": "b-12",
            "differences": ["src/<b>a</b> changed", "image digest changed"],
        },
        "s-o": {"says": "it was not run: its result is that of #3", "takenFrom": 3},
    }
    async with serving(api) as url:
        why = page.locator("#step .why")
        await page.goto(f"{url}/builds/b-w#step=lint")
        await expect(why).to_have_text(
            "Not run: its result is that of #12, which had equal inputs."
        )
        link = why.get_by_role("link", name="#12")
        await expect(link).to_have_attribute("href", "/builds/b-12#step=lint")
        await page.goto(f"{url}/builds/b-w#step=test")
        await expect(why).to_contain_text("It ran, for it differs from #12")
        await expect(why.get_by_role("listitem")).to_have_text(
            ["src/<b>a</b> changed", "image digest changed"]
        )
        await page.goto(f"{url}/builds/b-w#step=old")
        await expect(why).to_contain_text("its result is that of #3")
        await expect(why.get_by_role("link")).to_have_count(0)
        await page.goto(f"{url}/builds/b-w#step=notes")
        await expect(page.locator("#step h2")).to_have_text("notes")
        await expect(why).to_be_empty()
        assert not [path for path in api.requests if path.startswith("/api/steps/s-n/why")]
        await page.goto("about:blank")
