"""Who has the link to a payment prints its receipt once it is paid, and learns nothing else by it."""

import json
import re
from contextlib import contextmanager
from urllib.parse import urljoin

import pytest

from api.pages import receipt_page
from ledger import ids
from tests.browser.test_pages_render import HOSTILE, SCREENS, Outline
from tests.service import DEPOSIT, RECEIPT_KEY, Agent, error_of, until

FORMS_OF_A_NAME = re.compile(r"\b(?:org|agt|quote|op|credit_event|receipt|payatt)_[0-9a-z]{26}\b")


@pytest.fixture
def paid(agent: Agent, sandbox):
    """A payment by card that has settled: its link, and its receipt as its organization sees it."""
    bought = agent.buy(agent.quote())
    sandbox.pay(bought["checkout_session_id"])
    known = agent.wait_for_state("succeeded", quote_id=bought["quote_id"])["receipt"]
    return bought, agent.get(f"/v1/receipts/{known['receipt_id']}")


def printed(http, bought):
    return http.get(f"{bought['checkout_handoff_url']}/receipt")


def said_by(page):
    """What a reader of a page reads, piece by piece."""
    return {" ".join(text.split()) for text in Outline(page).texts}


def without_a_receipt(answer):
    """The one answer wherever there is no receipt to see."""
    assert answer.status_code == 404
    assert answer.headers["cache-control"] == "no-store"
    return answer.text


def test_the_link_of_a_paid_payment_leads_to_a_receipt_with_the_signature_of_the_whole_one(http, paid):
    bought, document = paid
    link = bought["checkout_handoff_url"]
    [href] = re.findall(r'id="print" href="([^"]+)"', http.get(link).text)
    assert urljoin(link, href) == f"{link}/receipt"
    answer = printed(http, bought)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    signature = document["signature"]
    shown = {"receipt": document["receipt"]["receipt_id"], "key": signature["key_id"], "signature": signature["value"]}
    for name, said in shown.items():
        assert f'<code id="{name}">{said}</code>' in answer.text
    assert '<dd id="total">$5.00</dd>' in answer.text
    head = http.head(f"{link}/receipt")
    assert (head.status_code, head.content) == (200, b"")


def test_the_receipt_has_the_headers_of_the_payments_own_page(http, paid):
    bought, _ = paid
    page, receipt = http.get(bought["checkout_handoff_url"]), printed(http, bought)
    assert (receipt.headers["cache-control"], receipt.headers["referrer-policy"]) == ("no-store", "no-referrer")
    changing = {"content-length", "date", "x-request-id", "x-trace-id"}
    assert {name: value for name, value in receipt.headers.items() if name not in changing} == {
        name: value for name, value in page.headers.items() if name not in changing
    }
    assert "set-cookie" not in receipt.headers


def test_the_receipt_tells_no_more_than_the_payments_page_and_the_signature(http, paid, agent):
    bought, document = paid
    page, receipt = http.get(bought["checkout_handoff_url"]).text, printed(http, bought).text
    stated = document["receipt"]
    signature = document["signature"]
    added = said_by(receipt) - said_by(page)
    assert signature["value"] in added
    facts = {one for one in added if re.search(r"[0-9]", one)}
    assert facts == {signature["value"], signature["key_id"], signature["algorithm"]}
    assert set(FORMS_OF_A_NAME.findall(receipt)) == {stated["receipt_id"]}
    private = [agent.organization_id, agent.agent_id, stated["quote_id"], stated["journal"]["operation_id"]]
    private += [str(ids.parse(name.rpartition("_")[0], name)) for name in private]
    private += [stated["journal"]["head"], agent.token, RECEIPT_KEY, bought["checkout_session_id"], "4242", "@"]
    # Random letters, as of the number and the signature, may happen to have four digits of a card in them.
    told = receipt.partition("</style>")[2].replace(signature["value"], "").replace(stated["receipt_id"], "")
    assert [secret for secret in private if secret in told] == []


@contextmanager
def as_a_wallets(database, bought):
    """The payment as if a wallet had paid it by its signature."""
    attempt_id = ids.parse("payatt", bought["payment_attempt_id"])
    method = "UPDATE billing.payment_attempts SET method = $2 WHERE id = $1"
    database.rows(method, attempt_id, "x402.exact.usdc")
    try:
        yield
    finally:
        database.rows(method, attempt_id, "stripe_checkout")


