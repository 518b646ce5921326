"""Logs in the browser: long ones, fast ones, and the reader's place in them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Page, expect

from tests.e2e.fake_api import FakeApi, Log, serving
from tests.e2e.sample_builds import sample

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]

LINE = "%08d the quick brown fox jumps over the lazy dog, and then does it again and again\n"
LINES = 240_000
LONG = "".join(LINE % number for number in range(LINES)).encode()

WATCH_LONG_TASKS = """
  window.longest = 0;
  new PerformanceObserver((list) => {
    for (const task of list.getEntries()) window.longest = Math.max(window.longest, task.duration);
  }).observe({ entryTypes: ["longtask"] });
"""


@pytest_asyncio.fixture(loop_scope="module")
async def api(page: Page) -> AsyncIterator[FakeApi]:
    api = sample()
    api.logs["s-test", 2] = Log()
    async with serving(api) as url:
        await page.goto(url + "/login")
        yield api
        await page.goto("about:blank")


async def open_build(page: Page) -> None:
    await page.goto(page.url.replace("/login", "/builds/b-1"))


def log(page: Page) -> Any:
    return page.get_by_role("log")


async def shown_lines(page: Page) -> list[str]:
    text: str = await page.locator(".lines").evaluate("(lines) => lines.textContent")
    return text.splitlines()


async def test_a_log_of_20_mb_shows_its_end_at_once_without_freezing_the_page(
    page: Page, api: FakeApi
) -> None:
    assert len(LONG) > 20_000_000
    api.logs["s-test", 2] = Log(LONG, complete=True)
    await page.add_init_script(WATCH_LONG_TASKS)
    await open_build(page)
    await expect(log(page)).to_contain_text(f"{LINES - 1:08d} the quick")
    await settled(page)
    lines = await shown_lines(page)
    assert [int(line[:8]) for line in lines] == list(range(LINES - len(lines), LINES))
    assert len(lines) > 19_000
    assert await page.locator(".log").evaluate(AT_END)
    assert await page.evaluate("window.longest") < 400


CONTAINS = "(text) => document.querySelector('.lines')?.textContent.includes(text)"
AT_END = "(log) => log && log.scrollHeight - log.scrollTop - log.clientHeight < 4"


async def test_a_long_log_can_be_read_from_its_start_and_no_line_is_lost_between_parts(
    page: Page, api: FakeApi
) -> None:
    api.logs["s-test", 2] = Log(LONG[:5_000_000], complete=True)
    await open_build(page)
    await page.get_by_role("button", name="From the start").click()
    read: list[str] = []
    for part in (1, 2, 3):
        await expect(page.locator(".log-notice")).to_contain_text(f"Part {part} of 3")
        await expect(log(page)).to_contain_text("the quick brown fox")
        await expect(page.locator(".block").first).to_be_attached()
        await settled(page)
        read += await shown_lines(page)
        if part < 3:
            await page.get_by_role("button", name="Later").click()
    assert "\n".join(read) == LONG[:5_000_000].decode().rstrip("\n")
    await page.get_by_role("button", name="To the end").click()
    await expect(page.get_by_role("button", name="From the start")).to_be_visible()


async def settled(page: Page) -> None:
    """Until the log is drawn: its length stays the same for some frames."""
    await page.evaluate(
        """async () => {
          const length = () => document.querySelector(".lines")?.textContent.length ?? NaN;
          const frame = () => new Promise(requestAnimationFrame);
          for (let same = 0, before = -1; same < 10; await frame()) {
            same = length() === before ? same + 1 : 0;
            before = length();
          }
        }"""
    )


async def test_the_whole_log_can_be_downloaded_to_the_byte(page: Page, api: FakeApi) -> None:
    api.logs["s-test", 2] = Log(LONG, complete=True)
    await open_build(page)
    async with page.expect_download() as download:
        await page.get_by_role("button", name="Download").click()
    path = await (await download.value).path()
    assert Path(path).read_bytes() == LONG
    assert (await download.value).suggested_filename == "test-2.log"


async def test_a_log_that_grows_for_long_keeps_its_newest_lines(page: Page, api: FakeApi) -> None:
    await open_build(page)
    for start in range(0, 50_000, 5_000):
        text = "".join(LINE % number for number in range(start, start + 5_000))
        await api.append_log("s-test", 2, text.encode())
        await page.wait_for_function(CONTAINS, arg=f"{start + 4_999:08d} the quick")
    await settled(page)
    lines = await shown_lines(page)
    assert 20_000 <= len(lines) <= 20_200
    assert lines[-1].startswith("00049999")
    await expect(page.get_by_role("button", name="From the start")).to_be_visible()


async def test_the_end_is_followed_until_the_reader_scrolls_up(page: Page, api: FakeApi) -> None:
    api.logs["s-test", 2] = Log(LONG[:200_000])
    await open_build(page)
    await expect(log(page)).to_contain_text("00002000 the quick")
    await page.wait_for_function(f"() => ({AT_END})(document.querySelector('.log'))")
    await api.append_log("s-test", 2, b"\nmore\n" * 50)
    await expect(log(page)).to_contain_text("more")
    await page.wait_for_function(f"() => ({AT_END})(document.querySelector('.log'))")
    await log(page).hover()
    await page.mouse.wheel(0, -700)
    to_end = page.get_by_role("button", name="To the end")
    await expect(to_end).to_be_visible()
    place = await log(page).evaluate("(log) => log.scrollTop")
    await api.append_log("s-test", 2, b"still more\n" * 50)
    await expect(log(page)).to_contain_text("still more")
    assert await log(page).evaluate("(log) => log.scrollTop") == pytest.approx(place, abs=2)
    await to_end.click()
    await page.wait_for_function(f"() => ({AT_END})(document.querySelector('.log'))")
    await expect(to_end).to_be_hidden()


async def test_a_line_without_an_end_is_shown_whole(page: Page, api: FakeApi) -> None:
    api.logs["s-test", 2] = Log(("🚀" * 30_000 + "\x1b[31mred").encode(), complete=True)
    await open_build(page)
    await expect(page.locator(".partial .fg1")).to_have_text("red")
    await settled(page)
    assert "".join(await shown_lines(page)) == "🚀" * 30_000 + "red"


async def test_a_link_in_a_log_says_where_it_leads_and_nothing_of_where_it_came_from(
    page: Page, api: FakeApi
) -> None:
    text = (
        b"\x1b[9mold\x1b[0m \x1b]8;;https://evil.example/\x1b\\https://good.example/\x1b]8;;\x1b\\\n"
        b"<img src=x onerror=alert(1)> at https://plain.example/?a=<b>&c\n"
        b"\x1b]8;;javascript:alert(1)\x07click\x1b]8;;\x07\n"
    )
    api.logs["s-test", 2] = Log(text, complete=True)
    await open_build(page)
    links = log(page).get_by_role("link")
    await expect(links).to_have_count(2)
    told = await links.evaluate_all(
        "(links) => links.map((one) => [one.textContent, one.href, one.title, one.rel])"
    )
    nothing = "noopener noreferrer nofollow"
    assert told == [
        ["https://good.example/", "https://evil.example/", "https://evil.example/", nothing],
        ["https://plain.example/?a=", "https://plain.example/?a=", "", nothing],
    ]
    decoration = "(one) => getComputedStyle(one).textDecorationLine"
    assert await log(page).locator(".strike").evaluate(decoration) == "line-through"
    shown = ["old https://good.example/", "<img src=x onerror=alert(1)> at "]
    lines = await shown_lines(page)
    assert lines[0] == shown[0]
    assert lines[1].startswith(shown[1])
    assert lines[2] == "click"


async def test_an_empty_log_is_no_error(page: Page, api: FakeApi) -> None:
    api.logs["s-test", 2] = Log(complete=True)
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    await open_build(page)
    await expect(page.locator(".log-notice")).to_have_text("0 B")
    await expect(page.locator("#connection")).to_be_empty()
    assert said == []


FIRST_DRAWN = """
  window.drawn = [];
  const look = () => {
    const log = document.querySelector(".log");
    const lines = log?.querySelector(".lines").textContent;
    if (lines) {
      const shown = log.querySelectorAll(".block:not(:empty)").length;
      window.drawn.push({ end: lines.trimEnd().split("\\n").at(-1).slice(0, 8), shown });
    }
    if (window.drawn.length < 3) requestAnimationFrame(look);
  };
  requestAnimationFrame(look);
