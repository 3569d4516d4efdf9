"""The rows of the books as plain values, from the database and from the oracle, so that they can be compared whole."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from ledger import chart
from ledger.operations import LotCause
from tests.model.kept import PLACES, Hold, Lot, Spender, start_of
from tests.model.kinds import Book

Rows = dict[str, Any]

_BOOK = (
    "last_seq, last_lot, last_posted_at, closed_through, issued, wallet, held, consumed, expired, clawed_back, frozen,"
    " paid, owed"
)
_LOT = (
    "lot, cause, credits, remaining, held, consumed, expired, clawed_back, open, frozen, expires_at, priority,"
    " reversed, taken, taken_expired, held_reversed, owed, settled, settled_lots, settled_amounts, reissued"
)
_HOLD = (
    "id, maker, spender, credits, remaining, reversed, made_at, deadline, lots, amounts, reversed_amounts, open, ended"
)
_SPENDER = (
    "spender, per_spend, per_hour, per_day, per_month, total, paused, since, hour_start, hour_used, day_start,"
    " day_used, month_start, month_used, total_used"
)
_OPERATION = (
    "seq, id, kind, scope, key, outcome, cause, spender, target, coalesce(event_at, posted_at) AS event_at, posted_at,"
    " accounting_date, available_after, held_after, paid_after, lines"
)


async def stored(connection: Any, organization_id: UUID, *, after_seq: int = 0) -> Rows:
    """What the database says of one book; of its journal what comes after `after_seq`."""

    async def read(columns: str, table: str, more: str = "") -> list[Any]:
        query = f"SELECT {columns} FROM ledger.{table} WHERE lane = 0 AND organization_id = $1 {more}"
        return [dict(row) for row in await connection.fetch(query, organization_id)]

    operations = await read(_OPERATION, "operations", f"AND seq > {after_seq} ORDER BY seq")
    money = await read("code, debits, credits", "accounts", "ORDER BY code")
    returned = await read(
        "id, (SELECT sum(a) FROM unnest(amounts) AS a)::bigint AS amount", "spend_refunds", "ORDER BY id"
    )
    return {
        "book": (await read(_BOOK, "books"))[0],
        "lots": await read(_LOT, "lots", "ORDER BY lot"),
        "holds": await read(_HOLD, "holds", "ORDER BY id"),
        "spenders": await read(_SPENDER, "spenders", "ORDER BY spender"),
        "money": {row["code"]: (row["debits"], row["credits"]) for row in money},
        "given_back": {row["id"]: row["amount"] for row in returned},
        "journal": [operation | {"lines": _moves(operation["lines"])} for operation in operations],
    }


def _moves(lines: list[int]) -> list[tuple[str, str, int, int]]:
    return [
        (chart.BY_NUMBER[lines[n]].code, chart.BY_NUMBER[lines[n + 1]].code, lines[n + 2], lines[n + 3])
        for n in range(0, len(lines), 6)
    ]


def expected(book: Book, *, after_seq: int = 0) -> Rows:
    """What the oracle says of one book, in the same form."""
    in_use = {code for code, _ in book.money}
    return {
        "book": _book(book),
        "lots": [_lot(book, lot) for lot in book.lots],
        "holds": [_hold(hold) for hold in sorted(book.holds.values(), key=lambda hold: hold.id)],
        "spenders": [_spender(spender, book.spenders[spender]) for spender in sorted(book.spenders)],
        "money": {code: (book.money[code, "debits"], book.money[code, "credits"]) for code in sorted(in_use)},
        "given_back": {id_: entry.given_back for id_, entry in sorted(book.by_id.items()) if entry.given_back},
        "journal": [
            {
                "seq": seq, "id": entry.posted.operation_id, "kind": entry.kind, "scope": entry.scope, "key": entry.key,
                "outcome": entry.posted.outcome, "cause": entry.cause, "spender": entry.spender, "target": entry.target,
                "event_at": entry.event_at, "posted_at": entry.posted.posted_at,
                "accounting_date": entry.posted.accounting_date, "available_after": entry.posted.available_after,
                "held_after": entry.posted.held_after, "paid_after": entry.posted.paid_after, "lines": entry.moves,
            }
            for seq, entry in enumerate(book.journal[after_seq:], after_seq + 1)
        ],
    }  # fmt: skip


def assert_same(rows: Rows, oracles: Rows) -> None:
    """Fails with the rows that are not the oracle's."""
    for table, ours in oracles.items():
        if rows[table] != ours:
            found, wanted = (value if isinstance(value, list) else [value] for value in (rows[table], ours))
            assert [row for row in found if row not in wanted] == [row for row in wanted if row not in found], table
            assert found == wanted, table


