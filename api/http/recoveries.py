"""What a refused caller can run next, for each refusal. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from api.http.commands import Commands, Step, suggestions
from api.http.context import Asked
from billing.refusals import Refusal, Refused

RETRY_AFTER_S: Final[Mapping[Refusal, int]] = {
    Refusal.BODY_TOO_SLOW: 5,
    Refusal.RATE_LIMITED: 60,
    Refusal.DAILY_JOB_LIMIT_REACHED: 3600,
    Refusal.OPEN_JOBS_LIMIT_REACHED: 10,
    Refusal.HOLD_FROZEN: 3600,
    Refusal.SPENDER_PAUSED: 300,
    Refusal.PAYMENT_METHOD_UNAVAILABLE: 15,
    Refusal.PAYER_BUSY: 10,
    Refusal.PAYMENT_OUTCOME_UNKNOWN: 10,
    Refusal.POSTING_OUTCOME_UNKNOWN: 2,
    Refusal.OVERLOADED: 1,
    Refusal.SERVICE_UNAVAILABLE: 5,
    Refusal.INTERNAL_ERROR: 5,
}
"""Seconds to wait before the same request is worth sending again, for every refusal that is retryable."""

_LOST: Final = frozenset({Refusal.NOT_FOUND, Refusal.METHOD_NOT_ALLOWED})
"""Of who does not know what there is; whoever asks for `/` is one of them."""


def recovery(
    refused: Refused, asked: Asked, commands: Commands, *, available: Sequence[str], fresh_key: str
) -> dict[str, Any]:
    """The `recovery` of an error. `available` are the methods offered now; `fresh_key` was never used.

    Advice, where to read on, when to try again, and what helps: the commands, the best one first, and for methods that
    the public client has no words for the requests.
    """
    read_on = "llms.txt" if refused.refusal in _LOST else "openapi.json"
    found: dict[str, Any] = {"advice": refused.refusal.rule.advice, "docs_url": f"{commands.public_url}/{read_on}"}
    if refused.refusal.rule.retryable:
        found["retry_after_seconds"] = RETRY_AFTER_S[refused.refusal]
    suggested = _suggested(refused, asked, commands, available=available, fresh_key=fresh_key)
    found |= suggestions(suggested)
    if "suggested_commands" in found:
        found["suggested_command"] = found["suggested_commands"][0]
    if suggested and fresh_key in str(suggested[0]):
        found["idempotency_key"] = fresh_key
    return found | refused.recovery


def other_methods(asked: Asked, available: Sequence[str]) -> list[str]:
    """The methods that could serve instead of the one that was asked for."""
    mine = asked.method_id or (asked.wanted.payment_method if asked.wanted else None)
    return [method_id for method_id in available if mine is not None and method_id != mine]


def _suggested(
    refused: Refused, asked: Asked, commands: Commands, *, available: Sequence[str], fresh_key: str
) -> list[Step]:
    wanted, quote_id, method_id = asked.wanted, asked.quote_id, asked.method_id
    others = other_methods(asked, available)
    match refused.refusal:
        case Refusal.AUTH_REQUIRED:
            return [commands.signup(), commands.whoami()]
        case Refusal.CREDIT_QUOTE_CONFLICT if wanted:
            return [commands.quote(wanted, key=fresh_key)]
        case Refusal.CREDIT_QUOTE_EXPIRED if wanted:
            return [commands.quote(wanted)]
        case Refusal.PAYMENT_METHOD_UNAVAILABLE | Refusal.PAYMENT_PROVIDER_REFUSED if wanted and others:
            return [*(commands.quote(wanted, method_id=other) for other in others), commands.methods()]
        case Refusal.PAYMENT_METHOD_UNAVAILABLE | Refusal.PAYMENT_PROVIDER_REFUSED:
            return [commands.methods()]
        case Refusal.CREDIT_PURCHASE_CONFLICT if quote_id and method_id:
            return [commands.buy(method_id=method_id, quote_id=quote_id, key=fresh_key)]
        case Refusal.CREDIT_QUOTE_PAYMENT_METHOD_MISMATCH if quote_id and "accepted_payment_method" in refused.recovery:
            own = refused.recovery["accepted_payment_method"]
            return [commands.buy(method_id=own, quote_id=quote_id), commands.methods()]
        case Refusal.CREDIT_PURCHASE_IN_PROGRESS if "payment_attempt_id" in refused.recovery:
            return [commands.status_of_attempt(refused.recovery["payment_attempt_id"])]
        case (
            Refusal.CREDIT_QUOTE_ALREADY_PAID | Refusal.CREDIT_PURCHASE_IN_PROGRESS | Refusal.PAYMENT_OUTCOME_UNKNOWN
        ) if quote_id:
            return [commands.status_of_quote(quote_id)]
        case (
            Refusal.PAYMENT_ATTEMPT_ALREADY_PAID
            | Refusal.PAYMENT_ATTEMPT_NOT_CANCELABLE
            | Refusal.PAYMENT_OUTCOME_UNKNOWN
        ) if asked.attempt_id:
            return [commands.status_of_attempt(asked.attempt_id)]
        case Refusal.SERVICE_UNAVAILABLE | Refusal.INTERNAL_ERROR | Refusal.METHOD_NOT_ALLOWED:
            return [commands.doctor()]
        case Refusal.NOT_FOUND:
            return [commands.activity(), commands.doctor()]
    return []
