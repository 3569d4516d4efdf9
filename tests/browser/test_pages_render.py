"""Every page of `/pay/{attempt}` as HTML, without a browser: what it says, what it keeps to itself, what it escapes."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from typing import Any
from uuid import UUID

import pytest

from api.pages import page, screens, texts
from api.pages.deposit import CODES_KEPT_MAX, qr_code, token_amount
from api.pages.markup import html
from api.pages.screens import WATCHED, Kind, Screen
from billing.attempts import AttemptState
from billing.handoff import Visit
from billing.tables import CreditQuote, PaymentAttempt, Receipt
from ledger.ids import external
from rails.rail import Action, CheckoutAction, DepositAction, X402Action

NOW = datetime(2026, 11, 21, 8, 30, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)
ORGANIZATION, AGENT, ATTEMPT, QUOTE, RECEIPT, OPERATION = (UUID(int=(7 << 76) + number) for number in range(1, 7))
CHECKOUT = CheckoutAction("cs_test_a1", "https://checkout.stripe.com/c/pay/cs_test_a1#fid%20x", LATER)
DEPOSIT = DepositAction(
    payment_intent_id="pi_3Secret",
    network="base",
    token_currency="usdc",
    token_decimals=6,
    token_contract_address="0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913",
    deposit_address="0x209693Bc6afc0C5328bA36FaF03C514EF312287C",
    token_amount_atomic=5_000_000,
    expires_at=LATER,
)
SIGNATURE = X402Action(f"{external('payatt', ATTEMPT)}:1", {"payTo": "0xTreasury", "amount": "5000000"}, LATER)
HOSTILE = "<script>alert(1)</script>\"'&{kind}"


def visit(
    state: AttemptState, *, action: Action | None = None, receipt: bool = False, method: str = "stripe_checkout"
) -> Visit:
    """What billing says of a 500-credit purchase in `state`."""
    attempt = PaymentAttempt(
        organization_id=ORGANIZATION,
        id=ATTEMPT,
        agent_id=AGENT,
        quote_id=QUOTE,
        idempotency_key="the-agents-key",
        method=method,
        state=state,
        reason="card_declined: The card was declined." if state is AttemptState.FAILED else None,
        request_number=1,
        object_id="cs_test_a1",
        payable_until=LATER,
        created_at=NOW,
        updated_at=NOW,
    )
    quote = CreditQuote(
        organization_id=ORGANIZATION,
        id=QUOTE,
        agent_id=AGENT,
        idempotency_key="the-agents-key",
        credits=500,
        price_cents=500,
        currency="usd",
        payment_method=method,
        live_money=False,
        created_at=NOW,
        expires_at=LATER,
    )
    return Visit(attempt, quote, action, _receipt() if receipt else None)


def _receipt() -> Receipt:
    return Receipt(
        organization_id=ORGANIZATION,
        id=RECEIPT,
        attempt_id=ATTEMPT,
        quote_id=QUOTE,
        operation_id=OPERATION,
        credits=500,
        subtotal_cents=500,
        discount_cents=50,
        tax_cents=36,
        total_cents=486,
        currency="usd",
        late=False,
        details={"brand": "visa", "last4": "4242"},
        settled_at=NOW,
        created_at=NOW,
    )


def shown(seen: Visit, *, returned: str | None = None, now: datetime = NOW, sandbox: bool = True) -> Screen:
    return screens.screen(seen, returned=returned, sandbox=sandbox, now=now)


def paid(method: str = "stripe_checkout", **changes: Any) -> Visit:
    """A purchase whose receipt says something else than usual."""
    seen = visit(AttemptState.SUCCEEDED, receipt=True, method=method)
    for name, value in changes.items():
        setattr(seen.receipt, name, value)
    return seen


def saying(seen: Visit, reason: str) -> Visit:
    seen.attempt.reason = reason
    return seen


DEPOSITED = {"subtotal_cents": 0, "discount_cents": 0, "tax_cents": 0}
X402, WALLET = "stripe_x402.exact.usdc", "x402.exact.usdc"
WAITS = visit(AttemptState.ACTION_REQUIRED, action=CHECKOUT)
ASKS = visit(AttemptState.ACTION_REQUIRED, action=DEPOSIT, method=X402)
SIGNS = visit(AttemptState.ACTION_REQUIRED, action=SIGNATURE, method=WALLET)
BY_WALLET = {"network": "eip155:84532", "payer": "0xPayer", "transaction_hash": "0xHash"}
SCREENS = {
    "unpaid": shown(WAITS, returned="0"),
    "waiting": shown(WAITS, returned="1"),
    "deposit": shown(ASKS),
    "lapsed": shown(ASKS, now=LATER),
    "signing": shown(SIGNS),
    "signing is over": shown(SIGNS, now=LATER),
    "processing by wallet": shown(visit(AttemptState.PROCESSING, method=WALLET)),
    "paid by wallet": shown(paid(WALLET, details=BY_WALLET)),
    "failed by wallet": shown(saying(visit(AttemptState.FAILED, method=WALLET), "It was not sent (paused: by owner).")),
    "looked at by wallet": shown(saying(visit(AttemptState.PROCESSING, method=WALLET), "5.00 USD are held.")),
    "processing": shown(visit(AttemptState.PROCESSING)),
    "processing on chain": shown(visit(AttemptState.PROCESSING, method=X402)),
    "busy": shown(visit(AttemptState.CREATED)),
    "paid": shown(visit(AttemptState.SUCCEEDED, receipt=True)),
    "paid on chain": shown(visit(AttemptState.SUCCEEDED, receipt=True, method=X402)),
    "expired": shown(visit(AttemptState.EXPIRED)),
    "expired on chain": shown(visit(AttemptState.EXPIRED, method=X402)),
    "canceled": shown(visit(AttemptState.CANCELED)),
    "canceled on chain": shown(visit(AttemptState.CANCELED, method=X402)),
    "failed": shown(visit(AttemptState.FAILED)),
    "paid late": shown(paid(late=True)),
    "paid by bank debit": shown(paid(details={"type": "us_bank_account", "last4": "6789"})),
    "free": shown(paid(discount_cents=500, tax_cents=0, total_cents=0)),
    "paid in part": shown(paid(X402, credits=300, **DEPOSITED, total_cents=300)),
    "paid too much": shown(paid(X402, **DEPOSITED, total_cents=625)),
    "paid twice": shown(saying(paid(), "A second payment of 5.00 USD arrived; it is kept until it is sent back.")),
    "paid second": shown(saying(visit(AttemptState.CANCELED), "A second payment of 5.00 USD arrived.")),
    "looked at": shown(saying(visit(AttemptState.PROCESSING), "A person is looking at it.")),
    "arrived in part": shown(saying(visit(AttemptState.PROCESSING, method=X402), "300 of 500 cents have arrived.")),
}
EVERY = pytest.mark.parametrize("name", SCREENS)


class Outline(HTMLParser):
    """The tags of a page with their attributes, and its text outside of style and script."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.raw: dict[str, str] = {}
        self._inside = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._inside = tag

    def handle_endtag(self, tag: str) -> None:  # noqa: ARG002 -- the parser calls it so
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside in {"style", "script"}:
            self.raw[self._inside] = self.raw.get(self._inside, "") + data
        else:
            self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def test_every_kind_of_page_is_rendered_here() -> None:
    assert {screen.kind for screen in SCREENS.values()} == set(Kind)


