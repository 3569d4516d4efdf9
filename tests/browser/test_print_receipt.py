"""A payer goes from the page that says *paid* to the receipt, and prints it: walked in a real browser."""

from __future__ import annotations

import pytest
from playwright.async_api import expect

from tests.browser.walking import OpenPage, hosted_page, turns
from tests.service import Agent

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_a_payer_goes_from_the_paid_page_to_the_receipt_and_prints_it(agent: Agent, open_page: OpenPage) -> None:
    bought, page = agent.buy(agent.quote()), await open_page()
    await hosted_page(page, bought["checkout_handoff_url"])
    await page.click("#pay")
    await turns(page, "paid", "Payment received")
    assert "?" in page.url, "the payer comes back from the provider's page"
    number = await page.locator("#receipt").inner_text()
    asked: list[str | None] = []
    page.on("request", lambda request: asked.append(request.headers.get("referer")))
    await page.get_by_role("link", name="Receipt to print").click()
    await expect(page.locator("#state")).to_have_text("Receipt")
    assert page.url == f"{bought['checkout_handoff_url']}/receipt"
    assert asked, "the link was followed"
    assert set(asked) == {None}, "no referrer"
    await expect(page.locator("#receipt")).to_have_text(number)
    await expect(page.locator("#total")).to_have_text("$5.00")
    document = agent.get(f"/v1/receipts/{number}")
    await expect(page.locator("#signature")).to_have_text(document["signature"]["value"])
    assert agent.organization_id not in await page.content()
    assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "it fits on a phone"
    assert (await page.evaluate("[...document.querySelectorAll('h1, h2')].map((one) => one.tagName)")) == ["H1", "H2"]
    await page.emulate_media(media="print")
    await expect(page.locator("#signature")).to_be_visible()
    assert (await page.pdf(format="A4")).startswith(b"%PDF-")
