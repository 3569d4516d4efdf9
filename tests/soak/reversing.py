"""Spending, and everything that takes a payment back or gives it back again: what agents, operators and banks do."""

from __future__ import annotations

from functools import partial
from typing import Any, Final

from tests.soak.buying import buy
from tests.soak.driver import Lived, Surprise
from tests.soak.steps import (
    Buy,
    Capture,
    Dispute,
    Freeze,
    Hold,
    MoveDispute,
    MoveRefund,
    Refund,
    Spend,
    Step,
    Unfreeze,
    Void,
    Warn,
    WriteOff,
)

HOLD_S: Final = 86_400
REFUNDS_PATH: Final = "/v1/refunds"
ASKED_ANEW_MAX: Final = 5


def act(lived: Lived, step: Step) -> None:
    """Do one step; its effect is waited for by whoever calls."""
    match step.act:
        case Buy():
            buy(lived, step.act)
        case Spend():
            _spend(lived, step.act)
        case Hold():
            body = {"credits": step.act.credits, "expires_in_seconds": HOLD_S}
            lived.hold_id = _do(lived, "/v1/holds", body)["hold"]["hold_id"]
        case Capture():
            body = {"credits": step.act.credits, "final": step.act.final}
            _do(lived, f"/v1/holds/{lived.hold_id}/capture", body)
        case Void():
            _do(lived, f"/v1/holds/{lived.hold_id}/void", {})
        case Refund():
            _refund(lived, step.act)
        case MoveRefund():
            lived.control("POST", f"refunds/{lived.refunds[step.act.name]}/{step.act.end}")
        case Dispute():
            _dispute(lived, step.act)
        case MoveDispute():
            returned = {"fee_returned": True} if step.act.fee_returned else {}
            lived.control("POST", f"disputes/{lived.disputes[step.act.name]}/{step.act.move}", **returned)
        case Warn():
            lived.control("POST", "fraud_warnings", payment_intent=lived.payments[step.act.number])
        case Freeze() | Unfreeze():
            name = "freeze" if isinstance(step.act, Freeze) else "unfreeze"
            _operate(lived, f"organizations/{lived.agent.organization_id}/{name}", {})
        case WriteOff():
            path = f"owed/{lived.attempts[step.act.number]}/write-off"
            _operate(lived, path, {"credits": step.act.credits})


def _do(lived: Lived, path: str, body: dict[str, Any]) -> dict[str, Any]:
    asked = {"idempotency_key": lived.key(f"step {lived.done}"), **body}
    return lived.do(lambda: lived.agent.send("POST", path, asked), what=path)


def _operate(lived: Lived, path: str, body: dict[str, Any], *, key: str = "") -> dict[str, Any]:
    asked = {"idempotency_key": lived.key(key or f"step {lived.done}"), "reason": "the plan of a soak", **body}
    return lived.do(lambda: lived.operator.send("POST", f"/v1/operator/{path}", asked), what=path)


def _spend(lived: Lived, spend: Spend) -> None:
    body = {"idempotency_key": lived.key(f"step {lived.done}"), "credits": spend.credits}
    answer = lived.insist(lambda: lived.agent.send("POST", "/v1/spends", body), what="spend")
    if (answer.status_code == 200) is not spend.accepted:
        raise Surprise(f"a spend of {spend.credits} was answered {answer.status_code} {answer.text[:300]}")


def _refund(lived: Lived, refund: Refund) -> None:
    """How refunds begin is said to the sandbox for all of them, so only one is begun at a time."""
    with lived.shared.asking["refund"]:
        start = {} if refund.start == "by itself" else {"start": refund.start}
        lived.control("PUT", "refunds", **start)
        try:
            payment = lived.payments[refund.number]
            if refund.by == "dashboard":
                made = lived.control("POST", "refunds", payment_intent=payment, amount=refund.cents)
                lived.refunds[refund.name] = made["id"]
            else:
                lived.refunds[refund.name] = _asked_for(lived, refund)
        finally:
            lived.control("PUT", "refunds")


def _asked_for(lived: Lived, refund: Refund) -> str:
    """An operator asks; when the provider proves never to have made it, anew under another key. The refund's id."""
    if refund.broken is not None:
        lived.shared.break_next(refund.broken, REFUNDS_PATH)
    for n in range(ASKED_ANEW_MAX):
        body = {"payment_attempt_id": lived.attempts[refund.number], "amount_cents": refund.cents}
        asked = _operate(lived, "refunds", body, key=f"{refund.name} {n}")["refund"]
        found = lived.wait(partial(_outcome, lived, asked), what=f"the outcome of {refund.name}")
        if found:
            return found
    raise Surprise(f"{refund.name} was never made")


def _outcome(lived: Lived, asked: dict[str, Any]) -> str | None:
    """The refund's id at the provider; empty when it was refused, none while nobody knows."""
    path = f"/v1/operator/refunds/{asked['refund_id']}"
    found = lived.do(lambda: lived.operator.send("GET", path), what=path)["refund"]
    if found["state"] == "refused":
        return ""
    return found["provider_object_id"] if found["state"] == "answered" else None


def _dispute(lived: Lived, dispute: Dispute) -> None:
    terms: dict[str, Any] = {"payment_intent": lived.payments[dispute.number], "amount": dispute.cents}
    if dispute.start == "inquiry":
        terms["inquiry"] = True
    if dispute.start == "announced":
        terms["withdraw"] = False
    lived.disputes[dispute.name] = lived.control("POST", "disputes", **terms)["id"]
