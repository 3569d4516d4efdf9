"""What a route says of itself: the client's words for it, the models it reads with, and the refusals of its own.

What every route of a kind refuses (a missing token, a body that cannot be read) follows from its guards and models
(`api/http/operations.py`) and is not said again. `tests/documents` holds each answer of a test run against this.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from api.http.fields import Asking
from billing.refusals import Refusal

POSTING: Final = (Refusal.SPENDING_CONFLICT, Refusal.POSTING_OUTCOME_UNKNOWN)
"""Of whatever is posted once, under an idempotency key."""
SPENDING: Final = (
    *POSTING,
    Refusal.RATE_LIMITED,
    Refusal.SPENDER_PAUSED,
    Refusal.SPEND_CAP_EXCEEDED,
    Refusal.QUOTA_EXCEEDED,
    Refusal.CREDITS_TOO_FRAGMENTED,
)
"""Of what takes credits away."""
ENDING: Final = (*POSTING, Refusal.NOT_THE_MAKER, Refusal.HOLD_EXPIRED, Refusal.HOLD_CLOSED)
"""Of what ends or changes a hold."""
BUYING: Final = (
    Refusal.NOT_FOUND,
    Refusal.CREDIT_PURCHASE_CONFLICT,
    Refusal.CREDIT_QUOTE_PAYMENT_METHOD_MISMATCH,
    Refusal.CREDIT_QUOTE_ALREADY_PAID,
    Refusal.CREDIT_PURCHASE_IN_PROGRESS,
    Refusal.CREDIT_QUOTE_EXPIRED,
    Refusal.PAYMENT_PROVIDER_REFUSED,
    Refusal.PAYMENT_METHOD_UNAVAILABLE,
    Refusal.PAYMENT_OUTCOME_UNKNOWN,
)
"""Of buying a quote, on any rail."""
CANCELING: Final = (
    Refusal.PAYMENT_ATTEMPT_ALREADY_PAID,
    Refusal.PAYMENT_ATTEMPT_NOT_CANCELABLE,
    Refusal.PAYMENT_PROVIDER_REFUSED,
    Refusal.PAYMENT_METHOD_UNAVAILABLE,
    Refusal.PAYMENT_OUTCOME_UNKNOWN,
)
"""Of ending what nobody has paid."""
PRESENTING: Final = (
    Refusal.NOT_FOUND,
    Refusal.CREDIT_QUOTE_ALREADY_PAID,
    Refusal.CREDIT_PURCHASE_IN_PROGRESS,
    Refusal.PAYMENT_IDENTIFIER_CONFLICT,
    Refusal.PAYMENT_ALREADY_USED,
    Refusal.PAYER_BUSY,
    Refusal.PAYER_REFUSED,
    Refusal.PAYMENT_REQUIRED,
    Refusal.PAYMENT_FAILED,
    Refusal.PAYMENT_METHOD_UNAVAILABLE,
    Refusal.RATE_LIMITED,
)
"""Of taking a signed payment of x402."""
ACTING: Final = (Refusal.SPENDING_CONFLICT, Refusal.NOT_FOUND, Refusal.STATE_CONFLICT)
"""Of what an operator does once, with a reason."""

REFUNDING: Final = (Refusal.AMOUNT_EXCEEDS_REST, Refusal.PAYMENT_METHOD_UNAVAILABLE)
"""Of sending money back."""


def described(
    command: str,
    *,
    body: type[Asking] | None = None,
    query: type[Asking] | None = None,
    refuses: Sequence[Refusal] = (),
) -> dict[str, Any]:
    """The `opt` of a route. `refuses`: what it refuses besides what its guards, its path and its models do."""
    return {"command": command, "body": body, "query": query, "refuses": tuple(refuses)}