@EVERY
def test_a_page_says_what_it_is(name: str) -> None:
    screen = SCREENS[name]
    outline = Outline(page.of_screen(screen))
    assert outline.all("html") == [{"lang": "en"}]
    assert f"{texts.words(screen).heading} · Purser" in outline.text
    assert len(outline.all("h1")) == 1
    assert "Sandbox: no real money" in outline.text


@pytest.mark.parametrize("name", [name for name, screen in SCREENS.items() if screen.method_id != WALLET])
def test_a_page_says_what_is_paid_for(name: str) -> None:
    text = Outline(page.of_screen(SCREENS[name])).text
    assert f"{SCREENS[name].credits} credits" in text
    assert "$5.00" in text


@EVERY
def test_a_page_shows_nothing_of_organization_agent_balance_or_provider(name: str) -> None:
    text = page.of_screen(SCREENS[name])
    private = [external("org", ORGANIZATION), external("agt", AGENT), external("quote", QUOTE), "the-agents-key"]
    private += [CHECKOUT.session_id, DEPOSIT.payment_intent_id, "4242", *map(str, (ORGANIZATION, AGENT, OPERATION))]
    private += ["0xTreasury", "0xPayer", "0xHash"]
    assert [secret for secret in private if secret in text] == []
    assert not re.search(r"\b(organi[sz]ation|agent|balance|pi_\w|cs_\w)", Outline(text).text, re.IGNORECASE)


