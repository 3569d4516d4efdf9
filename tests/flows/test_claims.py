"""A human comes to own an organization by a link that an agent has sent, and nobody else does."""

import re
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest

from api.pages.texts import UNAVAILABLE
from billing.claims import LINKS_PER_CONTACT, TRIES_PER_CONTACT
from billing.refusals import Refusal
from billing.scopes import Scope
from ledger.ids import parse
from tests.giving import new_operator
from tests.mailing import Human, ask
from tests.patience import served
from tests.refused import assert_answered_by_rule
from tests.service import Database, agent_of, data_of, error_of, new_agent, new_contact, new_key, sign_up, until


def test_an_agent_names_a_human_who_reads_the_link_and_owns_the_organization(town):
    agent, human, contact = new_agent(town.http), town.human(), new_contact()
    asked = data_of(ask(agent, f"  {contact.upper()} "))
    assert (asked["state"], asked["claim_state"], asked["claim_request_state"]) == (
        "attached",
        "unclaimed",
        "requested",
    )
    assert asked["link_sent"] is True
    name, _, place = contact.partition("@")
    assert asked["contact"] == f"{name[0]}***@{place}"
    assert agent.get("/v1/whoami")["claim_request_state"] == "requested"

    link = town.mailer.link(contact)
    [(said, headers)] = [sent for sent in town.mailer.sent if sent[0]["contact"] == contact]
    assert said["organization_id"] == agent.organization_id
    assert link.startswith(f"{town.service.url}/claim/claim_")
    assert headers["webhook-signature"].startswith("v1,")
    for _ in range(2):  # as a mail scanner does
        looked = human.get(link)
        assert looked.status_code == 200
        assert contact in looked.text
    assert agent.get("/v1/whoami")["claim_state"] == "unclaimed"

    page = human.claims(link)
    assert agent.organization_id in page.text
    assert agent.agent_id in page.text
    whoami = agent.send("GET", "/v1/whoami").json()
    assert whoami["data"]["claim_state"] == whoami["actor"]["claim_state"] == "claimed"
    assert data_of(sign_up(town.http))["claim_state"] == "unclaimed"
    assert contact not in str(town.service.database.rows("SELECT links, summary FROM billing.activity_events"))


def pressed(human, link):
    """What is told to who presses the button, again where a page says after long that it will be back in a moment."""
    return served(lambda: human.post(link), says=UNAVAILABLE.heading)


def test_a_link_is_used_once_and_by_one_of_many_at_once(town):
    agent, contact = new_agent(town.http), new_contact()
    ask(agent, contact)
    link, humans = town.mailer.link(contact), [town.human() for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda human: pressed(human, link), humans))
    assert sorted(answer.status_code for answer in answers) == [303, 404, 404, 404]
    again = town.human().get(link)
    assert again.status_code == 404
    assert "cannot be used" in again.text
    assert len(town.service.database.rows("SELECT id FROM billing.owners WHERE contact = $1", contact)) == 1


def test_a_forged_cut_or_expired_link_is_none(town):
    agent, contact = new_agent(town.http), new_contact()
    ask(agent, contact)
    link, human = town.mailer.link(contact), town.human()
    last = "A" if link[-1] != "A" else "B"
    for wrong in (link[:-1], link[:-1] + last, f"{link}A", link[: -len("A" * 43)], f"{town.service.url}/claim/x"):
        assert human.get(wrong).status_code == 404
        assert human.post(wrong).status_code == 404
    town.service.database.rows("UPDATE billing.claim_requests SET expires_at = now() WHERE contact = $1", contact)
    assert human.get(link).status_code == 404
    assert human.post(link).status_code == 404
    assert agent.get("/v1/whoami")["claim_state"] == "unclaimed"


def test_asking_again_changes_nothing_and_sends_a_fresh_link_once_a_minute(town):
    agent, contact = new_agent(town.http), new_contact()
    ask(agent, contact)
    first = town.mailer.link(contact)
    again = data_of(ask(agent, contact))
    assert (again["state"], again["link_sent"]) == ("unchanged", False)
    assert_answered_by_rule(ask(agent, new_contact()), Refusal.RATE_LIMITED)
    town.later(2)
    fresh = data_of(ask(agent, contact))
    assert (fresh["state"], fresh["link_sent"]) == ("unchanged", True)
    assert len(town.mailer.links(contact)) == 2
    assert town.human().get(first).status_code == 200


