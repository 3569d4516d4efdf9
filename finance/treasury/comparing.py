"""What does not fit between the treasuries on chain and the books: one finding a line, and one for each sum.

`chain` compares line by line: payments and refunds with the transfers that they say they are, sales of USDC with what
left. `treasury` compares sums: the balance at the pinned block with the opening and the transfers since, and
`usdc_clearing` over all books with all that is known to be booked there. That a treasury holds what the books say of it
follows: what no line explains is one of these sums. What was booked after the pinned block, or before the opening,
waits.
Amounts are atomic units.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from sqlmodel.ext.asyncio.session import AsyncSession

from finance.reconciling.found import Compared, Found
from finance.statement_tables import Finding
from finance.treasury import booked
from finance.treasury.booked import Cleared, Position
from finance.treasury.pairing import Explained, Line, Sale, explained
from ledger.ids import external

CHAIN: Final = "chain"
TREASURY: Final = "treasury"
CURRENCY: Final = "usdc"
CLEARING: Final = "usdc_clearing"


async def compared(session: AsyncSession, *, now: datetime) -> tuple[Compared, Compared]:
    """Both comparisons, from what was read and booked so far; `session` is a snapshot. Raises `booked.TooMany`."""
    positions = await booked.positions(session)
    sold = await booked.sales(session)
    since = {position.network: position.opened_at for position in positions if position.opened_at is not None}
    lines = await booked.lines(session)
    done = explained(lines, [sale for sale in sold if _may_be_seen(sale, since)])
    went_out = {(line.network, line.transaction_hash) for line in lines if line.here is None and not line.incoming}
    done.missing = [
        sale
        for sale in done.missing
        # What its transaction took out was read: whenever it is said to have been, nothing is left for this one.
        if (sale.network, sale.transaction_hash) in went_out or _must_be_seen(sale, positions)
    ]
    sums = _sums(positions, await booked.cleared(session, sold), now)
    matched = done.matched + sum(position.matched for position in positions)
    return Compared(CHAIN, matched, _lines(done)), Compared(TREASURY, len(positions) + 1 - len(sums), sums)


def _may_be_seen(sale: Sale, since: Mapping[str, datetime]) -> bool:
    """Whether its transfer may be among those that were read: it names it, or was sold after the opening."""
    return sale.transaction_hash is not None or (sale.network in since and sale.sold_at > since[sale.network])


def _must_be_seen(sale: Sale, positions: Sequence[Position]) -> bool:
    """Whether the chain was read from before the sale to past it."""
    return any(
        position.network == sale.network
        and position.opened_at is not None
        and position.read_to is not None
        and position.opened_at < sale.sold_at <= position.read_to
        for position in positions
    )


def _lines(done: Explained) -> list[Found]:
    missing = [_of_sale(sale, Finding.MISSING_THERE, 0) for sale in done.missing]
    different = [_of_sale(sale, Finding.DIFFERENT, there) for sale, there in done.different]
    return [*map(_of_line, done.left), *missing, *different]


def _of_line(line: Line) -> Found:
    if line.here is None:
        finding = Finding.MISSING_HERE
    else:
        finding = Finding.MISSING_THERE if line.there is None else Finding.DIFFERENT
    place = f"{line.network}:{line.transaction_hash}:{line.log_index}"
    more = (line.there or 0) - (line.here or 0)
    return Found(
        source=CHAIN,
        subject=line.name if line.there is None and line.name is not None else place,
        finding=finding,
        organization_id=line.organization_id,
        amount=more if line.incoming else -more,
        currency=CURRENCY,
        here=_told(
            booked_as=line.name,
            attempt=external("payatt", line.attempt_id) if line.attempt_id is not None else None,
            settlement_is=line.state,
            amount=line.here,
        ),
        there=_told(
            network=line.network,
            treasury=line.treasury,
            transaction_hash=line.transaction_hash,
            log_index=line.log_index,
            block_number=line.block_number,
            incoming=line.incoming,
            amount=line.there,
        )
        if line.there is not None
        else {},
        occurred_at=line.occurred_at,
    )


def _of_sale(sale: Sale, finding: Finding, there: int) -> Found:
    return Found(
        source=CHAIN,
        subject=sale.name,
        finding=finding,
        organization_id=None,
        amount=sale.amount - there,
        currency=CURRENCY,
        here=_told(sold_as=sale.reference, amount=sale.amount, transaction_hash=sale.transaction_hash),
        there=_told(network=sale.network, amount=there) if there else {},
        occurred_at=sale.sold_at,
    )


def _sums(positions: Sequence[Position], clearing: Cleared, now: datetime) -> list[Found]:
    unread = [_unread(position, now) for position in positions if position.balance is None]
    differing = [_unexplained(position, now) for position in positions if position.unexplained]
    if clearing.books == clearing.booked:
        return [*unread, *differing]
    books = Found(
        source=TREASURY,
        subject=CLEARING,
        finding=Finding.DIFFERENT,
        organization_id=None,
        amount=clearing.booked - clearing.books,
        currency=CURRENCY,
        here={"usdc_clearing_over_all_books": clearing.books},
        there={"payments_refunds_and_sales": clearing.booked},
        occurred_at=now,
    )
    return [*unread, *differing, books]


def _unread(position: Position, now: datetime) -> Found:
    """Money is booked to have come to a treasury of which the chain was never asked."""
    return Found(
        source=TREASURY,
        subject=f"{position.network}:{position.treasury}",
        finding=Finding.MISSING_THERE,
        organization_id=None,
        amount=-position.unread_amount,
        currency=CURRENCY,
        here={"bookings": position.unread, "amount": position.unread_amount},
        there={},
        occurred_at=position.first_at or now,
    )


def _unexplained(position: Position, now: datetime) -> Found:
    """The balance is not what its transfers make it: the node kept some back, or the token moved without a word."""
    return Found(
        source=TREASURY,
        subject=f"{position.network}:{position.treasury}",
        finding=Finding.DIFFERENT,
        organization_id=None,
        amount=position.unexplained,
        currency=CURRENCY,
        here=_told(opening=position.opening, came_in=position.came_in, went_out=position.went_out),
        there=_told(balance=position.balance, block_number=position.block_number),
        occurred_at=position.read_to or now,
    )


def _told(**said: Any) -> dict[str, Any]:
    return {name: value for name, value in said.items() if value is not None}
