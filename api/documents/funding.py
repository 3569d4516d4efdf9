"""The part of `/skill.md` on buying credits: what is sold, and each way to pay with its calls. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from api.documents.markdown import request, table
from api.documents.particulars import Particulars
from billing.packs import METHODS, STRIPE_CHECKOUT, STRIPE_X402, X402, Method, Pack
from ledger.money import usd


def money(here: Particulars) -> str:
    """Whether money is real here, in a sentence."""
    if not here.live_money:
        return "**No real money moves here: this service is for trying.**"
    pretended = [each.method_id for each in here.offered if each.method_id not in here.live_money]
    return f"Money is real, but on {', '.join(pretended)}." if pretended else "Money is real."


def dollars(pack: Pack) -> str:
    """A price as text, with the sign."""
    return f"${usd(pack.price_cents).decimal()}"


def packs(here: Particulars) -> list[str]:
    """What is sold, as a table."""
    rows = [(f"`{pack.pack_id}`", f"{pack.credits:,}", dollars(pack)) for pack in here.offer.packs]
    return table(("pack", "credits", "price"), rows)


def methods(here: Particulars) -> list[str]:
    """How can be paid, as a table."""
    rows = [
        (
            f"`{method.method_id}`",
            "yes" if here.is_offered(method) else f"no: {here.reasons[method.method_id]}",
            "yes" if method.agent_settleable else f"no: {method.settlement_blocker}",
            _money_on(here, method),
        )
        for method in METHODS.values()
    ]
    return table(("method", "offered now", "you alone", "money"), rows)


def _money_on(here: Particulars, method: Method) -> str:
    if not here.is_offered(method):
        return ""
    return "real" if method.method_id in here.live_money else "pretended"


def funding(here: Particulars) -> Iterator[str]:
    """Buying credits."""
    days = here.offer.credits_expire_after_days
    yield from ("## 2. Buy credits", "")
    yield from packs(here)
    yield from (
        "",
        f"Or any number from {here.offer.custom_credits_min} to {here.offer.custom_credits_max:,}:",
        "in a quote, `credits` instead of `pack_id`.",
        f"Bought credits expire after {days} days." if days is not None else "Bought credits do not expire.",
        "",
    )
    yield from methods(here)
    yield from ("", "What is offered changes; `GET /v1/payment-methods` says how it is now.", "")
    if here.is_offered(X402):
        yield from _by_wallet(here)
    if here.is_offered(STRIPE_X402):
        yield from _by_deposit(here)
    if here.is_offered(STRIPE_CHECKOUT):
        yield from _by_card(here)


def _quote(here: Particulars, method: Method) -> list[str]:
    pack = here.offer.pack(here.offer.default_pack_id)
    key = f"quote-{method.provider_flag}-1"
    body = {"pack_id": pack.pack_id, "payment_method": method.method_id, "idempotency_key": key}
    return request("POST", "/v1/credit-quotes", body)


def _purchase(method: Method) -> list[str]:
    return request("POST", method.purchase_endpoint, {"quote_id": "QUOTE_ID", "idempotency_key": "purchase:QUOTE_ID"})


def _status() -> list[str]:
    return request("GET", "/v1/credit-purchases/status?quote_id=QUOTE_ID")


def _by_wallet(here: Particulars) -> Iterator[str]:
    terms = here.native
    yield from ("### With a wallet of your own: x402", "")
    yield from request("POST", f"/v1/x402/top-up/{here.cheapest.pack_id}")
    where = f"{terms.network}, token {terms.asset}, to {terms.pay_to}" if terms is not None else "the chain it names"
    yield from (
        "",
        f"Any client of x402 version 2 does this in one call ({where}). The answer is 402 with the header",
        "`PAYMENT-REQUIRED`; sign what it asks for and send the same request",
        "again with `PAYMENT-SIGNATURE`. It needs no account:",
        "a new wallet gets a token with its first purchase (`data.token`,",
        "once). With your `Authorization`, the credits are yours.",
        "200: paid and granted. **202: on its way; ask `data.status_url`, and",
        "do not sign again.** 402 once more: read why.",
        "Most clients refuse to pay more than $1 at once until told otherwise;",
        "`GET /v1/payment-methods` has the setting.",
        "Lost the token? `POST /v1/x402/sign-in` from the wallet that paid gives a new one.",
        "",
        "For another number of credits: a quote, and then its purchase, which is answered 402 in the same way.",
        "",
    )
    yield from _quote(here, X402)
    yield ""
    yield from _purchase(X402)
    yield ""


def _by_deposit(here: Particulars) -> Iterator[str]:
    yield from ("### With USDC to a deposit address", "")
    yield from _quote(here, STRIPE_X402)
    yield ""
    yield from _purchase(STRIPE_X402)
    yield from (
        "",
        "Send exactly `token_amount_atomic` of the token in",
        "`data.stripe_x402.payable_instructions` to its `deposit_address`, on",
        "its network, before `expires_at`. Then ask every ten seconds until `state` is `succeeded`:",
        "",
    )
    yield from _status()
    yield ""


def _by_card(here: Particulars) -> Iterator[str]:
    yield from ("### With a human and a card", "")
    yield from _quote(here, STRIPE_CHECKOUT)
    yield ""
    yield from _purchase(STRIPE_CHECKOUT)
    yield from (
        "",
        "Give `data.checkout_handoff_url` to a human who pays there; you",
        "cannot. Then ask until `state` is `succeeded`:",
        "",
    )
    yield from _status()
    yield ""
