"""The journal of a book, read once, becomes what each day did to each paid lot (`LotDay`).

Theory of operation
-------------------
A book is read from where it was read last, under the lock of its `FoldedBook`, so each operation counts once. Lines say
by themselves what was consumed and what expired, and the database adds them up; what they do not show (what is owed,
settled, taken back) is said by the terms of the few operations that change it. A day is the operation's accounting
date; what comes to a day that was recognized already counts on the day after it. What became of a lot in all follows
from the journal alone; on which day late facts counted is said by the recognitions that were posted.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import date
from typing import Any, Final
from uuid import UUID

from sqlalchemy import text
from sqlmodel.ext.asyncio.session import AsyncSession

from finance.lot_values import Gone
from ledger.chart import NUMBERS
from ledger.operations import LANE

OPERATIONS_AT_ONCE: Final = 20_000
"""Operations that one transaction folds, of which each may have hundreds of lines."""

_CONSUMED, _EXPIRED, _CLAWED_BACK, _DEFERRED = (
    NUMBERS[code] for code in ("consumed", "expired", "clawed_back", "deferred_revenue")
)
_COLUMNS_A_LINE: Final = 6
_CHANGES: Final = tuple(Gone.__slots__)

_OF_BOOK: Final = "o.lane = :lane AND o.organization_id = :book AND o.seq > :after AND o.seq <= :through"
_ADD: Final = ", ".join(f"{name} = d.{name} + excluded.{name}" for name in _CHANGES)

_LINES: Final = text(f"""
    INSERT INTO finance.lot_days AS d (organization_id, lot, day, consumed, expired)
    SELECT o.organization_id, l.lot, greatest(o.accounting_date, :floor) AS day,
           sum(CASE {_CONSUMED} WHEN o.lines[n.at + 1] THEN o.lines[n.at + 4]
                          WHEN o.lines[n.at + 2] THEN -o.lines[n.at + 4] ELSE 0 END),
           sum(CASE {_EXPIRED} WHEN o.lines[n.at + 1] THEN o.lines[n.at + 4]
                          WHEN o.lines[n.at + 2] THEN -o.lines[n.at + 4] ELSE 0 END)
    FROM ledger.operations AS o
    CROSS JOIN LATERAL generate_series(0, cardinality(o.lines) - 1, {_COLUMNS_A_LINE}) AS n (at)
    JOIN ledger.lot_openings AS l
      ON l.lane = o.lane AND l.organization_id = o.organization_id AND l.lot = o.lines[n.at + 3] AND l.cause = 'paid'
    WHERE {_OF_BOOK}
    GROUP BY o.organization_id, l.lot, day
    ON CONFLICT (organization_id, lot, day)
    DO UPDATE SET consumed = d.consumed + excluded.consumed, expired = d.expired + excluded.expired""")  # noqa: S608

# A debt's lots stand in the order in which they settled it; a list that only grows.
_TELLING: Final = text(f"""
    SELECT o.kind, o.lines, o.terms, greatest(o.accounting_date, :floor) AS day, g.lot AS about,
           (SELECT l.settled_lots FROM ledger.lots AS l
            WHERE l.lane = o.lane AND l.organization_id = o.organization_id
              AND o.kind = 'reinstate' AND l.lot = CAST(CAST(o.terms AS jsonb) ->> 'lot' AS integer)) AS settled_by
    FROM ledger.operations AS o
    LEFT JOIN ledger.operations AS t ON t.id = o.target AND t.organization_id = o.organization_id AND o.kind = 'money'
    LEFT JOIN ledger.lot_openings AS g
      ON g.lane = t.lane AND g.organization_id = t.organization_id AND g.seq = t.seq
    WHERE {_OF_BOOK} AND o.outcome = 'posted'
      AND (o.kind IN ('claw_back', 'reinstate', 'settle_owed', 'write_off', 'spend_refund')
           OR o.kind = 'money' AND o.target IS NOT NULL OR o.kind = 'capture' AND o.terms IS NOT NULL)
    ORDER BY o.seq""")  # noqa: S608

_KEEP: Final = text(f"""
    INSERT INTO finance.lot_days AS d (organization_id, lot, day, {", ".join(_CHANGES)})
    SELECT :book, l.lot, :day, {", ".join(f":{name}" for name in _CHANGES)}
    FROM ledger.lot_openings AS l
    WHERE l.lane = :lane AND l.organization_id = :book AND l.lot = :lot AND l.cause = 'paid'
    ON CONFLICT (organization_id, lot, day) DO UPDATE SET {_ADD}""")  # noqa: S608


async def fold(session: AsyncSession, organization_id: UUID, *, after: int, through: int, floor: date) -> None:
    """Add what the operations behind `after` up to `through` did. No day before `floor` changes any more.

    The caller holds the lock of the book's `FoldedBook` and says there that these were folded.
    """
    connection = await session.connection()
    known = {"lane": LANE, "book": organization_id, "after": after, "through": through, "floor": floor}
    await connection.execute(_LINES, known)
    changes: dict[tuple[int, date], Gone] = defaultdict(Gone)
    for row in await connection.execute(_TELLING, known):
        for lot, change in _told(row.kind, row.lines, row.terms, row.about, row.settled_by):
            changes[lot, row.day] += change
    kept = [
        {"lane": LANE, "book": organization_id, "lot": lot, "day": day, **asdict(change)}
        for (lot, day), change in sorted(changes.items())
        if change != Gone()
    ]
    if kept:
        await connection.execute(_KEEP, kept)


def _told(
    kind: str, lines: Sequence[int], terms: str | None, about: int | None, settled_by: Sequence[int] | None
) -> Iterable[tuple[int, Gone]]:
    """What an operation did to lots beyond what its lines show; its terms are those that the posting function wrote."""
    said: Mapping[str, Any] = json.loads(terms or "{}")
    match kind:
        case "money" if about is not None:
            yield about, Gone(taken_cents=sum(_on_account(lines, _DEFERRED)))
        case "claw_back":
            yield said["lot"], Gone(reversed=said["reversed"], owed=said["owed"])
        case "write_off":
            yield said["lot"], Gone(reversed=-said["written_off"], owed=-said["written_off"])
        case "capture":
            for lot, _, owed, _ in said.get("reversed", ()):
                yield lot, Gone(owed=owed)
        case "settle_owed":
            for debtor, source, amount in said["settled"]:
                yield debtor, Gone(settled=amount, owed=-amount)
                yield source, Gone(given=amount)
        case "spend_refund":
            for debit, credit, lot, amount in _moves(lines):
                if (debit, credit) == (_CLAWED_BACK, _CONSUMED):
                    yield lot, Gone(owed=-amount)
        case "reinstate":
            yield from _reinstated(lines, said, settled_by or ())


def _reinstated(lines: Sequence[int], said: Mapping[str, Any], settled_by: Sequence[int]) -> Iterable[tuple[int, Gone]]:
    """A reversal is undone: first what is owed, then what other lots gave, which goes back to them.

    A lot that owes something itself gets no more back than what is beyond its own debt: the rest stays taken for that.
    """
    back: dict[int, int] = defaultdict(int)
    for n, amount in said["settled"]:
        back[settled_by[n - 1]] += amount
    settled = sum(back.values())
    yield said["lot"], Gone(reversed=-said["reinstated"], owed=-said["owed"], settled=-settled)
    for source, amount in back.items():
        returned = sum(part for _, credit, lot, part in _moves(lines) if lot == source and credit == _CLAWED_BACK)
        yield source, Gone(given=-amount, owed=returned - amount)


def _moves(lines: Sequence[int]) -> Iterable[tuple[int, int, int, int]]:
    return zip(*(lines[n::_COLUMNS_A_LINE] for n in range(4)), strict=True)


def _on_account(lines: Sequence[int], account: int) -> Iterable[int]:
    """What an account was debited with; below zero what it was credited with."""
    for debit, credit, _, amount in _moves(lines):
        if debit == account:
            yield amount
        elif credit == account:
            yield -amount
