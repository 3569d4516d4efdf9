"""What the walks of a payer have in common."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import urlsplit

from playwright.async_api import Page, expect

from tests.service import Sandbox

PATIENCE_MS = 60_000
expect.set_options(timeout=PATIENCE_MS)
OpenPage = Callable[..., Awaitable[Page]]


async def turns(page: Page, kind: str, heading: str) -> None:
    """The page becomes this one, by itself if nobody does anything."""
    await expect(page.locator(f"main[data-kind={kind}] #state")).to_have_text(heading, timeout=PATIENCE_MS)


async def hosted_page(page: Page, link: str) -> str:
    """Open the link; the address of the provider's page that it leads to."""
    await page.goto(link)
    await expect(page.locator("#pay")).to_be_visible()
    return page.url


def session_of(url: str) -> str:
    """The session whose hosted page this is."""
    return urlsplit(url).path.rpartition("/")[2]


def sessions_made(sandbox: Sandbox, bought: dict[str, Any]) -> int:
    """How many sessions were made for an attempt. A repetition of a request has its key and makes none."""
    return len({call["idempotency_key"] for call in session_calls(sandbox, bought)})


def session_calls(sandbox: Sandbox, bought: dict[str, Any]) -> list[Any]:
    """The requests that asked for a session for an attempt."""
    calls = [call for call in sandbox.calls("/v1/checkout/sessions") if call["method"] == "POST"]
    return [call for call in calls if bought["payment_attempt_id"] in (call["idempotency_key"] or "")]
