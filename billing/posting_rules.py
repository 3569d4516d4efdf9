"""Which transfers a fact means. Pure. `docs/postings.md` is the same in a table."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from billing.bookings import CLEARING
from billing.settlements import Allotment
from ledger.money import usd, usdc, usdc_atomic_of_cents
from ledger.operations import PLATFORM, SYSTEM_SCOPE, Kind, LotCause, LotOpening, Operation, Transfer
from rails.rail import PaymentSettled

ON_CHAIN: Final = frozenset({"x402_authorization"})
"""Kinds of payments whose money is USDC in our own treasury."""


def purchase(
    fact: PaymentSettled,
    *,
    organization_id: UUID,
    allotted: Allotment,
    expire_after_days: int | None,
    settled_at: datetime,
) -> Operation:
    """A settled payment: credits come into the wallet as a paid lot; its money is owed as service, its tax as tax.

    The lot's basis is what was paid for it net of tax. Where nothing was paid the lot is promotional. The key is the
    payment itself, so one payment is granted once.
    """
    shares = (
        ("deferred_revenue", allotted.basis_cents),
        ("deposit_remainder", allotted.remainder_cents),
        ("sales_tax_payable", fact.tax),
    )
    return Operation(
        organization_id=organization_id,
        kind=Kind.GRANT,
        scope=SYSTEM_SCOPE,
        key=f"grant:{fact.payment_kind}:{fact.payment_id}",
        event_at=settled_at,
        cause=f"{fact.method_id} {fact.attempt_id}",
        transfers=_received(fact, shares),
        lot=LotOpening(
            LotCause.PAID if fact.total else LotCause.PROMOTIONAL,
            allotted.credits,
            usd(allotted.basis_cents) if fact.total else None,
            settled_at + timedelta(days=expire_after_days) if expire_after_days is not None else None,
        ),
    )


def unallocated(fact: PaymentSettled) -> Operation:
    """Real money that grants nothing: it stands in the platform's book, tax included, until it is sent back."""
    return Operation(
        organization_id=PLATFORM,
        kind=Kind.MONEY,
        scope=SYSTEM_SCOPE,
        key=f"unallocated:{fact.payment_kind}:{fact.payment_id}",
        event_at=fact.occurred_at,
        cause=f"{fact.method_id} {fact.attempt_id}",
        transfers=_received(fact, (("unallocated_deposits", fact.total),)),
    )


def _received(fact: PaymentSettled, shares: Sequence[tuple[str, int]]) -> tuple[Transfer, ...]:
    """What was paid, in cents for each account it is owed to, against where the money came to."""
    if fact.payment_kind not in ON_CHAIN:
        return tuple(Transfer(CLEARING, account, usd(cents)) for account, cents in shares if cents)
    owed = [Transfer("conversion", account, usd(cents)) for account, cents in shares if cents]
    return (*owed, Transfer("usdc_clearing", "conversion_usdc", usdc(usdc_atomic_of_cents(fact.total))))
