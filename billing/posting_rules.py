"""Which transfers a fact means. Pure. `docs/postings.md` is the same in a table."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from billing.settlements import Allotment
from ledger.money import usd
from ledger.operations import PLATFORM, SYSTEM_SCOPE, Kind, LotCause, LotOpening, Operation, Transfer
from rails.rail import PaymentSettled

CLEARING: Final = "stripe_clearing"


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
        transfers=tuple(Transfer(CLEARING, account, usd(cents)) for account, cents in shares if cents),
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
        transfers=(Transfer(CLEARING, "unallocated_deposits", usd(fact.total)),),
    )
