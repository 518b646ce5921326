"""A real Chromium for the tests of the page; none that logs an error passes. And pushrod on each
engine, for the modules that don't start one of their own."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, ConsoleMessage, Page, async_playwright, expect

from tests.conftest import TestEngine
from tests.e2e.processes import Pushrod, Repository, running

ENGINES = ["host", pytest.param("buildkit", marks=pytest.mark.engine)]
PATIENCE_MS = 60_000
expect.set_options(timeout=PATIENCE_MS)
FEATURES_OFF = (
    # For each page a process more, for what is typed into the bar: two fifths of a page's cost.
    "WebUIOmniboxPopup",
    "WebUIOmniboxAimPopup",
    # What Playwright has off, too: of two such arguments Chromium takes the last.
    "AvoidUnnecessaryBeforeUnloadCheckSync",
    "DestroyProfileOnBrowserClose",
    "HttpsUpgrades",
    "HttpsFirstBalancedModeAutoEnable",
    "LensOverlay",
    "MediaRouter",
    "PaintHolding",
    "ThirdPartyStoragePartitioning",
    "AvoidCorsURLLoaderRestartOnRedirect",
    "OptimizationHints",
    "NetworkTimeServiceQuerying",
    "AimEnabled",
    "PreconnectToSearch",
)
CHROMIUM_ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    f"--disable-features={','.join(FEATURES_OFF)}",
]


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def browser() -> AsyncIterator[Browser]:
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no Chromium here: apt-get install chromium")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=chromium, args=CHROMIUM_ARGUMENTS
        )
        yield browser
        await browser.close()


@pytest_asyncio.fixture(loop_scope="module")
async def page(browser: Browser) -> AsyncIterator[Page]:
    """A fresh page that fails its test on an uncaught error or a breach of the page's CSP."""
    context = await browser.new_context(viewport={"width": 1280, "height": 800})
    page = await context.new_page()
    page.set_default_timeout(PATIENCE_MS)
    mistakes: list[str] = []
    page.on("pageerror", lambda error: mistakes.append(str(error)))
    page.on("console", lambda message: mistakes.extend(mistake_in(message)))
    yield page
    await context.close()
    assert mistakes == []


def mistake_in(message: ConsoleMessage) -> list[str]:
    """Chromium also logs each answer of 400 and above and each lost connection by itself."""
    expected = message.text.startswith("Failed to load resource:")
    return [message.text] if message.type == "error" and not expected else []


@pytest.fixture(scope="module", params=ENGINES)
def engine(request: pytest.FixtureRequest) -> str:
    if request.param == "host":
        return "host"
    return str(request.getfixturevalue("buildkit").address)


@pytest.fixture(scope="module")
def image(engine: str, request: pytest.FixtureRequest) -> str:
    """The host engine ignores it."""
    if engine == "host":
        return "any"
    buildkit: TestEngine = request.getfixturevalue("buildkit")
    return buildkit.image


@pytest.fixture(scope="module")
def pushrod(engine: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pushrod]:
    with running(tmp_path_factory.mktemp("pushrod"), engine) as pushrod:
        yield pushrod


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository.create(tmp_path / "repository")
