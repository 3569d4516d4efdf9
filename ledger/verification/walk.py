"""Rebuilding books from their journal, and naming what does not fit.

Theory of operation
-------------------
The journal of all books is one stream, in the order of book and seq. `replay` follows it, one operation at a
time, and checks each against the chain and against the book as it was rebuilt so far. A book that has been followed to
its end is compared with its row and its accounts.

Memory does not grow with the journal. A hold that has ended never changes again: its row is compared then, and it is
forgotten. A lot of which nothing is left may still be named by a reversal or a refund. When it comes to rest, and its
row is just as it was rebuilt, it is forgotten too; an operation that names it later gets it back from that row, which
said the same at that moment. If the row is not like that yet, the lot is kept: something later must change it, or it is
wrong, and the end of the book will tell. What was given back of each spend is compared last, in a second stream that
the database sorts by spend. So what is kept is one book's open holds, its open lots and those with a reversal still to
come, and its spenders. Comparing is done for every few thousand operations at once, of however many books they are.

The chain finds every changed journal row; the rebuilt book finds every changed projection. A journal that was rewritten
whole, its chain and its projections too, or that was cut off at its end, can only be found by a head that was published
outside: `published` takes those. `next_due_at` may be a deadline that has passed out of use: it must be one that the
book once had, and none that is open may be earlier.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from sqlmodel import SQLModel
from sqlmodel.ext.asyncio.session import AsyncSession

from ledger.chart import CHART, NUMBERS
from ledger.operations import PLATFORM
from ledger.tables import HoldRow, LotOpeningRow, LotRow, SpenderRow
from ledger.verification.comparison import Findings, Mismatch, compare_book, different
from ledger.verification.effects import Charged, lots_named
from ledger.verification.journal import COLUMNS_A_LINE, Entry
from ledger.verification.rebuilt import CONSUMED, Hold, Lot, Spender
from ledger.verification.replay import Replay
from ledger.verification.stored import Row, Stored

_BETWEEN: Final = NUMBERS["between_books"]

Progress = Callable[[int, int], None]
"""Told the number of books and of operations so far."""

Published = Mapping[UUID, Mapping[int, bytes]]
"""Heads that were published outside, by organization and seq."""


@dataclass(frozen=True, slots=True)
class Verified:
    """How much was verified, and what does not fit: of each book the first row, and some more."""

    books: int
    operations: int
    mismatches: list[Mismatch]


async def verify_book(
    session: AsyncSession, organization_id: UUID, *, published: Mapping[int, bytes] | None = None
) -> list[Mismatch]:
    """What does not fit in one book, the first row first; empty when all is well. See `verify`."""
    return (await verify(session, organization_id, published={organization_id: published or {}})).mismatches


async def verify(
    session: AsyncSession,
    organization_id: UUID | None,
    *,
    published: Published | None = None,
    progress: Progress | None = None,
) -> Verified:
    """Verify one book, or all of them and what holds between them. Run it in one REPEATABLE READ transaction."""
    stored = await Stored.of(session)
    walk = _Walk(stored, organization_id, published or {}, progress)
    await walk.run()
    if walk.refunds:
        await _compare_refunds(stored, organization_id, walk.findings)
    if organization_id is None:
        await _compare_between_books(stored, walk)
    return Verified(walk.books_done, walk.operations, walk.findings.listed())


class _Walk:
    """One walk through the journal. `refunds` counts refunds of spends and rows that say something of them."""

    def __init__(
        self, stored: Stored, organization_id: UUID | None, published: Published, progress: Progress | None
    ) -> None:
        self.stored = stored
        self.organization_id = organization_id
        self.progress = progress
        self.findings = Findings()
        self.books_done = self.operations = self.between_books = self.refunds = 0
        self._published = {book.bytes: dict(heads) for book, heads in published.items()}
        if organization_id is not None:
            self._published.setdefault(organization_id.bytes, {})
        self._books = stored.books(organization_id)
        self._next: Row | None = None
        self._row: Row | None = None
        self._id: bytes | None = None
        self._replay = Replay()
        self._lots: list[tuple[bytes, Lot]] = []
        self._holds: list[tuple[bytes, Hold]] = []
        self._spenders: list[tuple[bytes, Spender]] = []

    async def run(self) -> None:
        """Follow the journal to its end, and compare every book."""
        self._next = await anext(self._books, None)
        async for entries in self.stored.entries(self.organization_id):
            charged = await self._recall(entries)
            for entry in entries:
                if entry.organization_id != self._id:
                    await self._turn_to(entry.organization_id)
                if not self._replay.broken:
                    refunded = charged.get((entry.organization_id, entry.seq)) if charged else None
                    self._replay.apply(entry, refunded)
            await self._compare_parts()
            self.operations += len(entries)
            if self.progress is not None:
                self.progress(self.books_done, self.operations)
        await self._turn_to(None)
        await self._compare_parts()
        for book in self._published:
            self.findings.add(book, "book", "is missing")

    async def _turn_to(self, organization_id: bytes | None) -> None:
        """End the book that is being followed, pass those that have no journal, and begin the next."""
        await self._end()
        while self._next is not None and (organization_id is None or self._next["organization_id"] < organization_id):
            await self._begin(self._next["organization_id"])
            await self._end()
        if organization_id is not None:
            await self._begin(organization_id)

    async def _begin(self, organization_id: bytes) -> None:
        self._id = organization_id
        self._row = self._next if self._next and self._next["organization_id"] == organization_id else None
        published = self._published.pop(organization_id, {})
        if self._row is None:
            self.findings.add(organization_id, "book", "is missing")
            self._replay = Replay(broken=True)
            return
        self._next = await anext(self._books, None)
        self._replay = Replay(next_due_at=self._row["next_due_at"], published=published)
        self.books_done += 1

    async def _end(self) -> None:
        row, replay, organization_id = self._row, self._replay, self._id
        self._row = self._id = None
        if row is None or organization_id is None:
            return
        book = replay.book
        found = replay.found + ([] if replay.broken else list(compare_book(row, replay)))
        self.findings.add_journal(organization_id, found)
        self.refunds += book.refunds + row["rows"]["spend_refunds"]
        if replay.broken:
            return
        self.between_books += sum(posted[0] - posted[1] for n, posted in book.money.items() if n == _BETWEEN)
        self._holds += [(organization_id, hold) for hold in (*replay.take_ended(), *book.holds.values())]
        self._lots += [(organization_id, lot) for lot in book.lots.values()]
        self._spenders += [(organization_id, spender) for spender in book.spenders.values()]
        for table, known in (
            (LotOpeningRow, book.last_lot), (LotRow, book.last_lot), (HoldRow, book.holds_made),
            (SpenderRow, len(book.spenders)),
        ):  # fmt: skip
            if row["rows"][table.__tablename__] > known:
                await self._name_unexplained(table, organization_id)

    async def _name_unexplained(self, table: type[SQLModel], organization_id: bytes) -> None:
        for key in await self.stored.unexplained(table, organization_id):
            name = UUID(bytes=key) if isinstance(key, bytes) else key
            self.findings.add(organization_id, f"{table.__tablename__} {name}", "is in no operation of the journal")

    async def _recall(self, entries: list[Entry]) -> dict[tuple[bytes, int], Charged]:
        """What must be looked up before `entries` can be followed.

        Lots of the book at hand that were let go come back. The spends that are given back were followed before, in the
        same snapshot: reading them again says nothing new.
        """
        book = self._replay.book
        named = {
            lot for entry in entries if entry.organization_id == self._id for lot in lots_named(entry)
            if lot <= book.last_lot and lot not in book.lots
        }  # fmt: skip
        if named and self._id is not None and not self._replay.broken:
            for (_, lot), row in (await self.stored.rows(LotRow, [(self._id, lot) for lot in named])).items():
                book.lots[lot] = Lot.of(row)
                book.touched.add(lot)
        refunds = [entry for entry in entries if entry.kind == "spend_refund" and entry.target is not None]
        return await self.stored.charged(refunds)

    async def _compare_parts(self) -> None:
        """Compare what ended or came to rest, and all that is left of books that ended."""
        at_rest: list[Lot] = []
        if self._id is not None and not self._replay.broken:
            at_rest = self._replay.at_rest()
            self._holds += [(self._id, hold) for hold in self._replay.take_ended()]
        await self._compare_all(HoldRow, "hold", [(book, hold.id, hold.columns()) for book, hold in self._holds])
        await self._compare_all(
            SpenderRow, "spender", [(book, spender.id, spender.columns()) for book, spender in self._spenders]
        )
        ended = [(book, lot.number, lot.columns()) for book, lot in self._lots]
        await self._compare_all(LotRow, "lot", ended)
        for book, lot in self._lots:
            self._check_lot(book, lot)
        self._holds, self._lots, self._spenders = [], [], []
        if at_rest and self._id is not None:
            rows = await self.stored.rows(LotRow, [(self._id, lot.number) for lot in at_rest])
            for lot in at_rest:
                if rows.get((self._id, lot.number)) == lot.columns():
                    self._check_lot(self._id, lot)
                    del self._replay.book.lots[lot.number]

    def _check_lot(self, organization_id: bytes, lot: Lot) -> None:
        if lot.fault is not None:
            self.findings.add(organization_id, f"lot {lot.number}", f"in the journal: {lot.fault}")

    async def _compare_all(
        self, table: type[SQLModel], name: str, rebuilt: list[tuple[bytes, Any, dict[str, Any]]]
    ) -> None:
        rows = await self.stored.rows(table, [(book, key) for book, key, _ in rebuilt])
        for book, key, columns in rebuilt:
            problem = different(rows.get((book, key)), columns)
            if problem is not None:
                self.findings.add(book, f"{name} {UUID(bytes=key) if isinstance(key, bytes) else key}", problem)


async def _compare_refunds(stored: Stored, organization_id: UUID | None, findings: Findings) -> None:
    """Follow what was given back of each spend and compare it with `spend_refunds`: an ordered merge of two streams."""
    rows = stored.refunded(organization_id)
    row = await anext(rows, None)
    async for book, spend, amounts in _given_back(stored, organization_id, findings):
        while row is not None and row[:2] < (book, spend):
            findings.add(row[0], f"spend refund {UUID(bytes=row[1])}", "is in no operation of the journal")
            row = await anext(rows, None)
        found = row is not None and row[:2] == (book, spend)
        problem = different({"amounts": row[2]} if row is not None and found else None, {"amounts": amounts})
        if problem is not None:
            findings.add(book, f"spend refund {UUID(bytes=spend)}", problem)
        if found:
            row = await anext(rows, None)
    while row is not None:
        findings.add(row[0], f"spend refund {UUID(bytes=row[1])}", "is in no operation of the journal")
        row = await anext(rows, None)


async def _given_back(
    stored: Stored, organization_id: UUID | None, findings: Findings
) -> AsyncIterator[tuple[bytes, bytes, list[int]]]:
    """Of each spend that was refunded: what came back, by its lines."""
    of: tuple[bytes, bytes] | None = None
    back: list[int] = []
    async for book, spend, seq, refund, lines in stored.refunds(organization_id):
        if of != (book, spend):
            if of is not None:
                yield *of, back
            of, back = (book, spend), [0] * (len(lines or ()) // COLUMNS_A_LINE)
        if not _give_back(back, lines or [], refund):
            findings.add(book, f"operation {seq}", "does not give back what was spent, the last line first")
    if of is not None:
        yield *of, back


def _give_back(back: list[int], spent: list[int], refund: list[int]) -> bool:
    """Add the lines of one refund to what was given back before. Whether that was the last lines' turn."""
    left: dict[int, int] = {}
    for at in range(0, len(refund), COLUMNS_A_LINE):
        if refund[at + 1] == CONSUMED:
            left[refund[at + 2]] = left.get(refund[at + 2], 0) + refund[at + 3]
    to_give = sum(left.values())
    for n in reversed(range(len(back))):
        debit, _, lot, amount = spent[n * COLUMNS_A_LINE : n * COLUMNS_A_LINE + 4]
        if debit == CONSUMED:
            part = min(to_give, amount - back[n])
            back[n] += part
            to_give -= part
            left[lot] = left.get(lot, 0) - part
    return to_give == 0 and not any(left.values())


async def _compare_between_books(stored: Stored, walk: _Walk) -> None:
    """What belongs to no single book."""
    if walk.between_books != 0:
        walk.findings.add(PLATFORM.bytes, "account between_books", f"is {walk.between_books} over all books, not 0")
    chart = {(a.code, a.currency.value, a.side.value, NUMBERS[a.code]) for a in CHART}
    for code, currency, *_ in sorted(chart ^ await stored.chart()):
        walk.findings.add(PLATFORM.bytes, f"chart {code}", f"in {currency} is not the chart of accounts that is known")
    for table, organization_id in await stored.astray():
        walk.findings.add(organization_id, table, "has rows of a book that is not there")