def test_another_contact_ends_the_links_of_the_first(town):
    agent, wrong, right = new_agent(town.http), new_contact(), new_contact()
    ask(agent, wrong)
    link = town.mailer.link(wrong)
    town.later(2)
    assert data_of(ask(agent, right))["state"] == "attached"
    assert town.human().post(link).status_code == 404
    town.human().claims(town.mailer.link(right))


def test_a_contact_gets_a_few_links_an_hour_whoever_asks(town):
    contact = new_contact()
    for _ in range(LINKS_PER_CONTACT):
        data_of(ask(new_agent(town.http), contact))
    late = new_agent(town.http)
    assert_answered_by_rule(ask(late, contact), Refusal.RATE_LIMITED)
    assert ask(late, contact).json()["error"]["recovery"]["retry_after_seconds"] > 60
    assert len(town.mailer.links(contact)) == LINKS_PER_CONTACT


def test_strangers_that_name_an_owner_keep_no_link_from_what_it_owns(town):
    agent, _, contact = town.owned()
    for _ in range(LINKS_PER_CONTACT):
        data_of(ask(new_agent(town.http), contact))
    assert_answered_by_rule(ask(new_agent(town.http), contact), Refusal.RATE_LIMITED)
    for _ in range(LINKS_PER_CONTACT - 1):
        town.later(2)
        assert data_of(ask(agent, contact))["link_sent"] is True
    town.later(2)
    assert_answered_by_rule(ask(agent, contact), Refusal.RATE_LIMITED)


def test_what_is_sent_to_an_owner_for_its_own_counts_for_nobody_else(town):
    agent, _, contact = town.owned()
    for _ in range(LINKS_PER_CONTACT - 1):
        town.later(2)
        data_of(ask(agent, contact))
    assert data_of(ask(new_agent(town.http), contact))["link_sent"] is True


def test_links_that_could_not_be_sent_are_tried_so_often_and_no_more(town):
    agent, contact = new_agent(town.http), new_contact()
    town.mailer.status = 500
    try:
        for _ in range(TRIES_PER_CONTACT):
            error_of(ask(agent, contact), 503, "SERVICE_UNAVAILABLE")
        assert_answered_by_rule(ask(new_agent(town.http), contact), Refusal.RATE_LIMITED)
    finally:
        town.mailer.status = 202


def test_a_link_that_could_not_be_sent_is_asked_for_again_at_once(town):
    agent, contact = new_agent(town.http), new_contact()
    town.mailer.status = 500
    try:
        for _ in range(LINKS_PER_CONTACT + 1):
            assert error_of(ask(agent, contact), 503, "SERVICE_UNAVAILABLE")["retryable"] is True
    finally:
        town.mailer.status = 202
    assert data_of(ask(agent, contact))["link_sent"] is True
    town.human().claims(town.mailer.link(contact))


def test_an_owner_is_not_replaced_by_an_agent(town):
    agent, human, contact = town.owned()
    assert_answered_by_rule(ask(agent, new_contact()), Refusal.CLAIM_CONFLICT)
    town.later(2)
    again = data_of(ask(agent, contact))
    assert (again["state"], again["claim_state"]) == ("unchanged", "claimed")
    assert human.get("/owner").status_code == 200


@pytest.mark.parametrize(
    "contact", ["nobody", "", None, 7, "a@b", "x" * 300 + "@a.example", "a@b.example\x00"], ids=str
)
def test_what_is_no_address_is_refused(town, contact):
    answer = new_agent(town.http).send("POST", "/v1/agent-claims", {"contact": contact})
    assert error_of(answer, 400, "INVALID_ARGUMENTS")["message"].startswith("contact ")


