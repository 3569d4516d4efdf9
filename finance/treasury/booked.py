"""The transfers of the treasuries beside what the books say of them, line by line and in sums.

A payment on chain is looked for where its settlement says that it stands, a refund where its line of the books was
read. A payment that a reorganization took out is not looked for while it is out. Only what lies between the opening and
the last block that was read can be missing on the chain. All reads belong in one snapshot.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import text
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from billing.operator_actions import Act
from billing.reversal_tables import OperatorAction
from finance.treasury.pairing import Line, Sale
from ledger.operations import LANE

LINES_MAX: Final = 10_000
"""Lines without an explanation, and sales, that are looked at: more than that nobody reads."""

_PAIRS: Final = r"""
    WITH reading AS (
      SELECT r.network, r.treasury, min(r.block_number) AS first_block, max(r.block_number) AS last_block,
             min(r.block_at) AS first_at, max(r.block_at) AS last_at
      FROM finance.treasury_readings AS r GROUP BY r.network, r.treasury),
    reorganized AS (
      SELECT regexp_replace(b.id, ':[0-9]+:(out|back)$', '') AS payment_id, sum(b.amount_cents) AS cents
      FROM billing.balance_transactions AS b
      WHERE b.currency = 'usdc' AND b.category = 'reorganization' GROUP BY 1),
    payment AS (
      SELECT s.network, lower(s.pay_to) AS treasury, s.transaction_hash,
             coalesce(s.paid_at, p.created_at) AS occurred_at,
             CASE WHEN s.block_hash <> '' THEN s.log_index ELSE (
               -- A facilitator alone told of it, and no more than the transaction.
               SELECT min(t.log_index) FROM finance.chain_transfers AS t
               WHERE t.network = s.network AND t.transaction_hash = s.transaction_hash AND t.incoming
                 AND t.amount = s.amount_atomic) END AS log_index,
             CASE WHEN s.block_hash <> '' THEN s.block_number END AS block_number,
             p.amount_cents * 10000 AS amount, p.external_id AS name, p.organization_id, p.attempt_id
      FROM billing.external_payments AS p
      JOIN billing.settlements AS s
        ON p.external_id = s.network || ':' || lower(s.payer) || ':' || '0x' || encode(s.nonce, 'hex')
      LEFT JOIN reorganized AS g ON g.payment_id = p.external_id
      WHERE p.kind = 'x402_authorization' AND coalesce(g.cents, 0) = 0),
    refund AS (
      -- One whose id is not a place on a chain stands under that id, as of a treasury that was never read.
      SELECT coalesce(place[1], b.id) AS network, coalesce(split_part(b.source_id, ':', 6), '') AS treasury,
             place[2] AS transaction_hash, b.occurred_at, CAST(place[3] AS bigint) AS log_index,
             CAST(NULL AS bigint) AS block_number,
             -b.amount_cents * 10000 AS amount, b.id AS name, b.organization_id, b.attempt_id
      FROM billing.balance_transactions AS b
      CROSS JOIN LATERAL regexp_match(b.id, '^(eip155:[0-9]+):(0x[0-9a-f]{64}):([0-9]+)$') AS place
      WHERE b.currency = 'usdc' AND b.category = 'refund'),
    booked AS (
      SELECT true AS incoming, payment.* FROM payment UNION ALL SELECT false, refund.* FROM refund),
    pair AS (
      SELECT coalesce(t.network, b.network) AS network, coalesce(t.treasury, b.treasury) AS treasury,
             coalesce(t.transaction_hash, b.transaction_hash) AS transaction_hash,
             coalesce(t.log_index, b.log_index) AS log_index, coalesce(t.incoming, b.incoming) AS incoming,
             t.amount AS there, b.amount AS here, coalesce(t.block_number, b.block_number) AS block_number,
             b.name, b.organization_id, b.attempt_id, coalesce(t.occurred_at, b.occurred_at) AS occurred_at,
             r.network IS NULL AS unread,
             t.network IS NOT NULL OR r.network IS NOT NULL AND CASE
               WHEN b.block_number IS NULL THEN b.occurred_at > r.first_at AND b.occurred_at <= r.last_at
               ELSE b.block_number > r.first_block AND b.block_number <= r.last_block END AS within
      FROM finance.chain_transfers AS t
      FULL JOIN booked AS b
        ON b.network = t.network AND b.transaction_hash = t.transaction_hash AND b.log_index = t.log_index
           AND b.treasury = t.treasury AND b.incoming = t.incoming
      LEFT JOIN reading AS r
        ON r.network = coalesce(t.network, b.network) AND r.treasury = coalesce(t.treasury, b.treasury))"""

_LINES: Final = text(f"""{_PAIRS}
    SELECT pair.network, pair.treasury, pair.transaction_hash, pair.log_index, pair.incoming, pair.there, pair.here,
           pair.block_number, pair.name, coalesce(pair.organization_id, s.organization_id) AS organization_id,
           coalesce(pair.attempt_id, s.attempt_id) AS attempt_id, s.state, pair.occurred_at
    FROM pair
    LEFT JOIN billing.settlements AS s
      ON s.network = pair.network AND s.transaction_hash = pair.transaction_hash AND s.log_index = pair.log_index
         AND pair.incoming AND pair.here IS NULL
    WHERE pair.within AND pair.there IS DISTINCT FROM pair.here
    ORDER BY pair.occurred_at, pair.network, pair.transaction_hash, pair.log_index LIMIT :limit""")  # noqa: S608

_SUMS: Final = text(f"""{_PAIRS}
    SELECT pair.network, pair.treasury, count(pair.there) AS transfers,
           count(*) FILTER (WHERE pair.there = pair.here) AS matched,
           coalesce(sum(pair.there) FILTER (WHERE pair.incoming), 0) AS came_in,
           coalesce(sum(pair.there) FILTER (WHERE NOT pair.incoming), 0) AS went_out,
           count(*) FILTER (WHERE pair.unread) AS unread,
           coalesce(sum(CASE WHEN pair.incoming THEN pair.here ELSE -pair.here END) FILTER (WHERE pair.unread), 0)
             AS unread_amount,
           min(pair.occurred_at) AS first_at
    FROM pair GROUP BY pair.network, pair.treasury ORDER BY pair.network, pair.treasury""")  # noqa: S608

_READINGS: Final = text("""
    SELECT DISTINCT ON (r.network, r.treasury) r.network, r.treasury, opening.balance AS opening,
           opening.block_at AS opened_at, r.balance, r.block_number, r.block_at
    FROM finance.treasury_readings AS r
    CROSS JOIN LATERAL (
      SELECT o.balance, o.block_at FROM finance.treasury_readings AS o
      WHERE o.network = r.network AND o.treasury = r.treasury ORDER BY o.block_number LIMIT 1) AS opening
    ORDER BY r.network, r.treasury, r.block_number DESC""")

_BOOKS: Final = text("""
    SELECT (SELECT coalesce(sum(a.debits - a.credits), 0) FROM ledger.accounts AS a
            WHERE a.lane = :lane AND a.code = 'usdc_clearing') AS books,
           10000 * (SELECT coalesce(sum(p.amount_cents), 0) FROM billing.external_payments AS p
                    WHERE p.kind = 'x402_authorization') AS paid,
           10000 * (SELECT coalesce(sum(b.amount_cents), 0) FROM billing.balance_transactions AS b
                    WHERE b.currency = 'usdc') AS sent,
           (SELECT coalesce(sum(CAST(e.adjustment -> 'posted' ->> 'usdc_clearing' AS bigint)), 0)
            FROM finance.exceptions AS e WHERE e.adjustment IS NOT NULL) AS adjusted""")


class TooMany(Exception):
    """More does not fit than is looked at. The message is for people."""


@dataclass(frozen=True, slots=True)
class Position:
    """A treasury as the chain and the books have it, in atomic units.

    `came_in` and `went_out` are the `transfers` since `opening`, up to the pinned block; `matched` of them are payments
    and refunds. `unread` bookings, of `unread_amount`, are of a treasury that was never read: without balances.
    """

    network: str
    treasury: str
    opening: int | None
    opened_at: datetime | None
    balance: int | None
    block_number: int | None
    read_to: datetime | None
    came_in: int
    went_out: int
    transfers: int
    matched: int
    unread: int
    unread_amount: int
    first_at: datetime | None

    @property
    def unexplained(self) -> int:
        """What the balance is more than its transfers say."""
        if self.balance is None or self.opening is None:
            return 0
        return self.balance - (self.opening + self.came_in - self.went_out)


@dataclass(frozen=True, slots=True)
class Cleared:
    """`usdc_clearing` over all books, and the sum of everything that is known to be booked there, in atomic units."""

    books: int
    booked: int


async def lines(session: AsyncSession) -> list[Line]:
    """Transfers and bookings that are not each other's, oldest first. Raises `TooMany`."""
    rows = (await (await session.connection()).execute(_LINES, {"limit": LINES_MAX + 1})).mappings().all()
    if len(rows) > LINES_MAX:
        raise TooMany(f"more than {LINES_MAX} transfers of the treasury are not explained by payments and refunds")
    return [Line(**{**row, "here": _whole(row["here"])}) for row in rows]