"""


async def test_the_last_screen_of_a_long_log_is_drawn_before_what_is_above_it(
    page: Page, api: FakeApi
) -> None:
    api.logs["s-test", 2] = Log(LONG, complete=True)
    await page.add_init_script(FIRST_DRAWN)
    await open_build(page)
    await page.wait_for_function("() => window.drawn.length === 3")
    first = (await page.evaluate("window.drawn"))[0]
    assert first["end"] == f"{LINES - 1:08d}"
    assert first["shown"] < 100  # of the hundred blocks that are drawn in the end
    assert await page.locator(".log").evaluate(AT_END)


HELD_BACK = """
  const frame = window.requestAnimationFrame.bind(window);
  window.waiting = [];
  window.slow = false;
  window.requestAnimationFrame = (call) =>
    frame((time) => (window.slow ? window.waiting.push(call) : call(time)));
  window.goOn = () => { window.slow = false; window.waiting.splice(0).forEach((call) => call(0)); };
  new MutationObserver(() => {
    if (!window.seen && document.querySelector(".block:not(:empty)")) {
      window.seen = true;
      window.slow = true;
    }
  }).observe(document, { childList: true, subtree: true });
"""
TOP_LINE = """() => {
  const { left, top } = document.querySelector(".log").getBoundingClientRect();
  const { startContainer, startOffset } = document.caretRangeFromPoint(left + 40, top + 40);
  const text = startContainer.textContent;
  const from = text.lastIndexOf("\\n", startOffset - 1) + 1;
  return text.slice(from, from + 8);
}"""


async def test_what_is_read_stays_in_its_place_while_older_lines_are_drawn_above(
    page: Page, api: FakeApi
) -> None:
    wide = "".join(f"{n:08d} {'wide ' * 60}\n" for n in range(20_000)).encode()
    api.logs["s-test", 2] = Log(wide[-1_900_000:], complete=True)
    await page.add_init_script(HELD_BACK)
    await open_build(page)
    # By the clock: by default it is asked in animation frames, which are held back here.
    await page.wait_for_function("() => window.seen && window.waiting.length > 0", polling=50)
    await log(page).hover()
    await page.mouse.wheel(0, -400)
    await expect(page.get_by_role("button", name="To the end")).to_be_visible()
    before = await page.evaluate(TOP_LINE)
    height = await log(page).evaluate("(log) => log.scrollHeight")
    await page.evaluate("window.goOn()")
    await settled(page)
    assert await page.locator(".block:empty").count() == 0
    assert await log(page).evaluate("(log) => log.scrollHeight") >= height
    assert await page.evaluate(TOP_LINE) == before
    assert int(before) > 19_000


async def test_colours_go_on_across_the_border_of_what_is_drawn_first(
    page: Page, api: FakeApi
) -> None:
    red = b"\x1b[31m" + b"".join(b"%d red\n" % n for n in range(1_000)) + b"\x1b[0mplain\n"
    api.logs["s-test", 2] = Log(red, complete=True)
    await open_build(page)
    await settled(page)
    assert await page.locator(".lines .fg1").count() == 1_000
    lines = await shown_lines(page)
    assert lines == [f"{n} red" for n in range(1_000)] + ["plain"]