@EVERY
def test_a_page_asks_for_news_only_while_there_can_be_some(name: str) -> None:
    screen = SCREENS[name]
    outline = Outline(page.of_screen(screen))
    (main,) = outline.all("main")
    watched = screen.kind in WATCHED
    assert main["data-watch"] == ("yes" if watched else "no")
    refreshes = [meta["content"] for meta in outline.all("meta") if meta.get("http-equiv") == "refresh"]
    assert refreshes == (["15"] if watched else ["5"] if screen.kind is Kind.BUSY else [])
    final = {Kind.PAID, Kind.EXPIRED, Kind.CANCELED, Kind.FAILED}
    assert (not refreshes) == (screen.kind in final)


@EVERY
def test_only_our_own_style_and_script_may_run(name: str) -> None:
    outline = Outline(page.of_screen(SCREENS[name]))
    policy = page.HEADERS["Content-Security-Policy"]
    for tag in ("style", "script"):
        digest = base64.b64encode(hashlib.sha256(outline.raw[tag].encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    for tag, attributes in outline.tags:
        assert tag not in {"iframe", "object", "form", "img"}
        assert not [key for key in attributes if key == "style" or key.startswith("on")]


def test_a_paid_page_is_the_payers_proof() -> None:
    text = Outline(page.of_screen(SCREENS["paid"])).text
    for said in (external("receipt", RECEIPT), "$4.86", "−$0.50", "$0.36", "Card", "21 Nov 2026, 08:30 UTC"):
        assert said in text
    assert "You can close this page." in text


def test_a_failed_page_gives_the_reason_in_plain_words() -> None:
    text = Outline(page.of_screen(SCREENS["failed"])).text
    assert "The card was declined." in text
    assert "card_declined" not in text


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("paid late", ["Payment received", "it was honoured all the same"]),
        ("paid by bank debit", ["Payment received", "Bank account"]),
        ("free", ["Nothing to pay", "covered the whole price", "−$5.00", "$0.00", "Promotion code"]),
        ("paid in part", ["Part of the payment received", "300 credits", "$5.00", "$3.00", "do not send the rest"]),
        ("paid too much", ["More arrived than was asked for", "500 credits", "$6.25", "The rest is kept"]),
        ("paid twice", ["Payment received", "A second payment of 5.00 USD arrived; it is kept"]),
        ("paid second", ["This payment was canceled", "A second payment of 5.00 USD arrived."]),
        ("looked at", ["A person is looking at it.", "Please do not pay again"]),
        ("signing", ["Waiting for a wallet's signature", "nothing for you to do here", "updates by itself"]),
        ("signing is over", ["This payment link has expired", "Nothing was taken."]),
        ("processing by wallet", ["Transfer seen", "Do not send it again"]),
        ("paid by wallet", ["Payment received", "You can close this page."]),
        ("failed by wallet", ["The payment did not work"]),
        ("looked at by wallet", ["Your payment was seen", "Please do not pay again"]),
        ("arrived in part", ["300 of 500 cents have arrived.", "Please do not pay again"]),
    ],
)
def test_each_ending_says_what_happened(name: str, says: list[str]) -> None:
    text = Outline(page.of_screen(SCREENS[name])).text
    assert [said for said in says if said not in text] == []


def test_a_reason_without_a_code_stays_whole() -> None:
    seen = visit(AttemptState.FAILED)
    seen.attempt.reason = "The bank said: no."
    assert shown(seen).reason == "The bank said: no."


def test_the_deposit_page_has_everything_a_wallet_needs() -> None:
    outline = Outline(page.of_screen(SCREENS["deposit"]))
    for said in (DEPOSIT.deposit_address, DEPOSIT.token_contract_address, "Base", "21 Nov 2026, 09:30 UTC"):
        assert said in outline.text
    assert "Send exactly 5.00 USDC, on Base." in outline.text
    (wallet,) = [link["href"] for link in outline.all("a")]
    assert wallet == (
        "ethereum:0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913@8453/transfer"
        "?address=0x209693Bc6afc0C5328bA36FaF03C514EF312287C&uint256=5000000"
    )


def test_a_deposit_that_is_over_is_not_asked_for_any_more() -> None:
    text = page.of_screen(SCREENS["lapsed"])
    assert DEPOSIT.deposit_address not in text
    assert "<svg" not in text
    assert "do not send anything" in text


@pytest.mark.parametrize(
    ("atomic", "amount"),
    [(5_000_000, "5.00"), (10_000, "0.01"), (5_125_000, "5.125"), (50_000_001, "50.000001"), (1_230_000, "1.23")],
)
def test_a_token_amount_keeps_every_digit(atomic: int, amount: str) -> None:
    deposit = SCREENS["deposit"].deposit
    assert deposit is not None
    assert token_amount(replace(deposit, amount_atomic=atomic)) == amount


