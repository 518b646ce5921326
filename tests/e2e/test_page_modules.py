"""The page's pure modules, run where they run: in the browser."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page

from tests.e2e.fake_api import FakeApi, serving

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]

Call = Callable[..., Awaitable[Any]]

CALL = """async ([name, body, values]) => {
  const folder = document.querySelector("link[rel=stylesheet]").href;
  const module = await import(new URL(name, folder));
  return body.reduce((value, key) => value[key], module)(...values);
}"""
READ = """async (lines) => {
  const folder = document.querySelector("link[rel=stylesheet]").href;
  const { LineReader } = await import(new URL("log_text.js", folder));
  const reader = new LineReader();
  return lines.map((line) => reader.read(line).map(({ text, look }) => [text, look]));
}"""


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def shell(browser: Browser) -> AsyncIterator[Page]:
    async with serving(FakeApi()) as url:
        page = await browser.new_page()
        await page.goto(url + "/login")
        yield page
        await page.close()


@pytest.fixture
def call(shell: Page) -> Call:
    async def call(module: str, function: str, *values: Any) -> Any:
        return await shell.evaluate(CALL, [module, [function], list(values)])

    return call


@pytest.mark.parametrize(
    ("line", "segments"),
    [
        ("plain", [["plain", ""]]),
        ("\x1b[31mred\x1b[0m rest", [["red", "fg1"], [" rest", ""]]),
        ("\x1b[1;92mok\x1b[22m ok", [["ok", "fg10 bold"], [" ok", "fg10"]]),
        ("\x1b[7;32m PASS \x1b[27m", [[" PASS ", "bg2"]]),
        ("\x1b[7mall\x1b[m", [["all", "inverse"]]),
        ("\x1b[38;5;196mred\x1b[39m", [["red", "fg1 fgx"]]),
        ("\x1b[38;5;9mred", [["red", "fg9"]]),
        ("\x1b[38;2;20;170;80mgreen", [["green", "fg2 fgx"]]),
        ("\x1b[38:2::20:170:80mgreen", [["green", "fg2 fgx"]]),
        ("10%\r50%\r99%", [["99%", ""]]),
        ("\x1b[33m10%\r\x1b[K99%", [["99%", "fg3"]]),
        ("windows\r", [["windows", ""]]),
        ("\x1b]8;;https://example.org\x1b\\link\x1b]8;;\x07", [["link", ""]]),
        ("\x1b[9mgone\x1b[29m back", [["gone", "strike"], [" back", ""]]),
        ("\x1b[4;9mboth\x1b[0m", [["both", "underline strike"]]),
        ("a\x1b[2Jb\x1b(Bc\x07d\x00e", [["a", ""], ["b", ""], ["c", ""], ["d", ""], ["e", ""]]),
        ("cut off \x1b[3", [["cut off ", ""]]),
        ("\x1b[999;;;m\x1b[38;5m\x1b[38mx", [["x", ""]]),
        ("", []),
    ],
)
async def test_terminal_codes_become_looks(shell: Page, line: str, segments: Any) -> None:
    assert await shell.evaluate(READ, [line]) == [segments]


INKS = READ.replace("({ text, look }) => [text, look]", "({ inks }) => inks")


@pytest.mark.parametrize(
    ("line", "inks"),
    [
        ("\x1b[38;5;208mx", [["--fg", "rgb(255 135 0)"]]),
        ("\x1b[48;5;244mx", [["--bg", "rgb(128 128 128)"]]),
        ("\x1b[7;38;2;1;2;3mx", [["--bg", "rgb(1 2 3)"]]),
        ("\x1b[38;2;999;2mx", [["--fg", "rgb(255 2 0)"]]),
        ("\x1b[31mx", []),
    ],
)
async def test_exact_colours_are_kept(shell: Page, line: str, inks: Any) -> None:
    assert await shell.evaluate(INKS, [line]) == [[inks]]


LINKS = READ.replace("({ text, look }) => [text, look]", "({ text, link }) => [text, link]")
CLOSED = "\x1b]8;;\x1b\\"


def osc(address: str, text: str) -> str:
    return f"\x1b]8;id=1;{address}\x1b\\{text}{CLOSED}"


@pytest.mark.parametrize(
    ("line", "links"),
    [
        (
            "see https://example.org/a?b=1#c, or (http://localhost:80/x_(y)).",
            [
                ["see ", None],
                ["https://example.org/a?b=1#c", "https://example.org/a?b=1#c"],
                [", or (", None],
                ["http://localhost:80/x_(y)", "http://localhost/x_(y)"],
                [").", None],
            ],
        ),
        (osc("https://evil.example/x", "docs"), [["docs", "https://evil.example/x"]]),
        (
            osc("https://evil.example/", "https://good.example/"),
            [["https://good.example/", "https://evil.example/"]],
        ),
        (
            "\x1b]8;;https://a.example\x07one\x1b[1m two\x1b[0m three\x1b]8;;\x07 four",
            [
                ["one", "https://a.example/"],
                [" two", "https://a.example/"],
                [" three", "https://a.example/"],
                [" four", None],
            ],
        ),
        (osc("javascript:alert(1)", "x"), [["x", None]]),
        (osc("java\tscript:alert(1)", "x"), [["x", None]]),
        (osc("data:text/html,<script>", "x"), [["x", None]]),
        (osc("file:///etc/passwd", "x"), [["x", None]]),
        (osc("/builds/1", "x"), [["x", None]]),
        (osc("https://", "x"), [["x", None]]),
        (osc("https://a.example/" + "x" * 3000, "x"), [["x", None]]),
        (osc("https://a.example/;b;c", "x"), [["x", "https://a.example/;b;c"]]),
        ("\x1b]8;;https://a.example", []),
        ("javascript://example.org/%0aalert(1)", [["javascript://example.org/%0aalert(1)", None]]),
        ("xhttps://a.example", [["xhttps://a.example", None]]),
        (
            '<a href="https://a.example/">',
            [['<a href="', None], ["https://a.example/", "https://a.example/"], ['">', None]],
        ),
    ],
)
async def test_only_web_addresses_become_links(shell: Page, line: str, links: Any) -> None:
    assert await shell.evaluate(LINKS, [line]) == [links]


async def test_a_link_that_nobody_closed_ends_with_its_line(shell: Page) -> None:
    lines = await shell.evaluate(LINKS, ["\x1b]8;;https://a.example\x07one", "two"])
    assert lines == [[["one", "https://a.example/"]], [["two", None]]]


async def test_a_colour_lasts_over_lines_until_it_is_switched_off(shell: Page) -> None:
    lines = await shell.evaluate(READ, ["\x1b[34mone", "two\x1b[0m", "three"])
    assert lines == [[["one", "fg4"]], [["two", "fg4"]], [["three", ""]]]


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [(0, "0.0 s"), (412, "0.4 s"), (9_940, "9.9 s"), (9_960, "10 s"), (59_600, "1 min 00 s"),
     (185_000, "3 min 05 s"), (7_620_000, "2 h 07 min"), (-5, "0.0 s")],
)  # fmt: skip
async def test_durations_read_well(call: Call, milliseconds: int, text: str) -> None:
    assert await call("format.js", "duration", milliseconds) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1_000, "1.0 KB"), (20_400_000, "20 MB"), (999_600, "1.0 MB")],
)
async def test_sizes_read_well(call: Call, count: int, text: str) -> None:
    assert await call("format.js", "bytes", count) == text


def step(name: str, status: str = "BLOCKED", after: tuple[str, ...] = ()) -> dict[str, Any]:
    return {"name": name, "status": status, "dependsOn": list(after)}


async def test_dependencies_come_first_and_else_the_order_stays(call: Call) -> None:
    steps = [
        step("d", after=("b", "c")),
        step("a"),
        step("c", after=("a",)),
        step("b", after=("a",)),
    ]
    ordered = await call("steps.js", "inGraphOrder", steps)
    assert [one["name"] for one in ordered] == ["a", "c", "b", "d"]


async def test_the_combinations_of_a_matrix_stand_below_its_name(call: Call) -> None:
    def of(name: str, matrix: str | None) -> dict[str, Any]:
        return {**step(name), "matrixOf": matrix}

    steps = [of("lint", None), of("t (a)", "t"), of("t (b)", "t"), of("u (a)", "u"), of("z", None)]
    rows = await call("steps.js", "grouped", steps)
    shown = [row.get("name") or (row["group"], len(row["steps"])) for row in rows]
    assert shown == ["lint", ("t", 2), "t (a)", "t (b)", "u (a)", "z"]


async def test_a_cycle_does_not_hang_the_order(call: Call) -> None:
    ordered = await call(
        "steps.js", "inGraphOrder", [step("a", after=("b",)), step("b", after=("a",))]
    )
    assert sorted(one["name"] for one in ordered) == ["a", "b"]


@pytest.mark.parametrize(
    ("statuses", "shown", "chosen"),
    [
        ({"a": "SUCCESS", "b": "RUNNING", "c": "RUNNING"}, None, "b"),
        ({"a": "SUCCESS", "b": "RUNNING", "c": "RUNNING"}, "c", "c"),
        ({"a": "SUCCESS", "b": "RUNNING"}, "a", "b"),
        ({"a": "FAILED", "b": "RUNNING"}, "a", "a"),
        ({"a": "SUCCESS", "b": "FAILED"}, None, "b"),
        ({"a": "READY", "b": "BLOCKED"}, None, "a"),
        ({"a": "SUCCESS", "b": "SUCCESS"}, "b", "b"),
    ],
)
async def test_the_step_to_show(
    call: Call, statuses: dict[str, str], shown: str | None, chosen: str
) -> None:
    steps = [step(name, status) for name, status in statuses.items()]
    assert (await call("steps.js", "automatic", steps, shown))["name"] == chosen


async def test_a_choice_survives_the_way_through_the_address(call: Call) -> None:
    name = "test (python=3.11 & ü#/%)"
    hash_ = await call("steps.js", "hashFor", name, 2)
    assert await call("steps.js", "chosenBy", hash_) == {"step": name, "attempt": 2}


async def test_retries_back_off_to_a_limit(call: Call) -> None:
    delays = [await call("live.js", "retryDelay", failures, 1) for failures in (1, 2, 3, 10, 500)]
    assert delays == [500, 1000, 2000, 30_000, 30_000]


async def test_a_build_that_is_over_shows_the_last_step_that_ran(call: Call) -> None:
    """Also where the page never saw that step run, since it was that quick."""
    steps = [
        {**step("a", "SUCCESS"), "startedAt": "2026-01-01T00:00:00Z"},
        {**step("b", "SUCCESS"), "startedAt": "2026-01-01T00:00:01Z"},
        step("c", "SKIPPED"),
    ]
    assert (await call("steps.js", "automatic", steps, "a"))["name"] == "b"
