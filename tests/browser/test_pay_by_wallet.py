"""A human with a wallet: the deposit page, its QR code read back from the screen, and the transfer that pays it."""

from __future__ import annotations

import io

import pytest
import zxingcpp
from PIL import Image
from playwright.async_api import Page, expect

from tests.browser.walking import OpenPage, turns
from tests.service import DEPOSIT, Agent, Sandbox, Service

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def _read_code(page: Page) -> list[str]:
    """Every code that a camera would find on the screen."""
    shot = Image.open(io.BytesIO(await page.screenshot(full_page=True)))
    return [code.text for code in zxingcpp.read_barcodes(shot)]


async def test_a_wallet_pays_what_the_code_says_and_the_page_turns_paid_by_itself(
    agent: Agent, sandbox: Sandbox, service: Service, open_page: OpenPage
) -> None:
    bought, page = agent.buy(agent.quote(DEPOSIT)), await open_page()
    asked = bought["stripe_x402"]["payable_instructions"]
    await page.goto(f"{service.url}/pay/{bought['payment_attempt_id']}")
    await turns(page, "deposit", "Pay with USDC on Base")

    transfer = f"address={asked['deposit_address']}&uint256={asked['token_amount_atomic']}"
    assert await _read_code(page) == [f"ethereum:{asked['token_contract_address']}@8453/transfer?{transfer}"]
    await expect(page.locator("#amount")).to_have_text("5.00")
    await expect(page.locator("#network")).to_have_text("Base")
    await expect(page.locator("#address")).to_have_text(asked["deposit_address"])
    await expect(page.locator("#contract")).to_have_text(asked["token_contract_address"])
    await expect(page.locator(".warning")).to_contain_text("Send exactly 5.00 USDC, on Base.")
    await expect(page.locator("time")).to_have_attribute("datetime", asked["expires_at"][:19] + "Z")

    sandbox.send_usdc(asked)
    await turns(page, "paid", "Payment received")
    receipt = agent.status(payment_attempt_id=bought["payment_attempt_id"])["receipt"]
    await expect(page.locator("#receipt")).to_have_text(receipt["receipt_id"])
    assert agent.paid_credits() == 500


async def test_the_code_can_be_read_in_the_dark_and_on_a_small_screen(
    agent: Agent, service: Service, open_page: OpenPage
) -> None:
    bought, page = agent.buy(agent.quote(DEPOSIT)), await open_page(color_scheme="dark")
    await page.set_viewport_size({"width": 320, "height": 568})
    await page.goto(f"{service.url}/pay/{bought['payment_attempt_id']}")
    (uri,) = await _read_code(page)
    await expect(page.locator("#wallet")).to_have_attribute("href", uri)
    assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")


async def test_the_address_is_copied_whole(agent: Agent, service: Service, open_page: OpenPage) -> None:
    bought = agent.buy(agent.quote(DEPOSIT))
    page = await open_page(permissions=["clipboard-read", "clipboard-write"])
    await page.goto(f"{service.url}/pay/{bought['payment_attempt_id']}")
    button = page.get_by_role("button", name="Copy the address")
    await button.click()
    await expect(button).to_have_text("Copied")
    address = bought["stripe_x402"]["payable_instructions"]["deposit_address"]
    assert await page.evaluate("navigator.clipboard.readText()") == address


async def test_without_scripts_the_page_still_has_everything(
    agent: Agent, service: Service, open_page: OpenPage
) -> None:
    bought, page = agent.buy(agent.quote(DEPOSIT)), await open_page(java_script_enabled=False)
    await page.goto(f"{service.url}/pay/{bought['payment_attempt_id']}")
    assert len(await _read_code(page)) == 1
    await expect(page.locator("#address")).to_be_visible()
    await expect(page.get_by_role("button")).to_have_count(0)
    assert await page.locator('meta[http-equiv="refresh"]').count() == 1
