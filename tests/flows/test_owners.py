"""What an owner sees and does in a browser, and what other browsers and other sites do not."""

import re

import pytest
from litestar import Litestar
from litestar.datastructures import State
from litestar.testing import TestClient
from pydantic import SecretStr

from api.http.routes import owners
from api.settings import Settings
from billing import owning
from billing.claims import LINKS_PER_CONTACT
from billing.refusals import Refusal, Refused
from tests.giving import give, in_house
from tests.mailing import ask
from tests.service import Agent, error_of, new_agent, new_contact
from tests.warm import house_of


def test_pages_of_owners_are_kept_by_nobody_framed_by_nobody_and_name_no_referrer(town):
    _, human, _ = town.owned()
    for answer in (
        human.get("/owner"),
        human.get("/owner/sign-in"),
        human.get("/claim/nothing"),
        human.post("/owner/caps"),
    ):
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["x-frame-options"] == "DENY"
        policy = answer.headers["content-security-policy"]
        assert "frame-ancestors 'none'" in policy
        assert "form-action 'self'" in policy


def test_the_cookie_of_a_session_is_closed_to_scripts_and_other_sites(town, database):
    agent, contact = new_agent(town.http), new_contact()
    ask(agent, contact)
    cookie = town.human().post(town.mailer.link(contact)).headers["set-cookie"]
    assert re.match(r"purser-owner=osess_[0-9a-z]{26}[\w-]{43}; Path=/; ", cookie)
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert "Secure" not in cookie
    settings = Settings(database_url=SecretStr(database.run_url), public_url="https://purser.example", worker=False)
    state = State({"house": house_of(settings, "https")})
    with TestClient(Litestar(owners.ROUTES, state=state, openapi_config=None)) as https:
        assert "set-cookie" not in https.get("/owner", follow_redirects=False).headers
        kept = {"cookie": "__Host-purser-owner=osess_x"}
        ended = https.get("/owner", follow_redirects=False, headers=kept).headers["set-cookie"]
    assert ended.startswith("__Host-purser-owner=; Path=/; Max-Age=0;")
    assert ended.endswith("; Secure")


@pytest.mark.parametrize(
    "headers",
    [{"origin": "", "sec_fetch_site": ""}, {"origin": "https://evil.example", "sec_fetch_site": ""},
     {"origin": "https://evil.example"}, {"sec_fetch_site": "cross-site"}, {"sec_fetch_site": "same-site"},
     {"origin": "null", "sec_fetch_site": ""}],
    ids=str,
)  # fmt: skip
def test_a_form_of_another_site_does_nothing(town, headers):
    agent, human, contact = new_agent(town.http), town.human(), new_contact()
    ask(agent, contact)
    link = town.mailer.link(contact)
    assert human.post(link, **headers).status_code == 403
    human.claims(link)
    form = human.form("/owner/pause", agent.agent_id)
    assert human.post("/owner/pause", form, **headers).status_code == 403
    assert human.post("/owner/sign-in", {"contact": contact}, **headers).status_code == 403
    assert agent.get(f"/v1/agents/{agent.agent_id}/caps")["paused"] is False


def test_a_browser_that_only_names_our_origin_is_served(town):
    agent, contact = new_agent(town.http), new_contact()
    ask(agent, contact)
    answer = town.human().post(town.mailer.link(contact), origin=town.service.url, sec_fetch_site="")
    assert answer.status_code == 303


def test_a_form_without_the_token_of_its_own_session_does_nothing(town):
    agent, human, _ = town.owned()
    _, stranger, _ = town.owned()
    form = human.form("/owner/pause", agent.agent_id)
    foreign = stranger.form("/owner/pause")["form"]
    for wrong in ({**form, "form": ""}, {**form, "form": foreign}, {k: v for k, v in form.items() if k != "form"}):
        assert human.post("/owner/pause", wrong).status_code == 403
    assert agent.get(f"/v1/agents/{agent.agent_id}/caps")["paused"] is False


