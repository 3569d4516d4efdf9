"""A real headless Chromium for the walks of a payer."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, ConsoleMessage, Page, async_playwright

from tests.browser.walking import PATIENCE_MS, OpenPage

CHROMIUM = shutil.which("chromium")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    """One for the tests of a module, which run in its event loop; each page is in a context of its own."""
    if CHROMIUM is None:
        pytest.skip("NOT RUN: chromium is not installed (on Debian: apt-get install chromium fonts-dejavu-core)")
    async with async_playwright() as playwright:
        started = await playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS, timeout=PATIENCE_MS)
        yield started
        await started.close()


@pytest_asyncio.fixture(loop_scope="module")
async def open_page(browser: Browser) -> AsyncIterator[OpenPage]:
    """A page as of a person with a browser of his own, on a phone.

    Whatever a page complains of fails the test, but for answers of 4xx and 5xx where the page `may_fail`.
    """
    complaints: list[str] = []
    contexts: list[BrowserContext] = []

    async def opened(*, may_fail: bool = False, **options: Any) -> Page:
        context = await browser.new_context(viewport={"width": 390, "height": 844}, **options)
        contexts.append(context)
        context.set_default_timeout(PATIENCE_MS)
        page = await context.new_page()

        def said(line: ConsoleMessage) -> None:
            if line.type in {"error", "warning"} and not (may_fail and "Failed to load resource" in line.text):
                complaints.append(line.text)

        page.on("console", said)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        return page

    yield opened
    for context in contexts:
        await context.close()
    assert complaints == []
