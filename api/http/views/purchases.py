"""A purchase: its quote, attempt, receipt and what comes next. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from api.http import calls
from api.http.commands import Commands, Step, purchase_key, suggestions
from api.http.views import actions, quotes
from api.http.views.plain import at, exactly, limits, published_head
from billing.attempts import OPEN_STATES, AttemptState
from billing.packs import METHODS, STRIPE_X402, X402
from billing.purchases import Place
from billing.quotes import state as quote_state
from billing.quotes import wanted_of
from billing.reversal_tables import PaymentReversal
from billing.reversals.telling import REVERSAL_PREFIX
from billing.status import Status
from billing.tables import PaymentAttempt, Receipt
from ledger.ids import external
from ledger.tables import OperationRow
from rails.rail import CheckoutAction, DepositAction, X402Action

RETRY_AFTER_S: Final = 10
"""Seconds after which it is worth asking for the status again."""
_CHAIN: Final = "x402"
_STRIPE: Final = "stripe"
_OVER: Final = (AttemptState.EXPIRED, AttemptState.FAILED, AttemptState.CANCELED)
_ATTEMPT_STATUS: Final = {AttemptState.CREATED: "requires_action", AttemptState.ACTION_REQUIRED: "requires_action"}


@dataclass(frozen=True, slots=True)
class Scene:
    """What the views of one purchase need besides its status. `fresh_key` was never used to buy anything."""

    place: Place
    commands: Commands
    now: datetime
    fresh_key: str


def bought(found: Status, attempt: PaymentAttempt, scene: Scene) -> dict[str, Any]:
    """The answer to a buy, new or replayed."""
    quote = found.quote
    return {
        "state": found.reversed.state or attempt.state,
        "quote_id": external("quote", quote.id),
        "payment_attempt_id": external("payatt", attempt.id),
        "provider": _provider(attempt.method),
        "accepted_payment_method": attempt.method,
        "credits": quote.credits,
        "amount_cents": quote.price_cents,
        "currency": quote.currency,
        "live_money": quote.live_money,
        "idempotency_key": attempt.idempotency_key,
        "payable_until": at(attempt.payable_until),
        **_rail(found, attempt, scene),
        "receipt": _receipt(found.receipt, found.operation),
        "next": _next(found, scene),
        "next_actions": _next_actions(found, scene, inside="data"),
    }


def status(found: Status, scene: Scene) -> dict[str, Any]:
    """Everything an agent may know of one purchase."""
    quote = found.quote
    by_deposit = quote.payment_method == STRIPE_X402.method_id
    return {
        "state": _state(found, scene),
        "quote_id": external("quote", quote.id),
        "live_money": quote.live_money,
        "quote": {**quotes.facts(quote, scene.now), "x402": actions.rail_of_deposits() if by_deposit else None},
        "payment_attempt": _attempt(found, found.attempt, scene) if found.attempt else None,
        "receipt": _receipt(found.receipt, found.operation),
        "credit_event": _credit_event(found.operation, found.receipt),
        "provider_event": _provider_event(found.receipt, quote.payment_method),
        "reversals": [_reversal(row) for row in found.reversed.rows],
        "limits": limits(found.balance),
        "next": _next(found, scene),
        "next_actions": _next_actions(found, scene, inside="data.payment_attempt"),
    }


def unpaid(found: Status, scene: Scene, *, inside: str) -> dict[str, Any]:
    """A purchase that is not paid yet, in short, for an answer that has it under the path `inside`."""
    quote = found.quote
    return {
        "state": _state(found, scene),
        "quote_id": external("quote", quote.id),
        "credits": quote.credits,
        "amount_cents": quote.price_cents,
        "currency": quote.currency,
        "accepted_payment_method": quote.payment_method,
        "live_money": quote.live_money,
        "payment_attempt": _attempt(found, found.attempt, scene) if found.attempt else None,
        "next": _next(found, scene),
        "next_actions": _next_actions(found, scene, inside=f"{inside}.payment_attempt"),
    }


def _state(found: Status, scene: Scene) -> str:
    """A payment that was taken back is `refunded` or `disputed` for the agent; its attempt succeeded all the same."""
    if found.attempt is None:
        return quote_state(found.quote, scene.now)
    return found.reversed.state or found.attempt.state


def _reversal(row: PaymentReversal) -> dict[str, Any]:
    return {
        "payment_reversal_id": external(REVERSAL_PREFIX, row.id),
        "kind": row.kind,
        "status": row.told or row.status,
        "amount_cents": row.amount_cents,
        "taken_back_cents": row.live_cents,
        "occurred_at": at(row.occurred_at),
        "updated_at": at(row.updated_at),
        "details": row.details,
    }


def _attempt(found: Status, attempt: PaymentAttempt, scene: Scene) -> dict[str, Any]:
    return {
        "payment_attempt_id": external("payatt", attempt.id),
        "attempt_status": _ATTEMPT_STATUS.get(AttemptState(attempt.state), attempt.state),
        "method_id": attempt.method,
        "provider": _provider(attempt.method),
        "reason": attempt.reason,
        "created_at": at(attempt.created_at),
        "updated_at": at(attempt.updated_at),
        "payable_until": at(attempt.payable_until),
        "cancel_requested": attempt.cancel_requested_at is not None,
        **_rail(found, attempt, scene),
    }


def _rail(found: Status, attempt: PaymentAttempt, scene: Scene) -> dict[str, Any]:
    """What only one rail has."""
    action = found.action
    if METHODS[attempt.method].requires_browser:
        return actions.checkout(
            action if isinstance(action, CheckoutAction) else None,
            session_id=attempt.object_id,
            handoff_url=scene.place.handoff_url(attempt.id),
        )
    if attempt.method == X402.method_id:
        return {"x402": actions.signature(action if isinstance(action, X402Action) else None)}
    due = action if isinstance(action, DepositAction) else None
    return {"stripe_x402": actions.deposit(due, amount_cents=found.quote.price_cents)}


def _receipt(receipt: Receipt | None, operation: OperationRow | None) -> dict[str, Any] | None:
    """A receipt publishes the head of the journal at its grant: a journal that is rewritten later does not fit it."""
    if receipt is None:
        return None
    return {
        "receipt_id": external("receipt", receipt.id),
        "payment_attempt_id": external("payatt", receipt.attempt_id),
        "quote_id": external("quote", receipt.quote_id),
        "credit_event_id": external("credit_event", receipt.operation_id),
        "credits": receipt.credits,
        "subtotal_cents": receipt.subtotal_cents,
        "discount_cents": receipt.discount_cents,
        "tax_cents": receipt.tax_cents,
        "amount_cents": receipt.total_cents,
        "currency": receipt.currency,
        "settled_at": at(receipt.settled_at),
        "created_at": at(receipt.created_at),
        "late": receipt.late,
        "details": receipt.details,
        "journal": published_head(operation) if operation is not None else None,
    }


def _credit_event(operation: OperationRow | None, receipt: Receipt | None) -> dict[str, Any] | None:
    """The operation in the books that granted the credits; balances as they were after it.

    Where a promotion covered the whole price the credits are promotional: no money stands behind them.
    """
    if operation is None or receipt is None:
        return None
    return {
        "credit_event_id": external("credit_event", operation.id),
        "type": "payment_backed_grant" if receipt.total_cents else "promotional_grant",
        "credits": receipt.credits,
        "journal_seq": operation.seq,
        "occurred_at": at(operation.happened_at),
        "posted_at": exactly(operation.posted_at),
        "accounting_date": operation.accounting_date.isoformat(),
        "available_credits_after": operation.available_after,
        "held_credits_after": operation.held_after,
    }


def _provider(method_id: str) -> str:
    """Whose word a payment is: Stripe's, or the chain's."""
    return _CHAIN if method_id == X402.method_id else _STRIPE


def _provider_event(receipt: Receipt | None, method_id: str) -> dict[str, Any] | None:
    if receipt is None:
        return None
    return {"provider": _provider(method_id), "type": "payment.settled", "occurred_at": at(receipt.settled_at)}


def _next(found: Status, scene: Scene) -> dict[str, Any]:
    """What to do next: by a human, by the agent, or nothing but wait."""
    attempt, commands = found.attempt, scene.commands
    if attempt is None or (attempt.state in _OVER and not _link_opens_again(found, attempt, scene)):
        return _next_purchase(found, scene)
    status_command = commands.status_of_attempt(external("payatt", attempt.id))
    waiting = {"retry_after_seconds": RETRY_AFTER_S, "suggested_commands": [status_command]}
    if found.reversed.state is not None:
        return {"agent_action": "look_at_balance", "suggested_commands": [commands.quota()]}
    if attempt.state == AttemptState.SUCCEEDED:
        return {"agent_action": "use_credits", "suggested_commands": [commands.quota()]}
    if attempt.state == AttemptState.PROCESSING:
        return {"agent_action": "wait_for_settlement", **waiting}
    if METHODS[attempt.method].requires_browser:
        return {**_human_action(found, attempt, scene), "after_payment": status_command, **waiting}
    if attempt.state == AttemptState.CREATED:
        return {"agent_action": "repeat_buy_with_the_same_key", **waiting}
    if attempt.method == X402.method_id:
        quote_id = external("quote", found.quote.id)
        again = commands.buy(method_id=attempt.method, quote_id=quote_id, key=attempt.idempotency_key)
        return {"agent_action": "send_signed_payment", **suggestions([again]), **waiting}
    return {"agent_action": "pay_stripe_crypto_deposit", **waiting}


def _next_purchase(found: Status, scene: Scene) -> dict[str, Any]:
    if _is_buyable(found, scene):
        return {"agent_action": "buy_quote", **suggestions([_buy_step(found, scene)])}
    again = scene.commands.quote(wanted_of(found.quote))
    return {"agent_action": "request_new_quote", **suggestions([again])}


def _link_opens_again(found: Status, attempt: PaymentAttempt, scene: Scene) -> bool:
    """Whether the human's link makes another hosted page: the last one expired, the attempt has not."""
    return (
        attempt.state == AttemptState.EXPIRED
        and METHODS[attempt.method].requires_browser
        and attempt.payable_until > scene.now
        and found.quote.settled_at is None
    )


