"""Comparing stored rows with rebuilt ones, and keeping what was found. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

from ledger.chart import BY_NUMBER
from ledger.verification.rebuilt import CLAWED_BACK, CONSUMED, EXPIRED, HELD, ISSUED, WALLET, RebuiltBook
from ledger.verification.replay import Replay

LISTED_OF_A_BOOK: Final = 20
LISTED_MAX: Final = 1_000
"""More of what does not fit says nothing new."""

_EPOCH: Final = datetime(2000, 1, 1, tzinfo=UTC)
_TIMES: Final = frozenset({
    "last_posted_at", "next_due_at", "expires_at", "made_at", "deadline", "since", "hour_start", "day_start",
    "month_start",
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Mismatch:
    """A row that does not fit: where it is, and what is wrong with it."""

    organization_id: UUID
    place: str
    problem: str


@dataclass(slots=True)
class Findings:
    """What does not fit, by book: in each the first row first, `LISTED_OF_A_BOOK` at most, `LISTED_MAX` in all."""

    _of: dict[bytes, list[tuple[str, str]]] = field(default_factory=dict)
    _listed: int = 0

    def add(self, organization_id: bytes, place: str, problem: str) -> None:
        """Keep one, if there is room."""
        here = self._of.get(organization_id, [])
        if len(here) < LISTED_OF_A_BOOK and self._listed < LISTED_MAX:
            self._of.setdefault(organization_id, here).append((place, problem))
            self._listed += 1

    def add_journal(self, organization_id: bytes, found: list[tuple[str, str]]) -> None:
        """What was found in the journal of a book stands before what was found in its projections."""
        later = self._of.pop(organization_id, [])
        self._listed -= len(later)
        for place, problem in found + later:
            self.add(organization_id, place, problem)

    def listed(self) -> list[Mismatch]:
        """All of it, by book."""
        return [Mismatch(UUID(bytes=book), *one) for book in sorted(self._of) for one in self._of[book]]


def different(stored: Mapping[str, Any] | None, rebuilt: Mapping[str, Any]) -> str | None:
    """What is wrong with a row; none when it is as it was rebuilt."""
    if stored == rebuilt:
        return None
    if stored is None:
        return "is missing"
    unlike = [name for name in {**stored, **rebuilt} if name not in stored or stored[name] != rebuilt.get(name)]
    return ", ".join(
        f"{name} is {_shown(name, stored.get(name))}, the journal says {_shown(name, rebuilt.get(name))}"
        for name in unlike
    )


def _shown(name: str, value: Any) -> str:
    if isinstance(value, bytes):
        return str(UUID(bytes=value)) if len(value) == 16 else value.hex()
    if name in _TIMES and isinstance(value, int):
        try:
            return (_EPOCH + timedelta(microseconds=value)).isoformat()
        except OverflowError:
            return f"{value} µs after 2000"
    return "none" if value is None else str(value)


def compare_book(row: Mapping[str, Any], replay: Replay) -> Iterator[tuple[str, str]]:
    """What is wrong with the row of a book, its accounts, and the sums that its parts must have."""
    book = replay.book
    problem = different({name: row[name] for name in row if name not in _OTHERWISE}, _book_columns(row, replay))
    if problem is not None:
        yield "book", problem
    yield from _check_next_due(row["next_due_at"], book)
    if replay.published and max(replay.published) > replay.seq:
        yield "book", f"ends at seq {replay.seq}; a head of seq {max(replay.published)} was published"
    stored = {(one["code"], one["currency"]): one for one in row["accounts"]}
    for number, (debits, credits_, version) in sorted(book.money.items()):
        account = BY_NUMBER[number]
        rebuilt = {
            "code": account.code, "currency": account.currency.value, "debits": debits, "credits": credits_,
            "version": version,
        }  # fmt: skip
        problem = different(stored.pop((account.code, account.currency.value), None), rebuilt)
        if problem is not None:
            yield f"account {account.code}", problem
    for code, currency in stored:
        yield f"account {code}", f"in {currency} has no transfer in the journal"
    yield from _check_sums(book)


_OTHERWISE: Final = frozenset({"organization_id", "rows", "accounts"})


def _book_columns(row: Mapping[str, Any], replay: Replay) -> dict[str, Any]:
    sums, book = replay.book.sums, replay.book
    return {
        "last_seq": replay.seq, "last_lot": book.last_lot, "last_posted_at": replay.posted_at, "head": replay.head,
        "closed_through": book.closed_through, "next_due_at": row["next_due_at"], "issued": -sums[ISSUED],
        "wallet": sums[WALLET], "held": sums[HELD], "consumed": sums[CONSUMED], "expired": sums[EXPIRED],
        "clawed_back": sums[CLAWED_BACK], "frozen": book.frozen, "paid": book.paid, "owed": book.owed,
    }  # fmt: skip


def _check_next_due(stored: int | None, book: RebuiltBook) -> Iterator[tuple[str, str]]:
    due = book.next_deadline()
    if due is not None and (stored is None or stored > due):
        yield "book", f"next_due_at is {_shown('next_due_at', stored)}, and {_shown('next_due_at', due)} is due before"
    elif stored is not None and not book.next_due_at_known:
        yield "book", f"next_due_at is {_shown('next_due_at', stored)}, which no hold and no lot ever had"


def _check_sums(book: RebuiltBook) -> Iterator[tuple[str, str]]:
    lots, holds = book.lots.values(), book.holds.values()
    remaining = [(lot.parts[WALLET], lot.frozen, lot.cause) for lot in lots]
    for name, sum_, parts in (
        ("wallet", book.sums[WALLET], sum(left for left, _, _ in remaining)),
        ("held", book.sums[HELD], sum(lot.parts[HELD] for lot in lots)),
        ("held", book.sums[HELD], sum(sum(hold.amounts) for hold in holds)),
        ("frozen", book.frozen, sum(left for left, frozen, _ in remaining if frozen)),
        ("paid", book.paid, sum(left for left, frozen, cause in remaining if cause == "paid" and not frozen)),
        ("owed", book.owed, sum(lot.owed for lot in lots)),
        ("credits", 0, sum(book.sums)),
    ):
        if sum_ != parts:
            yield "book", f"{name} is {sum_} in the journal, and its parts are {parts}"