def test_an_owner_limits_and_pauses_its_agents_and_each_form_counts_once(town):
    agent, human, _ = town.owned()
    give(town.service.database, agent, 50)
    form = human.form("/owner/caps", agent.agent_id) | {"per_spend": "5", "total": "20", "per_day": ""}
    for _ in range(2):
        answer = human.post("/owner/caps", form)
        assert (answer.status_code, answer.headers["location"]) == (303, "/owner?done=caps")
    found = agent.get(f"/v1/agents/{agent.agent_id}/caps")["caps"]
    assert [found[name]["limit"] for name in ("per_spend", "per_day", "total")] == [5, None, 20]
    error_of(agent.ask("/v1/spends", credits=6), 402, "SPEND_CAP_EXCEEDED")
    assert human.post("/owner/pause", human.form("/owner/pause", agent.agent_id)).status_code == 303
    error_of(agent.ask("/v1/spends", credits=1), 409, "SPENDER_PAUSED")
    assert "(paused)" in human.get("/owner?done=pause").text
    human.post("/owner/resume", human.form("/owner/resume", agent.agent_id))
    agent.do("/v1/spends", credits=5)
    page = human.get("/owner").text
    assert '<dd id="left">45</dd>' in page
    assert '<dd id="spent">5</dd>' in page
    for wrong in ("-1", "1.5", "x", "9" * 16, "٣"):
        assert (
            human.post("/owner/caps", human.form("/owner/caps", agent.agent_id) | {"total": wrong}).status_code == 400
        )


def test_an_owner_reaches_no_agent_of_others(town):
    agent, human, _ = town.owned()
    other, _, _ = town.owned()
    for action in ("caps", "pause", "token"):
        form = human.form(f"/owner/{action}", agent.agent_id) | {"agent_id": other.agent_id}
        assert human.post(f"/owner/{action}", form).status_code == 404
    form = human.form("/owner/pause") | {"organization_id": other.organization_id}
    assert human.post("/owner/switch", form).status_code == 404
    assert other.get(f"/v1/agents/{other.agent_id}/caps")["paused"] is False
    assert other.get("/v1/whoami")["token_status"] == "active"
    assert other.organization_id not in human.get("/owner").text


def test_an_owner_gives_an_agent_a_new_token_once_and_the_old_one_ends(town):
    agent, human, _ = town.owned()
    form = human.form("/owner/token", agent.agent_id)
    shown = human.post("/owner/token", form)
    [token] = re.findall(r"isk_r_[0-9a-z]{26}[\w-]{43}", shown.text)
    assert shown.headers["cache-control"] == "no-store"
    error_of(agent.send("GET", "/v1/whoami"), 401, "AUTH_REQUIRED")
    renewed = Agent(town.http, token, agent.agent_id, agent.organization_id)
    assert renewed.get("/v1/whoami")["token_status"] == "active"
    replayed = human.post("/owner/token", form)
    assert replayed.status_code == 409
    assert "isk_r_" not in replayed.text
    assert renewed.get("/v1/whoami")["token_status"] == "active"
    assert token not in town.service.log()
    renewed.post("/v1/tokens/revoke")
    assert "isk_r_" in human.post("/owner/token", human.form("/owner/token", agent.agent_id)).text


def test_a_session_ends_and_its_cookie_and_forms_with_it(town):
    agent, human, _ = town.owned()
    cookie, form = human.client.cookies["purser-owner"], human.form("/owner/token", agent.agent_id)
    ended = human.post("/owner/end", human.form("/owner/end"))
    assert (ended.status_code, ended.headers["location"]) == (303, "/owner/sign-in")
    assert "purser-owner" not in human.client.cookies
    thief = town.human()
    for kept in (cookie, cookie[:-1], "osess_", ""):
        thief.client.cookies.set("purser-owner", kept)
        assert thief.get("/owner").headers["location"] == "/owner/sign-in"
        assert thief.post("/owner/token", form).headers["location"] == "/owner/sign-in"
        thief.client.cookies.clear()
    assert agent.get("/v1/whoami")["token_status"] == "active"


def test_a_page_that_another_site_leads_to_does_not_end_the_session(town):
    """Browsers send the cookie with no request that another site began, and would still take its deletion."""
    stranger = town.human()
    for answer in (stranger.get("/owner"), stranger.post("/owner/end")):
        assert answer.headers["location"] == "/owner/sign-in"
        assert "set-cookie" not in answer.headers
    stranger.client.cookies.set("purser-owner", "osess_x")
    assert stranger.get("/owner").headers["set-cookie"].startswith("purser-owner=; Path=/; Max-Age=0;")