async def positions(session: AsyncSession) -> list[Position]:
    """Each treasury that was read, or that money is booked to have come to."""
    connection = await session.connection()
    readings = {(row.network, row.treasury): row for row in await connection.execute(_READINGS)}
    sums = {(row.network, row.treasury): row for row in await connection.execute(_SUMS)}
    return [_position(key, readings.get(key), sums.get(key)) for key in sorted({*readings, *sums})]


def _position(key: tuple[str, str], read: Any, summed: Any) -> Position:
    return Position(
        network=key[0],
        treasury=key[1],
        opening=read.opening if read else None,
        opened_at=read.opened_at if read else None,
        balance=read.balance if read else None,
        block_number=read.block_number if read else None,
        read_to=read.block_at if read else None,
        came_in=int(summed.came_in) if summed else 0,
        went_out=int(summed.went_out) if summed else 0,
        transfers=summed.transfers if summed else 0,
        matched=summed.matched if summed else 0,
        unread=summed.unread if summed else 0,
        unread_amount=int(summed.unread_amount) if summed else 0,
        first_at=summed.first_at if summed else None,
    )


async def sales(session: AsyncSession) -> list[Sale]:
    """All USDC that operators booked as sold, in the order of booking. Raises `TooMany`."""
    query = select(OperatorAction).where(col(OperatorAction.action) == Act.SOLD_USDC)
    found = (await session.exec(query.order_by(col(OperatorAction.id)).limit(LINES_MAX + 1))).all()
    if len(found) > LINES_MAX:
        raise TooMany(f"more than {LINES_MAX} sales of USDC are booked")
    return [_sale(one.details) for one in found]


async def cleared(session: AsyncSession, sold: Sequence[Sale]) -> Cleared:
    """The books' own sum against that of payments, refunds, reorganizations and adjustments, and of what was `sold`."""
    row = (await (await session.connection()).execute(_BOOKS, {"lane": LANE})).one()
    explained = int(row.paid) + int(row.sent) + int(row.adjusted) - sum(sale.amount for sale in sold)
    return Cleared(int(row.books), explained)


def _sale(details: dict[str, Any]) -> Sale:
    return Sale(
        network=details["network"],
        reference=details["reference"],
        amount=int(details["usdc_atomic"]),
        transaction_hash=details["transaction_hash"],
        sold_at=datetime.fromisoformat(details["sold_at"]),
    )


def _whole(amount: Any) -> int | None:
    return int(amount) if amount is not None else None
