"""Letters, attempts, refunds and what operators did, as operators see them. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

from api.http.views.plain import at, at_or_none
from billing.attempts import OPEN_STATES
from billing.operating.attempts import Whole
from billing.operating.refunds import Asked
from billing.operator_actions import public_id
from billing.operator_keys import KEY_PREFIX
from billing.reversal_tables import OperatorAction, PaymentReversal, RefundRequest, ReversalStanding
from billing.reversals.refunding import PREFIX as REFUND
from billing.reversals.refunding import Preview
from billing.reversals.writing_off import Owed
from billing.settling_tables import Settlement
from billing.tables import ExternalPayment, PaymentAttempt, ProviderRequestRow
from ledger.ids import external
from webhooks import letters, redaction
from webhooks.tables import Letter

SIGN: Final = (
    "Sign this and send it once from the treasury, with any wallet, and the data byte for byte: its end is how this "
    "refund is recognized. It is recorded when its block is finalized."
)


def page(name: str, views: Sequence[dict[str, Any]], *, limit: int, key: str) -> dict[str, Any]:
    """At most `limit` of the views, of which there is one more when there are more. `key` is where a page goes on."""
    shown = list(views[:limit])
    return {name: shown, "next_cursor": shown[-1][key] if len(views) > limit else None}


def letter(found: Letter) -> dict[str, Any]:
    """A letter without its body."""
    return {
        "letter_id": letters.public_id(found.id),
        "source": found.source,
        "provider_event_id": found.provider_event_id,
        "type": found.type,
        "state": found.state,
        "reason": found.reason,
        "tries": found.tries,
        "brought_by": "list_of_events" if found.paged else "webhook",
        "received_at": at(found.received_at),
        "next_try_at": at(found.next_try_at) if found.state == "pending" else None,
        "done_at": at_or_none(found.done_at),
    }


def whole_letter(found: Letter) -> dict[str, Any]:
    """A letter with its body, without secrets."""
    return letter(found) | {"body": redaction.body(found.body)}


def settlement(found: Settlement) -> dict[str, Any]:
    """A payment that a wallet signed. Its signature is told to nobody."""
    return {
        "payment_attempt_id": external("payatt", found.attempt_id),
        "organization_id": external("org", found.organization_id),
        "state": found.state,
        "reason": found.reason,
        "decision": found.decision,
        "final": found.final,
        "submitter": found.submitter,
        "network": found.network,
        "payer": found.payer,
        "nonce": f"0x{found.nonce.hex()}",
        "amount_atomic": str(found.amount_atomic),
        "transaction_hash": found.transaction_hash,
        "block_number": found.block_number,
        "paid_at": at_or_none(found.paid_at),
        "tries": found.tries,
        "next_try_at": None if found.final else at(found.next_try_at),
        "created_at": at(found.created_at),
        "updated_at": at(found.updated_at),
    }


def attempt(found: PaymentAttempt) -> dict[str, Any]:
    """An attempt by itself."""
    return {
        "payment_attempt_id": external("payatt", found.id),
        "organization_id": external("org", found.organization_id),
        "agent_id": external("agt", found.agent_id),
        "quote_id": external("quote", found.quote_id),
        "payment_method": found.method,
        "state": found.state,
        "is_open": found.state in OPEN_STATES,
        "reason": found.reason,
        "provider_object_id": found.object_id,
        "cancel_requested_at": at_or_none(found.cancel_requested_at),
        "payable_until": at(found.payable_until),
        "created_at": at(found.created_at),
        "updated_at": at(found.updated_at),
    }


def whole_attempt(found: Whole) -> dict[str, Any]:
    """An attempt with its quote, and all that was asked, paid and taken back for it."""
    quote = found.quote
    return attempt(found.attempt) | {
        "quote": {
            "quote_id": external("quote", quote.id),
            "credits": quote.credits,
            "price_cents": quote.price_cents,
            "currency": quote.currency,
            "expires_at": at(quote.expires_at),
            "settled_at": at_or_none(quote.settled_at),
        },
        "receipt_id": external("receipt", found.receipt.id) if found.receipt is not None else None,
        "requests": [_request(one) for one in found.requests],
        "payments": [_payment(one) for one in found.payments],
        "taken_back": [_standing(one) for one in found.standings],
        "reversals": [_reversal(one) for one in found.reversals],
        "refunds": [refund(one) for one in found.refunds],
    }


def _request(found: ProviderRequestRow) -> dict[str, Any]:
    return {
        "number": found.number,
        "provider_key": found.provider_key,
        "state": found.state,
        "error": found.error,
        "provider_object_id": found.external_id,
        "tries": found.tries,
        "created_at": at(found.created_at),
        "answered_at": at_or_none(found.answered_at),
    }


def _payment(found: ExternalPayment) -> dict[str, Any]:
    return {
        "kind": found.kind,
        "payment_id": found.external_id,
        "purpose": found.purpose,
        "amount_cents": found.amount_cents,
        "operation_id": external("op", found.operation_id),
        "created_at": at(found.created_at),
    }


def _standing(found: ReversalStanding) -> dict[str, Any]:
    return {
        "payment_id": found.payment_id,
        "credits_reversed": found.credits_reversed,
        "credits_written_off": found.credits_written_off,
        "refunded_cents": found.refunded_cents,
        "lost_cents": found.lost_cents,
        "written_off_cents": found.written_off_cents,
        "frozen": found.frozen,
        "updated_at": at(found.updated_at),
    }


def _reversal(found: PaymentReversal) -> dict[str, Any]:
    return {
        "reversal_id": external("payrev", found.id),
        "kind": found.kind,
        "provider_object_id": found.external_id,
        "payment_id": found.payment_id,
        "amount_cents": found.amount_cents,
        "live_cents": found.live_cents,
        "lost": found.lost,
        "status": found.status,
        "reason": found.reason,
        "details": found.details,
        "occurred_at": at(found.occurred_at),
        "read_at": at(found.read_at),
    }


def asked_refund(found: Asked, to_sign: dict[str, Any] | None) -> dict[str, Any]:
    """A refund that was asked for, with what became of it at the provider or on chain (none until that was read).

    `to_sign` is the transaction that the treasury has still to sign, if any.
    """
    request, reversal, _ = found
    return refund(request) | {
        "reversal": _reversal(reversal) if reversal is not None else None,
        "to_sign": to_sign | {"what_to_do": SIGN} if to_sign is not None else None,
    }


def refund(found: RefundRequest) -> dict[str, Any]:
    """A refund that was asked for. `state` is that of asking; whether the money went back says its reversal."""
    return {
        "refund_id": external(REFUND, found.id),
        "organization_id": external("org", found.organization_id),
        "payment_attempt_id": external("payatt", found.attempt_id),
        "payment_id": found.payment_id,
        "amount_cents": found.amount_cents,
        "reason": found.reason,
        "asked_by": _key(found.asked_by if found.asked_by.int else None),
        "state": found.state,
        "error": found.error,
        "provider_object_id": found.refund_id,
        "tries": found.tries,
        "created_at": at(found.created_at),
        "answered_at": at_or_none(found.answered_at),
    }


def preview(found: Preview) -> dict[str, Any]:
    """What a refund would do: how much money, and where its credits would come from."""
    return {
        "organization_id": external("org", found.organization_id),
        "payment_attempt_id": external("payatt", found.attempt_id),
        "payment_id": found.payment_id,
        "paid_cents": found.paid_cents,
        "refundable_cents": found.refundable_cents,
        "amount_cents": found.amount_cents,
        "credits": found.credits,
        "credits_unspent": found.credits_unspent,
        "credits_held": found.credits_held,
        "credits_expired": found.credits_expired,
        "credits_owed": found.credits_owed,
    }


def owed(found: Owed) -> dict[str, Any]:
    """Who owes how many credits, for which payment, since when."""
    return {
        "organization_id": external("org", found.organization_id),
        "payment_attempt_id": external("payatt", found.attempt_id),
        "payment_id": found.payment_id,
        "owed_credits": found.credits,
        "refunded_cents": found.refunded_cents,
        "since": at(found.updated_at),
    }


def action(found: OperatorAction) -> dict[str, Any]:
    """What an operator did. `holder` is who held the key then."""
    return {
        "action_id": public_id(found),
        "action": found.action,
        "holder": found.holder,
        "operator_key_id": _key(found.key_id),
        "organization_id": external("org", found.organization_id) if found.organization_id is not None else None,
        "subject": found.subject,
        "reason": found.reason,
        "details": found.details,
        "created_at": at(found.created_at),
    }


def _key(key_id: UUID | None) -> str | None:
    return external(KEY_PREFIX, key_id) if key_id is not None else None