@pytest.mark.parametrize(
    ("path", "field"),
    [("/v1/agent-claims", "contact"), ("/v1/agent-signups", "agent_contact"), ("/v1/agent-signups", "human_email"),
     ("/v1/agents", "agent_contact")],
)  # fmt: skip
def test_an_address_that_a_program_would_read_as_an_option_is_refused(town, path, field):
    body = {"agent_name": "a", "runtime": "b", field: " -oQ@agents.example"}
    message = error_of(new_agent(town.http).send("POST", path, body), 400, "INVALID_ARGUMENTS")["message"]
    assert message == f"{field} must not begin with a hyphen"


def test_who_only_presented_a_wallets_payment_gives_nothing_away(town):
    agent, contact = new_agent(town.http), new_contact()
    town.service.database.rows(
        "INSERT INTO billing.payer_wallets (network, address, organization_id, agent_id, founded, created_at) "
        "VALUES ('eip155:8453', $1, $2, $3, true, now())",
        contact,
        parse("org", agent.organization_id),
        parse("agt", agent.agent_id),
    )
    error_of(ask(agent, contact), 409, "WALLET_SIGN_IN_FIRST")
    assert town.mailer.links(contact) == []
    town.service.database.rows("UPDATE billing.payer_wallets SET signed_in_at = now() WHERE address = $1", contact)
    assert data_of(ask(agent, contact))["state"] == "attached"


def test_an_organization_that_was_offered_to_a_human_is_never_taken_over_by_its_contact(town):
    contact = new_contact()
    agent = agent_of(town.http, data_of(sign_up(town.http, agent_contact=contact)))
    ask(agent, new_contact())
    other = data_of(sign_up(town.http, agent_contact=contact))
    assert (other["rotated"], other["organization_id"] == agent.organization_id) == (False, False)
    assert agent.get("/v1/whoami")["token_status"] == "active"
    kept = data_of(sign_up(town.http, agent_contact=contact, token=agent.token))
    assert kept["organization_id"] != other["organization_id"]


def test_an_operator_ends_an_ownership_and_everything_that_hangs_on_it(town, database: Database):
    agent, human, contact = town.owned()
    admin = new_operator(town.http, database, Scope.ADMIN)
    human.post("/owner/sign-in", {"contact": contact})
    link = town.mailer.link(contact, number=2)
    path = f"/v1/operator/organizations/{agent.organization_id}/owner/end"
    body = {"idempotency_key": new_key(), "reason": "the wrong human"}
    done = data_of(admin.send("POST", path, body))
    assert (done["action"]["action"], done["replayed"]) == ("end_ownership", False)
    assert contact not in str(done)
    assert data_of(admin.send("POST", path, body))["replayed"] is True
    assert human.get("/owner").status_code == 303
    assert human.post(link).status_code == 404
    assert agent.get("/v1/whoami")["claim_state"] == "unclaimed"
    error_of(admin.send("POST", path, {**body, "idempotency_key": new_key()}), 404, "NOT_FOUND")
    town.later(2)
    other = new_contact()
    assert data_of(ask(agent, other))["state"] == "attached"
    assert agent.organization_id in town.human().claims(town.mailer.link(other)).text


def test_no_link_cookie_or_form_stands_in_the_log(town):
    agent, human, contact = town.owned()
    human.post("/owner/token", human.form("/owner/token", agent.agent_id))
    secrets = [town.mailer.link(contact).rpartition("/")[2], human.client.cookies["purser-owner"],
               human.form("/owner/end")["form"], contact]  # fmt: skip
    until(lambda: '"route":"/claim/{link}"' in town.service.log())
    log = town.service.log()
    assert [secret for secret in secrets if secret in log] == []
    stored = str(town.service.database.rows("SELECT * FROM billing.claim_requests WHERE contact = $1", contact))
    assert secrets[0][32:] not in stored


def test_without_a_sender_the_link_stands_in_the_log(http, service):
    agent, contact = new_agent(http), new_contact()
    ask(agent, contact)
    [link] = re.findall(rf'"link":"([^"]+)","contact":"{contact}"', service.log())
    with service.client() as client:
        assert agent.organization_id in Human(client).claims(link).text


def test_the_times_of_an_answer_are_said_in_utc(town):
    asked = data_of(ask(new_agent(town.http), new_contact()))
    next_at = datetime.fromisoformat(asked["next_link_at"])
    assert 30 < (next_at - datetime.now(UTC)).total_seconds() <= 61
