"""A human is sent a link, owns an organization, and sees to it: walked in a real browser, which sends forms its way."""

from __future__ import annotations

import re

import httpx
import pytest
from playwright.async_api import expect

from tests.browser.walking import OpenPage
from tests.service import Agent, Service, agent_of, error_of, new_contact, until

pytestmark = pytest.mark.asyncio(loop_scope="module")


def link_in_the_log(service: Service, contact: str) -> str:
    found = until(lambda: re.search(rf'"link":"([^"]+)","contact":"{contact}"', service.log()))
    assert found is not None
    return found[1]


async def test_a_human_owns_by_the_link_limits_an_agent_renews_its_token_and_leaves(
    agent: Agent, http: httpx.Client, service: Service, open_page: OpenPage
) -> None:
    contact, page = new_contact(), await open_page()
    agent.post("/v1/agent-claims", {"contact": contact})
    await page.goto(link_in_the_log(service, contact))
    await expect(page.locator("#state")).to_have_text("Own this organization?")
    assert agent.get("/v1/whoami")["claim_state"] == "unclaimed"
    await page.click("#claim")
    await expect(page.locator("#state")).to_have_text("Your organization")
    assert page.url == f"{service.url}/owner"
    await expect(page.locator("#organization")).to_have_text(agent.organization_id)
    await expect(page.locator("#contact")).to_have_text(contact)
    assert await page.evaluate("document.cookie") == ""
    assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "it fits on a phone"

    await page.fill("input[name=per_spend]", "5")
    await page.click("text=Set the caps")
    await expect(page.locator("#done")).to_have_text("The caps are set.")
    await page.click("text=Pause")
    await expect(page.locator("h2", has_text="(paused)")).to_be_visible()
    caps = agent.get(f"/v1/agents/{agent.agent_id}/caps")
    assert (caps["paused"], caps["caps"]["per_spend"]["limit"]) == (True, 5)

    await page.click("text=New token")
    token = await page.locator("#token").inner_text()
    error_of(agent.send("GET", "/v1/whoami"), 401, "AUTH_REQUIRED")
    renewed = agent_of(http, {"token": token, "agent_id": agent.agent_id, "organization_id": agent.organization_id})
    assert renewed.get("/v1/whoami")["claim_state"] == "claimed"
    await page.click("text=I have it")
    await expect(page.locator("#token")).to_have_count(0)
    assert token not in await page.content()
    await page.click("#end")
    await expect(page.locator("#state")).to_have_text("Sign in")
    await page.goto(f"{service.url}/owner")
    assert page.url == f"{service.url}/owner/sign-in"
    await page.fill("input[name=contact]", contact)
    await page.click("#send")
    await expect(page.locator("#state")).to_have_text("Look into your mail")
