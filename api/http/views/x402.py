"""What who pays by x402 is told: as much as it has shown to be its own. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from api.http.views.purchases import Scene, status
from billing.settlement_states import SettlementState
from billing.settling_tables import Settlement
from billing.status import Status
from ledger.ids import external
from rails.x402 import messages

RETRY_AFTER_S: Final = 5
"""Seconds after which it is worth asking again for a payment that the chain has not settled yet."""
SIGN_IN: Final = (
    "The payment landed in the organization of the wallet that paid. Sign in from that wallet (POST /v1/x402/sign-in) "
    "for a token to use the credits with."
)
TOKEN_ONCE: Final = (
    "The token is shown once and stored nowhere: keep it. Sign in once from the wallet that paid "  # noqa: S105 - words
    "(POST /v1/x402/sign-in): that ends this token, whoever else may have seen it, and gives a new one; until then "
    "nobody can be invited, linked or revoked. A wallet that lost its token signs in likewise."
)


def status_url(public_url: str, attempt_id: str) -> str:
    """Where anybody who knows the attempt's id can ask for its state."""
    return f"{public_url}/v1/x402/payments/{attempt_id}"


def public(state: str, attempt_id: str) -> dict[str, Any]:
    """What is told to somebody who showed no token: all of it could be guessed from the chain, but the id."""
    return {"state": state, "payment_attempt_id": attempt_id}


def of_buyer(found: Status, scene: Scene, *, token: str | None) -> dict[str, Any]:
    """What is told to who bought: the purchase as its status tells it, and the token of a new organization."""
    told = status(found, scene)
    attempt = found.attempt
    return {
        **told,
        "payment_attempt_id": external("payatt", attempt.id) if attempt is not None else None,
        **(_account(found, token) if token is not None else {}),
    }


def _account(found: Status, token: str) -> dict[str, Any]:
    return {
        "token": token,
        "token_status": "active",
        "agent_id": external("agt", found.quote.agent_id),
        "organization_id": external("org", found.quote.organization_id),
    }


def failed(told: Mapping[str, Any]) -> dict[str, Any]:
    """Of what would be told, that which stays although nothing was paid: the attempt, and the account made for it."""
    stays = ("payment_attempt_id", "token", "token_status", "agent_id", "organization_id")
    return {name: told[name] for name in stays if name in told}


def waiting(told: Mapping[str, Any], url: str) -> dict[str, Any]:
    """The addition to an answer of which the chain has still to decide."""
    return {**told, "status_url": url, "retry_after_seconds": RETRY_AFTER_S}


def settled_as(row: Settlement, state: str) -> str:
    """The attempt's state for a payer, who need not know how a payment is looked after."""
    return "under_review" if row.state in {"held", "kept"} else state


def response(row: Settlement) -> dict[str, str]:
    """The header of the protocol that says how the payment ended."""
    success = row.state != SettlementState.FAILED
    response = messages.settle_response(
        success=success,
        transaction=(row.transaction_hash or "") if success else "",
        network=row.network,
        payer=row.payer,
        amount_atomic=row.amount_atomic,
        reason=None if success else "transaction_failed",
    )
    return {messages.PAYMENT_RESPONSE.lower(): messages.encoded(response)}