def _book(book: Book) -> Rows:
    sums = {place: sum(lot.places[place] for lot in book.lots) for place in PLACES}
    return {
        "last_seq": len(book.journal),
        "last_lot": len(book.lots),
        "last_posted_at": book.journal[-1].posted.posted_at if book.journal else None,
        "closed_through": book.closed_through,
        "issued": sum(sums.values()),
        **sums,
        "frozen": sum(lot.remaining for lot in book.lots if lot.frozen),
        "paid": book.paid(),
        "owed": book.owed(),
    }


def _lot(book: Book, lot: Lot) -> Rows:
    return {
        "lot": lot.number,
        "cause": LotCause(lot.opening.cause).value,
        "credits": sum(lot.places[place] for place in PLACES),
        "remaining": lot.remaining,
        **{place: lot.places[place] for place in PLACES if place != "wallet"},
        "open": lot.remaining > 0,
        "frozen": lot.frozen,
        "expires_at": lot.opening.expires_at,
        "priority": lot.opening.priority,
        "reversed": book.reversed(lot),
        "taken": lot.taken,
        "taken_expired": lot.taken_expired,
        "reissued": lot.reissued,
        "held_reversed": book.held_reversed(lot),
        "owed": lot.owed,
        "settled": sum(amount for _, amount in lot.settled),
        "settled_lots": [source for source, _ in lot.settled],
        "settled_amounts": [amount for _, amount in lot.settled],
    }


def _hold(hold: Hold) -> Rows:
    return {
        "id": hold.id,
        "maker": hold.maker,
        "spender": hold.spender,
        "credits": hold.credits,
        "remaining": hold.remaining,
        "reversed": sum(part.reversed for part in hold.parts),
        "made_at": hold.made_at,
        "deadline": hold.deadline,
        "lots": [part.lot.number for part in hold.parts],
        "amounts": [part.credits for part in hold.parts],
        "reversed_amounts": [part.reversed for part in hold.parts],
        "open": hold.ended is None,
        "ended": hold.ended,
    }


def _spender(spender: UUID, known: Spender) -> Rows:
    last = known.last_charged_at()
    caps = known.caps
    windows = {
        name: value
        for window in ("hour", "day", "month")
        for name, value in (
            (f"{window}_start", start_of(window, last)),
            (f"{window}_used", known.used(window, last)),
        )
    }
    return {
        "spender": spender,
        "per_spend": caps.per_spend,
        "per_hour": caps.per_hour,
        "per_day": caps.per_day,
        "per_month": caps.per_month,
        "total": caps.total,
        "paused": caps.paused,
        "since": known.since,
        **windows,
        "total_used": known.total(),
    }


def assert_invariants(rows: Rows) -> None:
    """What holds after every operation, of the rows alone: it needs no oracle."""
    book, lots, holds = rows["book"], rows["lots"], rows["holds"]
    assert book["issued"] == sum(book[place] for place in PLACES)
    assert min(book[place] for place in (*PLACES, "issued", "frozen", "paid", "owed")) >= 0
    assert book["wallet"] == sum(lot["remaining"] for lot in lots if lot["open"])
    assert book["held"] == sum(hold["remaining"] for hold in holds if hold["open"])
    assert book["frozen"] == sum(lot["remaining"] for lot in lots if lot["frozen"])
    assert book["owed"] == sum(lot["owed"] for lot in lots)
    for lot in lots:
        kept = [(h["amounts"], h["reversed_amounts"]) for h in holds for n in h["lots"] if n == lot["lot"]]
        assert lot["credits"] == lot["remaining"] + sum(lot[place] for place in PLACES if place != "wallet")
        assert lot["reversed"] == lot["taken"] + lot["held_reversed"] + lot["owed"] + lot["settled"]
        assert lot["reversed"] <= lot["credits"]
        assert bool(kept) or lot["held"] == 0
        assert lot["held"] == _of_lot(holds, lot["lot"], "amounts")
        assert lot["held_reversed"] == _of_lot(holds, lot["lot"], "reversed_amounts")
    assert sum(debits - credits_ for debits, credits_ in rows["money"].values()) == 0


def _of_lot(holds: list[Rows], lot: int, amounts: str) -> int:
    return sum(
        amount for hold in holds for number, amount in zip(hold["lots"], hold[amounts], strict=True) if number == lot
    )