def test_hostile_text_stays_text() -> None:
    deposit, paid = SCREENS["deposit"], SCREENS["paid"]
    assert deposit.deposit is not None
    assert paid.paid is not None
    texts_of: dict[str, Any] = dict.fromkeys(("network", "token", "token_contract", "address", "uri"), HOSTILE)
    pages = [
        page.of_screen(replace(SCREENS["failed"], reason=HOSTILE)),
        page.of_screen(replace(SCREENS["waiting"], version=HOSTILE)),
        page.of_screen(replace(paid, paid=replace(paid.paid, receipt_id=HOSTILE))),
        page.of_screen(replace(deposit, deposit=replace(deposit.deposit, **texts_of))),
        page.of_notice(texts.Words(HOSTILE, HOSTILE, HOSTILE, HOSTILE), sandbox=False),
    ]
    for text in pages:
        assert "<script>alert" not in text
        outline = Outline(text)
        assert len(outline.all("script")) == 1
        assert "alert" not in outline.raw["script"]
        values = [value for _, attributes in outline.tags for value in attributes.values() if value]
        assert HOSTILE in outline.text or HOSTILE in values


def test_the_one_door_escapes_and_lets_markup_through_once() -> None:
    inner = html("<b>{x}</b>", x='<&"')
    assert inner == "<b>&lt;&amp;&quot;</b>"
    assert html("{a}{b}", a=inner, b="<") == "<b>&lt;&amp;&quot;</b>&lt;"


def test_a_live_page_carries_no_sandbox_banner() -> None:
    assert "Sandbox" not in page.of_screen(shown(visit(AttemptState.EXPIRED), sandbox=False))


def test_a_payer_with_an_open_session_is_sent_on_with_the_fragment() -> None:
    assert screens.forward_url(WAITS, returned=None) == CHECKOUT.url
    assert screens.forward_url(WAITS, returned="2") == CHECKOUT.url


@pytest.mark.parametrize("returned", ["1", "0"])
def test_a_payer_who_comes_back_is_not_sent_away_again(returned: str) -> None:
    assert screens.forward_url(WAITS, returned=returned) is None
    (link,) = Outline(page.of_screen(shown(WAITS, returned=returned))).all("a")
    assert link["href"] == "?"


def test_a_receipt_that_was_just_written_wins_over_an_older_look() -> None:
    seen = replace(WAITS, receipt=_receipt())
    assert screens.forward_url(seen, returned=None) is None
    assert shown(seen).kind is Kind.PAID


def test_an_attempt_whose_page_could_not_be_asked_for_is_busy() -> None:
    assert shown(visit(AttemptState.ACTION_REQUIRED)).kind is Kind.BUSY


def test_only_an_attempt_without_a_next_step_is_worth_another_look() -> None:
    stuck = [visit(AttemptState.CREATED), visit(AttemptState.ACTION_REQUIRED)]
    assert [screens.is_stuck(seen, now=NOW) for seen in stuck] == [True, True]
    assert screens.is_stuck(WAITS, now=LATER)
    moving = [WAITS, ASKS, visit(AttemptState.EXPIRED), replace(WAITS, action=None, receipt=_receipt())]
    assert [screens.is_stuck(seen, now=NOW) for seen in moving] == [False] * 4
    assert not screens.is_stuck(ASKS, now=LATER)


def test_the_version_changes_with_state_time_and_deadline() -> None:
    moved = visit(AttemptState.ACTION_REQUIRED, action=DEPOSIT, method=X402)
    moved.attempt.updated_at = NOW + timedelta(microseconds=1)
    versions = [
        screens.version(ASKS, now=NOW),
        screens.version(ASKS, now=LATER),
        screens.version(moved, now=NOW),
        screens.version(visit(AttemptState.PROCESSING, method=X402), now=NOW),
    ]
    assert len(set(versions)) == len(versions)
    assert screens.version(ASKS, now=NOW) == screens.version(ASKS, now=NOW + timedelta(minutes=5))


def test_code_is_drawn_once_for_each_payment_and_a_bounded_number_is_kept() -> None:
    first = qr_code("ethereum:0xabc")
    assert qr_code("ethereum:0xabc") is first
    assert qr_code("ethereum:0xdef") != first
    assert qr_code.cache_info().maxsize == CODES_KEPT_MAX
