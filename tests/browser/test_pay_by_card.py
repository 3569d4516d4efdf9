"""A human is handed a link and pays by card: walked in a real browser, through the sandbox's hosted page."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from playwright.async_api import expect

from ledger import ids
from tests.browser.walking import OpenPage, hosted_page, session_calls, session_of, sessions_made, turns
from tests.service import ANSWER_S, Agent, Sandbox, Service

pytestmark = pytest.mark.asyncio(loop_scope="module")

SERVED_FOR_S = (0.7, 4.0)
"""How long the provider takes, so that others come meanwhile; the second only where the first was too short."""
BOT = {"user-agent": "Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)"}


def bought_by(agent: Agent) -> dict[str, Any]:
    return agent.buy(agent.quote())


async def test_a_human_pays_by_the_link_and_the_page_turns_paid_by_itself(
    agent: Agent, sandbox: Sandbox, service: Service, open_page: OpenPage
) -> None:
    bought, page = bought_by(agent), await open_page()
    link = bought["checkout_handoff_url"]
    # Or the page itself, asked by a payer who took some seconds, would learn of the payment before the letter comes.
    service.database.rows(
        "UPDATE billing.payment_attempts SET looked_at = now() + interval '1 hour' WHERE id = $1",
        ids.parse("payatt", bought["payment_attempt_id"]),
    )
    assert await hosted_page(page, link) == bought["checkout_url"]
    assert urlsplit(page.url).fragment
    with sandbox.letters("never"):
        await page.click("#pay")
        await turns(page, "waiting", "Waiting for confirmation")
    assert page.url.partition("#")[0] == f"{link}?returned=1"
    assert "receipt_" not in await page.content()
    await page.evaluate("window.stays = true")

    sandbox.control("POST", f"events/{_completed(sandbox, bought)}/deliver")
    await turns(page, "paid", "Payment received")
    assert await page.evaluate("window.stays") is None, "the page has loaded itself again"
    receipt = agent.status(payment_attempt_id=bought["payment_attempt_id"])["receipt"]
    await expect(page.locator("#receipt")).to_have_text(receipt["receipt_id"])
    await expect(page.locator("#total")).to_have_text("$5.00")
    await expect(page.locator("#credits")).to_have_text("500 credits")
    await expect(page).to_have_title("Payment received · Purser")
    await expect(page.locator(".banner")).to_have_text("Sandbox: no real money")
    assert not [id_ for id_ in (agent.agent_id, agent.organization_id) if id_ in await page.content()]


async def test_a_declined_card_can_be_followed_by_one_that_works(agent: Agent, open_page: OpenPage) -> None:
    bought, page = bought_by(agent), await open_page()
    await hosted_page(page, bought["checkout_handoff_url"])
    await page.click("#decline")
    await expect(page.locator("#error")).to_contain_text("declined")
    await page.click("#pay")
    await turns(page, "paid", "Payment received")
    assert agent.paid_credits() == 500


@pytest.mark.long
async def test_who_leaves_and_comes_back_finds_the_same_session(
    agent: Agent, sandbox: Sandbox, open_page: OpenPage
) -> None:
    bought = bought_by(agent)
    link = bought["checkout_handoff_url"]
    first = await open_page()
    address = await hosted_page(first, link)
    await first.close()

    page = await open_page()
    await page.goto(f"{link}?returned=0")
    await turns(page, "unpaid", "Not paid yet")
    await page.click("#go")
    await page.wait_for_url(address)
    await page.click("#pay")
    await turns(page, "paid", "Payment received")
    assert sessions_made(sandbox, bought) == 1


@pytest.mark.long
async def test_two_browsers_and_a_bot_get_the_same_next_session(
    agent: Agent, sandbox: Sandbox, service: Service, open_page: OpenPage
) -> None:
    bought = bought_by(agent)
    link = bought["checkout_handoff_url"]
    sandbox.control("POST", f"sessions/{session_of(bought['checkout_url'])}/expire")
    agent.wait_for_state("expired", payment_attempt_id=bought["payment_attempt_id"])

    one, two = await open_page(), await open_page()
    async with httpx.AsyncClient(headers=BOT, timeout=ANSWER_S) as bot:
        *pages, peeked, seen = await asyncio.gather(
            hosted_page(one, link), hosted_page(two, link), bot.head(link), bot.get(link)
        )
    assert (peeked.status_code, seen.status_code) == (303, 303)
    assert {*pages, peeked.headers["location"], seen.headers["location"]} == {pages[0]}
    assert session_of(pages[0]) != session_of(bought["checkout_url"])
    assert sessions_made(sandbox, bought) == 2
    await one.click("#pay")
    await turns(one, "paid", "Payment received")
    await two.goto(link)
    await turns(two, "paid", "Payment received")


async def test_who_comes_while_another_is_being_served_waits_for_the_same_session(
    agent: Agent, sandbox: Sandbox, open_page: OpenPage
) -> None:
    page, refused = await open_page(), False
    for seconds in SERVED_FOR_S:
        bought = bought_by(agent)
        link = bought["checkout_handoff_url"]
        sandbox.control("POST", f"sessions/{session_of(bought['checkout_url'])}/expire")
        agent.wait_for_state("expired", payment_attempt_id=bought["payment_attempt_id"])

        sandbox.fault("slow", "/v1/checkout/sessions", seconds=seconds)
        async with httpx.AsyncClient(headers=BOT, timeout=ANSWER_S) as bot:
            address, *seen = await asyncio.gather(hosted_page(page, link), bot.get(link), bot.get(link))
        assert [(answer.status_code, answer.headers["location"]) for answer in seen] == [(303, address)] * 2
        assert sessions_made(sandbox, bought) == 2
        refused = any(call["status"] == 409 for call in session_calls(sandbox, bought))
        if refused:
            break
    assert refused, "nobody came while another was being served"


@pytest.mark.long
async def test_a_delayed_payment_is_followed_to_its_end(agent: Agent, sandbox: Sandbox, open_page: OpenPage) -> None:
    bought, page = bought_by(agent), await open_page()
    address = await hosted_page(page, bought["checkout_handoff_url"])
    await page.click("#pay-delayed")
    await turns(page, "processing", "Payment on its way")
    sandbox.control("POST", f"sessions/{session_of(address)}/settle_delayed")
    await turns(page, "paid", "Payment received")


@pytest.mark.long
async def test_a_delayed_payment_that_fails_says_so(agent: Agent, sandbox: Sandbox, open_page: OpenPage) -> None:
    bought, page = bought_by(agent), await open_page()
    address = await hosted_page(page, bought["checkout_handoff_url"])
    await page.click("#pay-delayed")
    await turns(page, "processing", "Payment on its way")
    sandbox.control("POST", f"sessions/{session_of(address)}/fail_delayed")
    await turns(page, "failed", "The payment did not work")
    await expect(page.locator("#reason")).to_contain_text("The payment did not arrive")
    assert agent.paid_credits() == 0


async def test_an_open_page_says_when_the_agent_cancels(agent: Agent, open_page: OpenPage) -> None:
    bought, page = bought_by(agent), await open_page()
    await page.goto(f"{bought['checkout_handoff_url']}?returned=0")
    await turns(page, "unpaid", "Not paid yet")
    agent.post(f"/v1/credit-purchases/{bought['payment_attempt_id']}/cancel")
    await turns(page, "canceled", "This payment was canceled")


@pytest.mark.long
async def test_while_the_provider_is_away_the_page_tries_again_by_itself(
    agent: Agent, sandbox: Sandbox, open_page: OpenPage
) -> None:
    bought = bought_by(agent)
    sandbox.control("POST", f"sessions/{session_of(bought['checkout_url'])}/expire")
    agent.wait_for_state("expired", payment_attempt_id=bought["payment_attempt_id"])
    page = await open_page(may_fail=True)
    sandbox.fault("error_503", "/v1/checkout/sessions")
    answer = await page.goto(bought["checkout_handoff_url"])
    assert answer is not None
    assert (answer.status, answer.headers["retry-after"]) == (503, "5")
    await turns(page, "busy", "One moment, please")
    await expect(page.locator("#pay")).to_be_visible()


def _completed(sandbox: Sandbox, bought: dict[str, Any]) -> str:
    """The letter that says that the session was paid; the sandbox kept it back."""
    event = sandbox.event_about("checkout.session.completed", session_of(bought["checkout_url"]))
    return str(event["id"])