@pytest.mark.parametrize("key", ["", "owner-\x00", "owner-" + "x" * 300, "mine"], ids=["none", "NUL", "long", "other"])
def test_a_form_whose_key_our_pages_do_not_make_does_nothing(town, key):
    agent, human, _ = town.owned()
    form = human.form("/owner/pause", agent.agent_id) | {"key": key}
    assert human.post("/owner/pause", form).status_code == 403
    assert agent.get(f"/v1/agents/{agent.agent_id}/caps")["paused"] is False


def test_a_session_that_lasted_too_long_is_none(town):
    _, human, contact = town.owned()
    town.service.database.rows(
        "UPDATE billing.owner_sessions SET expires_at = now() FROM billing.owners AS o "
        "WHERE o.id = owner_id AND o.contact = $1", contact,
    )  # fmt: skip
    assert human.get("/owner").headers["location"] == "/owner/sign-in"


def test_an_owner_comes_back_by_its_address_and_others_learn_nothing(town):
    agent, _, contact = town.owned()
    human, stranger = town.human(), new_contact()
    answers = [human.post("/owner/sign-in", {"contact": each}) for each in (contact, stranger, "nonsense")]
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.text for answer in answers}) == 1
    link = town.mailer.link(contact, number=2)
    assert "Welcome back" in human.get(link).text
    assert agent.organization_id in human.claims(link).text
    assert town.mailer.links(stranger) == []
    for _ in range(LINKS_PER_CONTACT + 1):
        human.post("/owner/sign-in", {"contact": contact})
    town.mailer.link(contact, number=1 + LINKS_PER_CONTACT)
    assert len(town.mailer.links(contact)) == 1 + LINKS_PER_CONTACT


def test_a_contact_that_owns_several_organizations_goes_from_one_to_the_other(town):
    first, human, contact = town.owned()
    second = new_agent(town.http)
    ask(second, contact)
    human.claims(town.mailer.link(contact, number=2))
    page = human.get("/owner").text
    assert f'id="organization">{second.organization_id}' in page
    old = human.client.cookies["purser-owner"]
    rows = town.service.database.rows
    ends = "SELECT s.expires_at FROM billing.owner_sessions AS s JOIN billing.owners AS o ON o.id = s.owner_id "
    rows("UPDATE billing.owner_sessions SET expires_at = now() + interval '1 hour'")
    switched = human.post("/owner/switch", human.form("/owner/switch"))
    assert switched.status_code == 303
    of_contact = rows(ends + "WHERE o.contact = $1 ORDER BY s.created_at", contact)
    assert of_contact[-1] == of_contact[-2], "a session lasts no longer by going to and fro"
    assert 3500 < int(re.findall(r"Max-Age=(\d+)", switched.headers["set-cookie"])[0]) <= 3600
    assert f'id="organization">{first.organization_id}' in human.get("/owner").text
    human.client.cookies.set("purser-owner", old, domain="127.0.0.1")
    assert human.get("/owner").status_code == 303


def test_an_owner_sees_what_was_paid_for_page_by_page(town):
    agent, human, _ = town.owned()
    for _ in range(2):
        bought = agent.buy(agent.quote())
        town.service.sandbox.pay(bought["checkout_session_id"])
        agent.wait_for_state("succeeded", quote_id=bought["quote_id"])
    newest = human.get("/owner?limit=1").text
    assert "$5.00" in newest
    [older] = re.findall(r'id="older" href="([^"]+)"', newest)
    page = human.get(older.replace("&amp;", "&")).text
    seen = re.findall(r"receipt_[0-9a-z]{26}</code>", newest + page)
    assert len(seen) == len(set(seen)) == 2
    assert 'id="older"' not in page
    assert human.get("/owner?limit=0").status_code == 400
    assert human.get("/owner?cursor=x").status_code == 400


def test_a_session_that_was_ended_meanwhile_does_not_go_on_in_another_organization(town):
    _, human, contact = town.owned()
    second = new_agent(town.http)
    ask(second, contact)
    human.claims(town.mailer.link(contact, number=2))
    cookie = human.client.cookies["purser-owner"]

    async def meanwhile(house):
        async with house.sessions() as session:
            owned = await owning.of_cookie(session, cookie, now=house.clock())
        await owning.end_session(house.sessions, owned, now=house.clock())
        with pytest.raises(Refused) as error:
            await owning.switch(house.sessions, owned, owned.organization_id, now=house.clock())
        return error.value.refusal

    assert in_house(town.service.database, meanwhile) is Refusal.AUTH_REQUIRED
