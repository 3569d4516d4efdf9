"""What a visitor of `/pay/{attempt}` gets to see, decided from the attempt as it stands. Pure.

A screen carries no organization, no agent, no balance and no id of the provider, so that no page can show one.

Of an attempt that a wallet pays by its signature it carries the state and nothing else. Its id is no secret: whoever
presents the payment, which the chain shows to everybody, is told it, and no human has to be convinced to pay.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Final

from billing.attempts import AttemptState
from billing.handoff import Visit
from billing.packs import METHODS, X402
from billing.tables import Receipt
from ledger.ids import external
from rails.rail import CheckoutAction, DepositAction, X402Action
from rails.stripe_x402.eip681 import payment_uri

RETURNED_PAID: Final = "1"
"""`?returned=1`: the provider's page sent the payer back after paying."""
RETURNED_UNPAID: Final = "0"
"""`?returned=0`: the payer left the provider's page without paying."""


class Kind(enum.StrEnum):
    """Which page it is."""

    UNPAID = "unpaid"
    WAITING = "waiting"
    DEPOSIT = "deposit"
    LAPSED = "lapsed"
    SIGNING = "signing"
    PROCESSING = "processing"
    BUSY = "busy"
    PAID = "paid"
    EXPIRED = "expired"
    CANCELED = "canceled"
    FAILED = "failed"


WATCHED: Final = frozenset({Kind.UNPAID, Kind.WAITING, Kind.DEPOSIT, Kind.LAPSED, Kind.SIGNING, Kind.PROCESSING})
"""The pages that ask for news by themselves; the others have none to expect, or are loaded again as a whole."""

REASONED: Final = frozenset({Kind.PROCESSING, Kind.PAID, Kind.CANCELED, Kind.FAILED})
"""The pages that say why, where there is something to say: why it failed, what is looked at, what was paid twice."""

_BY_STATE: Final = {
    AttemptState.CREATED: Kind.BUSY,
    AttemptState.PROCESSING: Kind.PROCESSING,
    AttemptState.SUCCEEDED: Kind.PAID,
    AttemptState.EXPIRED: Kind.EXPIRED,
    AttemptState.CANCELED: Kind.CANCELED,
    AttemptState.FAILED: Kind.FAILED,
}


@dataclass(frozen=True, slots=True)
class Paid:
    """Proof for the payer. Amounts in cents. `missing_cents` is below 0 when more arrived than was asked for.

    `receipt_href` leads from the attempt's page to the page that prints this.
    """

    receipt_id: str
    receipt_href: str
    discount_cents: int
    tax_cents: int
    total_cents: int
    missing_cents: int
    late: bool
    means: str
    settled_at: datetime


@dataclass(frozen=True, slots=True)
class Deposit:
    """What a wallet is asked for: `amount_atomic` / 10^`decimals` of `token` on `network`, to `address`."""

    network: str
    token: str
    token_contract: str
    address: str
    amount_atomic: int
    decimals: int
    uri: str
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Screen:
    """Everything a page shows. `version` changes when there is something new to see.

    `credits` are those that were granted, once there are some. `questioned`: there is a reason why things stand so,
    whether or not it is shown.
    """

    kind: Kind
    version: str
    method_id: str
    sandbox: bool
    credits: int | None = None
    price_cents: int | None = None
    questioned: bool = False
    paid: Paid | None = None
    deposit: Deposit | None = None
    reason: str | None = None


def forward_url(seen: Visit, *, returned: str | None) -> str | None:
    """Where the visitor is sent on to, with its fragment; none when there is a page to show.

    Who comes back from the provider's page is told how things stand instead of being sent there again.
    """
    if seen.receipt is None and isinstance(seen.action, CheckoutAction):
        return None if returned in {RETURNED_PAID, RETURNED_UNPAID} else seen.action.url
    return None


