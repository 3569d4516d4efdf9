"""A contact is erased from everything but the journal, and the books do not notice."""

import json
import sys
from datetime import timedelta
from uuid import uuid4

import pytest

from api.cli import main
from billing.operator_actions import COMMAND_LINE
from billing.refusals import Refusal, Refused
from billing.scopes import Scope
from tests.giving import give, in_house, new_operator, organization_of
from tests.mailing import ask, town_of
from tests.service import data_of, new_agent, new_contact, new_key, sign_up, until
from webhooks import forgetting, inbox, redaction
from webhooks.inbox import Envelope

TEXTS = """
    SELECT format('%I.%I', n.nspname, c.relname), quote_ident(a.attname), format_type(a.atttypid, NULL)
    FROM pg_attribute AS a JOIN pg_class AS c ON c.oid = a.attrelid JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE c.relkind = 'r' AND a.attnum > 0 AND NOT a.attisdropped
      AND n.nspname IN ('billing', 'finance', 'ledger', 'webhooks', 'public')
      AND format_type(a.atttypid, NULL) IN ('text', 'text[]', 'jsonb', 'bytea', 'character varying')"""


def places_of(database, word):
    """Every column of the database in which a word stands, however it is written."""
    found = []
    for table, column, type_ in database.rows(TEXTS):
        said = f"encode({column}, 'escape')" if type_ == "bytea" else f"{column}::text"
        [[seen]] = database.rows(f"SELECT count(*) FROM {table} WHERE strpos(lower({said}), lower($1)) > 0", word)
        if seen:
            found.append(f"{table}.{column}")
    return sorted(found)


def heads_of(database):
    """How far each book goes, and its head."""
    return database.rows("SELECT organization_id, last_seq, head FROM ledger.books WHERE last_seq > 0 ORDER BY 1")


def hashes_at(database, heads):
    """The same places in the journal now: what the service posts meanwhile, for other tests, stands behind them."""
    return database.rows(
        "SELECT o.organization_id, o.seq, o.hash FROM ledger.operations AS o"
        " JOIN unnest($1::uuid[], $2::bigint[]) AS at(book, seq) ON (o.organization_id, o.seq) = (at.book, at.seq)"
        " ORDER BY 1",
        [book for book, _, _ in heads],
        [seq for _, seq, _ in heads],
    )


def letter_about(contact, organization_id):
    """A letter of Stripe with what it says of a payer."""
    return {
        "id": f"evt_{new_key()}", "object": "event", "type": "charge.updated", "livemode": False,
        "data": {"object": {
            "id": "ch_1", "object": "charge", "amount": 500, "payment_intent": "pi_of_nobody", "customer": "cus_1",
            "billing_details": {"name": "Ada Byron", "email": contact.upper(), "phone": None},
            "receipt_email": contact, "receipt_url": "https://pay.example/receipts/1",
            "metadata": {"note": f"for <{contact}>", "purser_organization_id": organization_id},
        }},
    }  # fmt: skip


AT = "2026-10-03T09:00:00Z"


def planted(contact):
    """Rows in which an operator or a bank has named a person, by their table."""
    said, spelt = f"a mail to {contact}", {"text": f"SEPA {contact.upper()}"}
    return {
        "billing.webhook_endpoints": {
            "url": "https://receiver.invalid/", "types": [], "description": said, "secret": "x",
            "disabled_reason": "a test", "wants_since": AT, "created_at": AT, "updated_at": AT,
        },
        "finance.closes": {
            "period": "2020-01", "first_day": "2020-01-01", "last_day": "2020-01-31", "state": "reopened", "books": 0,
            "holder": "pytest", "reason": said, "reopen_reason": said, "seal": "\\x00", "started_at": AT,
        },
        "finance.exceptions": {
            "source": "bank", "subject": contact[:8], "finding": "different", "amount": 1, "currency": "usd",
            "here": spelt, "there": spelt, "state": "gone", "reason": said, "occurred_at": AT, "first_seen_at": AT,
            "opened_at": AT, "last_seen_at": AT, "updated_at": AT,
        },
        "finance.imports": {
            "kind": "bank", "name": f"{contact}.csv", "digest": "\\x00", "lines": 1, "holder": "pytest",
            "created_at": AT,
        },
        "finance.bank_lines": {
            "import_id": str(uuid4()), "digest": "\\x00", "booked_on": "2020-01-01", "amount_cents": 1,
            "currency": "usd", "description": said, "reference": contact, "created_at": AT,
        },
    }  # fmt: skip


def plant(database, contact):
    """Put those rows there; the columns in which the person stands."""
    for table, row in planted(contact).items():
        known = json.dumps({"id": str(uuid4()), **row})
        database.rows(f"INSERT INTO {table} SELECT (jsonb_populate_record(null::{table}, $1)).*", known)
    return {
        f"{table}.{column}"
        for table, row in planted(contact).items()
        for column, value in row.items()
        if contact.lower() in json.dumps(value).lower()
    }