def _human_action(found: Status, attempt: PaymentAttempt, scene: Scene) -> dict[str, Any]:
    handoff_url = scene.place.handoff_url(attempt.id)
    return {
        "human_action": "open_checkout_url",
        "checkout_handoff_url": handoff_url,
        "checkout_compact_url": handoff_url,
        "fallback_checkout_url": found.action.url if isinstance(found.action, CheckoutAction) else None,
    }


def _is_buyable(found: Status, scene: Scene) -> bool:
    """Whether the quote can be bought (again): it stands, and nothing is open or paid."""
    is_open = found.attempt is not None and found.attempt.state in OPEN_STATES
    return quote_state(found.quote, scene.now) == "created" and not is_open


def buy_key(found: Status, scene: Scene) -> str:
    """The stable key for the first purchase; another when that key would only replay an attempt that has ended."""
    return scene.fresh_key if found.attempt else purchase_key(external("quote", found.quote.id))


def _buy_step(found: Status, scene: Scene) -> Step:
    quote = found.quote
    return scene.commands.buy(
        method_id=quote.payment_method, quote_id=external("quote", quote.id), key=buy_key(found, scene)
    )


def _next_actions(found: Status, scene: Scene, *, inside: str) -> dict[str, Any]:
    """What to run next. `inside` is the path at which what only one rail has stands in the answer."""
    if _is_buyable(found, scene):
        buy = quotes.recommended_buy(found.quote, scene.commands, key=buy_key(found, scene))
        return {"recommended_buy": buy}
    if isinstance(found.action, DepositAction | X402Action) and found.attempt is not None:
        return {"recommended_settlement": _recommended_settlement(found.attempt, scene, inside)}
    return {}


def _recommended_settlement(attempt: PaymentAttempt, scene: Scene, inside: str) -> dict[str, Any]:
    """How a wallet pays: what stands at the path, by a transfer, or else signed and sent with `request`."""
    attempt_id, quote_id = external("payatt", attempt.id), external("quote", attempt.quote_id)
    native = attempt.method == X402.method_id
    path = f"{inside}.x402.accepts" if native else f"{inside}.stripe_x402.payable_instructions"
    return {
        "purpose": f"settle_{METHODS[attempt.method].provider_flag}_credit_top_up",
        "quote_id": quote_id,
        "payment_attempt_id": attempt_id,
        "method_id": attempt.method,
        "payable_instructions_path": path,
        "request": calls.buy(attempt.method, quote_id, key=attempt.idempotency_key) if native else None,
        "status_command": scene.commands.status_of_attempt(attempt_id),
        "quota_command": scene.commands.quota(),
        "command_effect": {
            "label": "wallet_settlement_spends_usdc",
            "no_spend": False,
            "wallet_settlement": True,
            "payment_object": False,
            "credit_debit": False,
            "media_write": False,
        },
    }