def is_stuck(seen: Visit, *, now: datetime) -> bool:
    """Whether the payer's next step hangs on an answer of the provider that is not there.

    A hosted page whose time is over is no step until the provider says that it is still open.
    """
    if seen.receipt is not None or seen.attempt.state not in {AttemptState.CREATED, AttemptState.ACTION_REQUIRED}:
        return False
    return seen.action is None or (isinstance(seen.action, CheckoutAction) and seen.action.expires_at <= now)


def screen(seen: Visit, *, returned: str | None, sandbox: bool, now: datetime) -> Screen:
    """The page for what `seen` says."""
    kind = _kind(seen, returned=returned, now=now)
    bare = Screen(
        kind=kind,
        version=version(seen, now=now),
        method_id=seen.attempt.method,
        sandbox=sandbox,
        questioned=seen.attempt.reason is not None,
    )
    if seen.attempt.method == X402.method_id:
        return bare
    deposit = _deposit(seen.action) if isinstance(seen.action, DepositAction) else None
    return replace(
        bare,
        credits=seen.receipt.credits if seen.receipt else seen.quote.credits,
        price_cents=seen.quote.price_cents,
        paid=_paid(seen, seen.receipt) if seen.receipt else None,
        deposit=deposit if kind in {Kind.DEPOSIT, Kind.LAPSED} else None,
        reason=_plain(seen.attempt.reason) if kind in REASONED else None,
    )


def version(seen: Visit, *, now: datetime) -> str:
    """A text that changes when the page does."""
    over = seen.action is not None and seen.action.expires_at <= now
    if seen.attempt.method == X402.method_id:
        changed = "questioned" if seen.attempt.reason is not None else "plain"
    else:
        changed = str((seen.attempt.updated_at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1))
    return f"{seen.attempt.state}.{changed}.{'over' if over else 'on'}"


def _kind(seen: Visit, *, returned: str | None, now: datetime) -> Kind:
    # The receipt is read after the attempt, so it may know more.
    if seen.receipt is not None:
        return Kind.PAID
    match seen.action:
        case DepositAction():
            return Kind.LAPSED if seen.action.expires_at <= now else Kind.DEPOSIT
        case CheckoutAction():
            return Kind.WAITING if returned == RETURNED_PAID else Kind.UNPAID
        case X402Action():
            return Kind.EXPIRED if seen.action.expires_at <= now else Kind.SIGNING
    return _BY_STATE.get(AttemptState(seen.attempt.state), Kind.BUSY)


def _paid(seen: Visit, receipt: Receipt) -> Paid:
    due = seen.quote.price_cents - receipt.discount_cents + receipt.tax_cents
    return Paid(
        receipt_id=external("receipt", receipt.id),
        receipt_href=f"/pay/{external('payatt', receipt.attempt_id)}/receipt",
        discount_cents=receipt.discount_cents,
        tax_cents=receipt.tax_cents,
        total_cents=receipt.total_cents,
        missing_cents=due - receipt.total_cents,
        late=receipt.late,
        means=_means(seen, receipt),
        settled_at=receipt.settled_at,
    )


def _means(seen: Visit, receipt: Receipt) -> str:
    """What was paid with, in a word or two."""
    if receipt.total_cents == 0:
        return "Promotion code"
    if not METHODS[seen.attempt.method].requires_browser:
        return "USDC on Base"
    kind = str(receipt.details.get("type", "card"))
    return "Bank account" if kind.endswith(("bank_account", "debit")) else kind.replace("_", " ").capitalize()


def _deposit(action: DepositAction) -> Deposit:
    return Deposit(
        network=action.network.capitalize(),
        token=action.token_currency.upper(),
        token_contract=action.token_contract_address,
        address=action.deposit_address,
        amount_atomic=action.token_amount_atomic,
        decimals=action.token_decimals,
        uri=payment_uri(action),
        expires_at=action.expires_at,
    )


def _plain(reason: str | None) -> str | None:
    """The reason without the code that a refusal of the provider begins with (`rails.rail.ProviderRefused`)."""
    if reason is None:
        return None
    code, colon, message = reason.partition(": ")
    return message if colon and " " not in code else reason