@pytest.fixture(scope="module")
def town(start_service):
    with town_of(start_service) as found:
        yield found


@pytest.fixture
def purser(town, monkeypatch, capsys):
    """The command in this process, on the town's database; its exit status and what it said."""
    monkeypatch.setenv("PURSER_DATABASE_URL", town.service.database.run_url)
    monkeypatch.setenv("PURSER_MIGRATE_URL", town.service.database.owner_url)

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["purser", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        return ended.value.code or 0, said.out + said.err

    return run


def erase(town, contact, reason="they asked for it"):
    async def erased(house):
        return await forgetting.forget_contact(
            house.sessions, contact, by=COMMAND_LINE, reason=reason, now=house.clock()
        )

    return in_house(town.service.database, erased, as_owner=True)


def receive(town, event):
    body = json.dumps(event).encode()
    assert town.http.post("/webhooks/stripe", content=body, headers=town.service.signed(body)).status_code == 200
    [[letter_id]] = town.service.database.rows(
        "SELECT id FROM webhooks.letters WHERE provider_event_id = $1", event["id"]
    )
    return letter_id


def body_of(town, letter_id):
    [[body]] = town.service.database.rows("SELECT body FROM webhooks.letters WHERE id = $1", letter_id)
    return json.loads(body)


def test_an_erased_contact_stands_nowhere_and_no_book_has_changed(town):
    database, contact = town.service.database, new_contact()
    agent = new_agent(town.http, agent_contact=contact, agent_name=f"bot of {contact}", runtime="pytest")
    ask(agent, contact)
    human = town.human()
    human.claims(town.mailer.link(contact))
    give(database, agent, 100)
    agent.post("/v1/feedback", {"body": f"Write to\n{contact} please", "severity": "high", "surface": ["api"]})
    other = new_agent(town.http)
    named = plant(database, contact)
    other.post("/v1/feedback", {"title": f"I met {contact.title()}", "body": "x"})
    agent.do("/v1/create", prompt=f"a card for {contact}", model="house.sketcher")
    operator = new_operator(town.http, database, Scope.OPERATE)
    org = agent.organization_id
    operator.do(f"/v1/operator/organizations/{org}/freeze", reason=f"asked by {contact}")
    letter_id = receive(town, letter_about(contact, org))
    stranger = receive(town, letter_about(new_contact(), other.organization_id))
    books = [organization_of(one) for one in (agent, other)]
    before, unchanged = heads_of(database), body_of(town, stranger)
    known = {"billing.agents.contact", "billing.owners.contact", "webhooks.letters.body"} | named
    assert len(named) == 9
    assert known < set(places_of(database, contact))

    done = erase(town, f" {contact.upper()} ", reason=f"{contact} asked for it")

    assert places_of(database, contact) == []
    assert places_of(database, "Ada Byron") == ["webhooks.letters.body"], "only of the other payer"
    assert (done.agents, done.owners, done.links, done.feedback, done.letters) == (1, 1, 1, 1, 1)
    assert hashes_at(database, before) == before
    assert [row for row in heads_of(database) if row[0] in books] == [row for row in before if row[0] in books]
    assert body_of(town, stranger) == unchanged
    kept = body_of(town, letter_id)["data"]["object"]
    assert (kept["id"], kept["amount"], kept["customer"]) == ("ch_1", 500, "cus_1")
    assert kept["metadata"] == {"note": "for <[erased]>", "purser_organization_id": org}
    [[said]] = database.rows(
        "SELECT said FROM billing.feedback WHERE agent_id IN (SELECT id FROM billing.agents WHERE name = 'erased') "
        "AND said ->> 'severity' = 'high' ORDER BY id DESC LIMIT 1"
    )
    assert json.loads(said) | {"body": "erased", "surface": ["api"]} == json.loads(said)
    [[reason]] = database.rows(
        "SELECT reason FROM billing.operator_actions WHERE action = 'erase_contact' ORDER BY id DESC LIMIT 1"
    )
    assert reason == "erased asked for it"


def test_who_was_erased_comes_back_as_somebody_new_while_its_agents_go_on(town):
    database = town.service.database
    agent, human, contact = town.owned()
    give(database, agent, 50)
    open_link = town.human()
    open_link.post("/owner/sign-in", {"contact": contact})
    link = town.mailer.link(contact, number=2)
    erase(town, contact)
    assert agent.do("/v1/spends", credits=5)
    assert human.get("/owner").headers["location"] == "/owner/sign-in"
    assert open_link.post(link).status_code == 404
    again = data_of(sign_up(town.http, agent_contact=contact))
    assert again["organization_id"] != agent.organization_id
    town.later(120)
    heir = new_contact()
    ask(agent, heir)
    town.human().claims(town.mailer.link(heir))
    with pytest.raises(Refused) as refused:
        erase(town, new_contact())
    assert refused.value.refusal is Refusal.NOT_FOUND
    assert erase(town, contact).agents == 1
    with pytest.raises(Refused):
        erase(town, contact)


def test_what_was_paid_and_proven_is_verified_after_an_erasure_as_before(town, sandbox, purser):
    agent, _, contact = town.owned()
    bought = agent.buy(agent.quote())
    sandbox.pay(bought["checkout_session_id"])
    known = agent.wait_for_state("succeeded", quote_id=bought["quote_id"])["receipt"]
    receipt = agent.get(f"/v1/receipts/{known['receipt_id']}")
    rows = town.service.database.rows
    about = "SELECT body FROM webhooks.letters WHERE strpos(encode(body, 'escape'), $1) > 0"
    # The last letter about a payment; one that came after the erasure would name the payer again.
    until(lambda: rows(about + " AND type = 'charge.updated'", agent.organization_id))
    until(lambda: not rows(about + " AND state = 'pending'", agent.organization_id))
    assert any(b"payer@example.com" in body for [body] in rows(about, agent.organization_id))
    erase(town, contact)
    assert not any(b"payer@example.com" in body for [body] in rows(about, agent.organization_id))
    assert agent.get(f"/v1/receipts/{known['receipt_id']}") == receipt
    assert agent.status(receipt_id=known["receipt_id"])["receipt"] == known
    journal = receipt["receipt"]["journal"]
    head = f"{agent.organization_id}={journal['head']}@{journal['seq']}"
    status, said = purser("verify", agent.organization_id, "--head", head)
    assert status == 0, said


def test_a_letter_without_its_person_is_about_the_same_thing():
    event = letter_about("ada@example.org", "org_1")
    once = redaction.impersonal(json.dumps(event).encode(), contact="ada@example.org")
    assert redaction.impersonal(once, contact="ada@example.org") == once
    thing = json.loads(once)["data"]["object"]
    assert thing["receipt_email"] == thing["billing_details"] == thing["receipt_url"] == redaction.ERASED
    assert {name: thing[name] for name in ("id", "object", "payment_intent")} == {
        "id": "ch_1", "object": "charge", "payment_intent": "pi_of_nobody",
    }  # fmt: skip
    assert redaction.impersonal(b"no json") == b"null"
    deep = json.dumps({"a": "ada@example.org"}).encode()
    for _ in range(40):
        deep = b'{"in": ' + deep + b"}"
    assert b"ada@" not in redaction.impersonal(deep)
    plain = b'{"id": "evt_1",  "amount": 3}'
    assert redaction.impersonal(plain) is plain


@pytest.mark.long
def test_old_letters_lose_their_persons_and_young_or_waiting_ones_keep_them(new_databases):
    database = new_databases("letters")  # without a worker, which would work on what waits
    names = {name: new_contact() for name in ("old", "waiting", "young")}

    async def done(house):
        old = house.clock() - timedelta(days=500)
        for name, contact in names.items():
            body = json.dumps(letter_about(contact, "org_1")).encode()
            envelope = Envelope("stripe", f"evt_{name}_{new_key()}", "charge.updated", body)
            await inbox.store(house.sessions, envelope, now=house.clock() if name == "young" else old)
        database.rows("UPDATE webhooks.letters SET state = 'parked' WHERE state = 'pending'")
        database.rows(
            "UPDATE webhooks.letters SET state = 'done' WHERE provider_event_id LIKE 'evt_old%' "
            "OR provider_event_id LIKE 'evt_young%'"
        )
        before = house.clock() - timedelta(days=400)
        return [await forgetting.forget_older(house.sessions, before=before) for _ in range(2)]

    assert in_house(database, done, as_owner=True) == [1, 0]
    standing = {name: places_of(database, contact) for name, contact in names.items()}
    assert standing == {"old": [], "waiting": ["webhooks.letters.body"], "young": ["webhooks.letters.body"]}


def test_the_command_erases_and_says_what(town, purser):
    _, _, contact = town.owned()
    status, said = purser("people", "erase", contact, "--reason", "asked")
    assert (status, "1 owners in 1 organizations" in said, contact in said) == (0, True, False)
    assert purser("people", "erase", contact, "--reason", "asked")[0] == 1
    assert purser("people", "erase", "nonsense", "--reason", "asked")[0] == 2
    assert purser("letters", "forget", "--older-than", "400")[0] == 0


def test_the_services_own_role_may_not_rewrite_what_was_signed_or_who_did_what(town, purser, monkeypatch):
    _, _, contact = town.owned()
    monkeypatch.delenv("PURSER_MIGRATE_URL")
    status, said = purser("people", "erase", contact, "--reason", "asked")
    assert (status, "PURSER_MIGRATE_URL" in said) == (1, True)
