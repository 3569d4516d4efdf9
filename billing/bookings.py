"""A line of the provider's balance as an operation of the books: posted once, under the line's own id. Pure.

`docs/postings.md` is the same in a table. What the line is about decides the account on the other side of clearing; its
fee is always an expense, the organization's own or the platform's.
"""

from __future__ import annotations

from typing import Final
from uuid import UUID

from ledger.money import usd, usdc, usdc_atomic_of_cents
from ledger.operations import PLATFORM, SYSTEM_SCOPE, Kind, Operation, Transfer
from rails.money import BalanceTransaction, Incomprehensible

CLEARING: Final = "stripe_clearing"
CURRENCY: Final = "usd"
ON_CHAIN: Final = "usdc"


def moved(account: str, cents: int, *, currency: str = CURRENCY) -> tuple[Transfer, ...]:
    """Money between `account` and clearing, as the provider's balance shows it: `cents` above 0 came in.

    USDC comes into `usdc_clearing`, and is worth a dollar: `conversion` stands for it in dollars, `conversion_usdc` in
    USDC, so that each currency balances by itself.
    """
    if cents == 0:
        return ()
    if currency != ON_CHAIN:
        return (Transfer(CLEARING, account, usd(cents)) if cents > 0 else Transfer(account, CLEARING, usd(-cents)),)
    tokens = usdc(usdc_atomic_of_cents(abs(cents)))
    if cents > 0:
        return Transfer("conversion", account, usd(cents)), Transfer("usdc_clearing", "conversion_usdc", tokens)
    return Transfer(account, "conversion", usd(-cents)), Transfer("conversion_usdc", "usdc_clearing", tokens)


def booking(line: BalanceTransaction, *, organization_id: UUID, account: str | None) -> Operation | None:
    """What a balance transaction means in a book; none when it moves nothing there.

    `account` stands against its gross amount; none when the gross was posted with the grant, so that only the fee is
    left. Raises `Incomprehensible` for a line whose amounts do not add up or that is not in dollars.
    """
    if line.currency not in {CURRENCY, ON_CHAIN} or (line.currency == ON_CHAIN and line.fee):
        raise Incomprehensible(f"{line.transaction_id} is in {line.currency}, these books are kept in {CURRENCY}")
    if line.amount - line.fee != line.net:
        raise Incomprehensible(f"{line.transaction_id}: {line.amount} - {line.fee} is not {line.net}")
    fees = "fees" if organization_id == PLATFORM else "stripe_fees"
    gross = moved(account, line.amount, currency=line.currency) if account else ()
    transfers = (*gross, *moved(fees, -line.fee))
    if not transfers:
        return None
    return Operation(
        organization_id=organization_id,
        kind=Kind.MONEY,
        scope=SYSTEM_SCOPE,
        key=f"balance:{line.transaction_id}",
        event_at=line.occurred_at,
        cause=f"{line.category} {line.source_id or line.transaction_id}",
        transfers=transfers,
    )
