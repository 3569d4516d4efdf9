"""A purchase on either rail, to each of its endings."""

from __future__ import annotations

from typing import Any, Final

import httpx

from ledger.ids import parse
from tests.service import CHECKOUT, DEPOSIT, PURCHASES
from tests.soak.driver import Lived, Surprise
from tests.soak.steps import ENDS, Buy

PAY_TIMEOUT_S: Final = 60.0
METHODS: Final = {"card": CHECKOUT, "deposit": DEPOSIT}
CREATED_AT: Final = {"card": "/v1/checkout/sessions", "deposit": "/v1/payment_intents"}


def buy(lived: Lived, order: Buy) -> None:
    """Quote, buy, and let the payer do what the plan says. Returns when the attempt is in its state."""
    quote = _quote(lived, order)
    bought = _bought(lived, order, quote)
    lived.attempts[order.number] = bought["payment_attempt_id"]
    (_by_card if order.rail == "card" else _by_deposit)(lived, order, bought, quote)
    if order.ending == "abandoned":
        return  # its day has to pass first
    wanted = ENDS[order.ending]
    lived.wait(lambda: True if _state(lived, order) == wanted else None, what=f"attempt {order.number} {wanted}")


def _state(lived: Lived, order: Buy) -> str:
    return str(lived.status(order.number)["state"])


def _quote(lived: Lived, order: Buy) -> dict[str, Any]:
    terms = {
        "payment_method": METHODS[order.rail],
        "credits": order.credits,
        "idempotency_key": lived.key(f"quote {order.number}"),
    }
    return lived.do(lambda: lived.agent.send("POST", "/v1/credit-quotes", terms), what=f"quote {order.number}")


def _bought(lived: Lived, order: Buy, quote: dict[str, Any]) -> dict[str, Any]:
    body = {"quote_id": quote["quote_id"], "idempotency_key": lived.key(f"purchase {order.number}")}
    path = PURCHASES[METHODS[order.rail]]

    def send() -> httpx.Response:
        return lived.agent.send("POST", path, body)

    with lived.shared.asking[order.rail]:
        if order.broken is not None:
            lived.shared.break_next(order.broken, CREATED_AT[order.rail])
            # What comes of the first call is not looked at: the agent asks again like after any other failure.
            try:
                send()
            except httpx.TransportError:
                lived.shared.tried_again("no answer")
    return lived.do(send, what=f"purchase {order.number}")


def _by_card(lived: Lived, order: Buy, bought: dict[str, Any], quote: dict[str, Any]) -> None:
    session_id = bought["checkout_session_id"]

    def payer(act: str, **body: Any) -> Any:
        return lived.control("POST", f"sessions/{session_id}/{act}", **body)

    amounts = {"tax": order.tax} if order.tax else {}
    match order.ending:
        case "abandoned":
            return
        case "expired":
            payer("expire")
        case "canceled":
            _cancel(lived, order)
        case "debit returns":
            payer("pay_delayed", **amounts)
            payer("fail_delayed")
        case "debit arrives":
            _paid(lived, order, payer("pay_delayed", **amounts))
            payer("settle_delayed")
        case "reopened then paid":
            payer("expire")
            session_id = _reopened(lived, order, session_id)
            _paid(lived, order, payer("pay", **amounts))
        case ending:
            if ending == "late":
                _let_expire(lived, quote)
            if ending == "declined then paid":
                payer("decline")
            if order.off:
                _promote(lived, session_id, order.off)
            _paid(lived, order, payer("pay", **amounts))


def _paid(lived: Lived, order: Buy, session: dict[str, Any]) -> None:
    if session["payment_intent"] is not None:
        lived.payments[order.number] = session["payment_intent"]


def _reopened(lived: Lived, order: Buy, before: str) -> str:
    """The page expired; whoever comes by the link gets another one. Its id."""
    lived.wait(lambda: True if _state(lived, order) == "expired" else None, what=f"attempt {order.number} expired")

    def look() -> str | None:
        lived.insist(
            lambda: lived.agent.client.get(f"/pay/{lived.attempts[order.number]}"), what=f"link {order.number}"
        )
        purchase = lived.status(order.number)
        found = purchase["payment_attempt"]["checkout_session_id"]
        return found if purchase["state"] == "action_required" and found not in {None, before} else None

    return lived.wait(look, what=f"another page of attempt {order.number}")


def _promote(lived: Lived, session_id: str, off: int) -> None:
    form = {"action": "apply_code", "promotion_code": f"SANDBOX{off}"}
    page = f"{lived.stage.sandbox.url}/c/pay/{session_id}"
    answer = httpx.post(page, data=form, timeout=PAY_TIMEOUT_S)
    if answer.status_code != 200 or "This code is invalid" in answer.text:
        raise Surprise(f"the page does not take SANDBOX{off}")


def _cancel(lived: Lived, order: Buy) -> None:
    path = f"/v1/credit-purchases/{lived.attempts[order.number]}/cancel"
    lived.do(lambda: lived.agent.send("POST", path), what=f"cancel {order.number}")


def _let_expire(lived: Lived, quote: dict[str, Any]) -> None:
    """An hour passes for this quote, which no soak can wait for."""
    lived.stage.rows(
        "UPDATE billing.credit_quotes SET expires_at = created_at - interval '1 minute' WHERE id = $1::uuid",
        str(parse("quote", quote["quote_id"])),
    )


def _by_deposit(lived: Lived, order: Buy, bought: dict[str, Any], quote: dict[str, Any]) -> None:
    due = bought["stripe_x402"]["payable_instructions"]

    def send(cents: int) -> None:
        sent = lived.control(
            "POST", "wallet/transfers", network=due["network"], token_currency=due["token_currency"],
            to=due["deposit_address"], amount_atomic=str(cents * 10_000),
        )  # fmt: skip
        if sent["matched"]:
            lived.payments[order.number] = sent["payment_intent"]

    match order.ending:
        case "abandoned":
            return
        case "canceled":
            _cancel(lived, order)
        case "failed" | "expired":
            act = "fail" if order.ending == "failed" else "expire"
            lived.control("POST", f"payment_intents/{_intent(lived, order)}/{act}")
        case "wrong amount":
            send(order.sent)
            if order.number not in lived.payments:
                send(order.credits)
        case ending:
            if ending == "late":
                _let_expire(lived, quote)
            send(order.credits)


def _intent(lived: Lived, order: Buy) -> str:
    """The provider's object stays inside of the service, so it is looked up there."""
    [[found]] = lived.stage.rows(
        "SELECT object_id FROM billing.payment_attempts WHERE id = $1::uuid",
        str(parse("payatt", lived.attempts[order.number])),
    )
    return str(found)
