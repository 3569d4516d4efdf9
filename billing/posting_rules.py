"""Which transfers a fact means. Pure. `docs/postings.md` is the same in a table."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

from ledger.money import usd
from ledger.operations import SYSTEM_SCOPE, Kind, LotCause, LotOpening, Operation, Transfer
from rails.rail import PaymentSettled


def purchase(
    fact: PaymentSettled,
    *,
    organization_id: UUID,
    credits_: int,
    expire_after_days: int | None,
) -> Operation:
    """A settled payment: credits come into the wallet as a paid lot; its money is owed as service, its tax as tax.

    The lot's basis is what was paid net of tax. The key is the payment itself, so one payment is granted once.
    """
    net = fact.total - fact.tax
    transfers = []
    if net:
        transfers.append(Transfer("stripe_clearing", "deferred_revenue", usd(net)))
    if fact.tax:
        transfers.append(Transfer("stripe_clearing", "sales_tax_payable", usd(fact.tax)))
    expires_at = fact.occurred_at + timedelta(days=expire_after_days) if expire_after_days is not None else None
    return Operation(
        organization_id=organization_id,
        kind=Kind.GRANT,
        scope=SYSTEM_SCOPE,
        key=f"grant:{fact.payment_kind}:{fact.payment_id}",
        event_at=fact.occurred_at,
        cause=f"{fact.method_id} {fact.attempt_id}",
        transfers=tuple(transfers),
        lot=LotOpening(LotCause.PAID, credits_, usd(net), expires_at),
    )