def test_what_a_wallet_paid_by_its_signature_has_no_receipt_for_strangers(http, database, paid):
    """Whoever presents a payment that is public on the chain is told its attempt's id (decisions/0016)."""
    bought, document = paid
    with as_a_wallets(database, bought):
        text = without_a_receipt(printed(http, bought))
        page = http.get(bought["checkout_handoff_url"])
    assert document["receipt"]["receipt_id"] not in text
    assert "/receipt" not in page.text
    assert printed(http, bought).status_code == 200


def names_at_stripe(database, bought):
    """What calls and events about an attempt name: itself, or what was opened for it."""
    name = bought["payment_attempt_id"]
    query = "SELECT object_id FROM billing.payment_attempts WHERE id = $1"
    [(opened,)] = database.rows(query, ids.parse("payatt", name))
    return name, opened


def asked_about(sandbox, names):
    """Every request of the service so far that has one of these names in it, anywhere."""
    calls = [json.dumps(call) for call in sandbox.control("GET", "calls")["calls"]]
    return [call for call in calls if any(name in call for name in names)]


def settle_letters(database, sandbox, names):
    """Wait until the service has dealt with all letters about these: it reads at Stripe what they are about."""
    query = "SELECT provider_event_id FROM webhooks.letters WHERE state <> 'pending'"
    told = {event["id"] for name in names for event in sandbox.events_about(name)}
    until(lambda: told <= {event for (event,) in database.rows(query)})


def let_be_quiet(database, attempt):
    """Nothing was heard of an attempt for so long that whoever asks after its state makes the service ask Stripe."""
    past = "looked_at = looked_at - interval '1 minute', updated_at = updated_at - interval '1 minute'"
    update = f"UPDATE billing.payment_attempts SET {past} WHERE id = $1"
    database.rows(update, ids.parse("payatt", attempt))


def test_before_and_without_a_payment_there_is_no_receipt_and_every_such_answer_is_the_same(
    http, agent, sandbox, database
):
    waiting, canceled, deposit = agent.buy(agent.quote()), agent.buy(agent.quote()), agent.buy(agent.quote(DEPOSIT))
    agent.post(f"/v1/credit-purchases/{canceled['payment_attempt_id']}/cancel")
    expired = agent.buy(agent.quote())
    sandbox.control("POST", f"sessions/{expired['checkout_session_id']}/expire")
    agent.wait_for_state("expired", payment_attempt_id=expired["payment_attempt_id"])
    names = [one["payment_attempt_id"] for one in (waiting, canceled, deposit, expired)]
    names += ["payatt_" + "0" * 26, "payatt_", "nonsense", waiting["quote_id"], "%3Cscript%3E"]
    known = [names_at_stripe(database, one) for one in (waiting, canceled, deposit, expired)]
    for one in known:
        settle_letters(database, sandbox, one)
        let_be_quiet(database, one[0])
    before = [asked_about(sandbox, one) for one in known]
    assert len({without_a_receipt(http.get(f"/pay/{name}/receipt")) for name in names}) == 1
    assert [asked_about(sandbox, one) for one in known] == before, "it asks nobody, and opens nothing again"
    assert all(before), "what was asked before is seen"
    error_of(http.post(f"/pay/{names[0]}/receipt"), 405, "METHOD_NOT_ALLOWED")


def test_without_a_database_the_receipt_asks_again_by_itself(dark_http):
    answer = dark_http.get(f"/pay/payatt_{'0' * 26}/receipt")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert "Back in a moment" in answer.text


PAID = {name: (screen, screen.paid) for name, screen in SCREENS.items() if screen.paid is not None}


@pytest.mark.parametrize("name", PAID)
def test_every_paid_page_has_a_receipt_of_the_same_facts_signed_or_not(name):
    screen, paid = PAID[name]
    unsigned = Outline(receipt_page.of_payer(screen, paid, None)).text
    for said in (paid.receipt_id, f"{screen.credits} credits", paid.means, "2026", "does not sign"):
        assert said in unsigned
    signed = receipt_page.of_payer(screen, paid, dict.fromkeys(("algorithm", "key_id", "value"), HOSTILE))
    assert Outline(signed).text.count(HOSTILE) == 3
    assert "does not sign" not in signed
