"""What each kind of operation does to a rebuilt book: which lines it may have, and what it does beyond them. Pure.

The lines alone move credits between the parts of lots (`replay`). Here stands what they do not show: holds,
spend caps, reversals, freezing; by the rules of `docs/postings.md`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import date
from typing import Any, Final, NamedTuple

from ledger.verification.journal import COLUMNS_A_LINE, Entry, number
from ledger.verification.rebuilt import (
    CLAWED_BACK,
    CONSUMED,
    EXPIRED,
    HELD,
    ISSUED,
    WALLET,
    Hold,
    Lot,
    Misfit,
    RebuiltBook,
    Spender,
    day_of,
)

_UNIX_EPOCH: Final = -946_684_800_000_000
"""1970 in microseconds since 2000."""
_EPOCH_DAY: Final = date(2000, 1, 1)


class Charged(NamedTuple):
    """Whose windows a spend was charged to, and when. A capture's are those of its hold."""

    spender: bytes | None
    at: int


class Effect(NamedTuple):
    """The (debit, credit) pairs that the lines of a kind may have, and what it does beyond them."""

    pairs: frozenset[tuple[int, int]]
    follow: Callable[[RebuiltBook, Entry, Charged | None], None] | None = None
    moves_money: bool = False


def _lines(entry: Entry) -> Iterable[tuple[int, int, int, int]]:
    lines = entry.lines
    return zip(*(lines[n::COLUMNS_A_LINE] for n in range(4)), strict=True)


def _event_at(entry: Entry) -> int:
    return number(entry.event_at or entry.posted_at)


def _terms(entry: Entry) -> dict[str, Any]:
    terms = json.loads(entry.terms or "{}")
    if not isinstance(terms, dict):
        raise Misfit("has terms that are no object")
    return terms


def _grant(_book: RebuiltBook, entry: Entry, _charged: Charged | None) -> None:
    if ISSUED not in entry.lines[1::COLUMNS_A_LINE]:
        raise Misfit("grants nothing")


def _money(_book: RebuiltBook, entry: Entry, _charged: Charged | None) -> None:
    if not entry.lines:
        raise Misfit("moves nothing")


def _charge(book: RebuiltBook, entry: Entry) -> int:
    amount = sum(entry.lines[3::COLUMNS_A_LINE])
    if amount == 0:
        raise Misfit("spends nothing")
    if entry.spender is not None and (spender := book.spenders.get(entry.spender)) is not None:
        spender.charge(amount, number(entry.posted_at))
    return amount


def _spend(book: RebuiltBook, entry: Entry, _charged: Charged | None) -> None:
    _charge(book, entry)


def _hold(book: RebuiltBook, entry: Entry, _charged: Charged | None) -> None:
    lots, amounts = entry.lines[2::COLUMNS_A_LINE], entry.lines[3::COLUMNS_A_LINE]
    deadline = _terms(entry)["deadline"] + _UNIX_EPOCH
    book.holds[entry.id] = Hold(
        entry.id, entry.scope, entry.spender, _charge(book, entry), number(entry.posted_at), deadline, lots, amounts,
        [0] * len(lots),
    )  # fmt: skip
    book.holds_made += 1
    book.saw_deadline(deadline)


def _extend(book: RebuiltBook, entry: Entry, _charged: Charged | None) -> None:
    hold = book.hold(entry.target)
    hold.deadline = _terms(entry)["deadline"] + _UNIX_EPOCH
    book.saw_deadline(hold.deadline)


def _capture(book: RebuiltBook, entry: Entry, _charged: Charged | None) -> None:
    hold = book.hold(entry.target)
    for lot_number, consumed, owed, marks in _terms(entry).get("reversed", ()):
        lot = book.lot(lot_number)
        hold.reversed_amounts[hold.lots.index(lot_number)] -= consumed
        lot.held_reversed += _mark(book, lot_number, marks, 1) - consumed
        book.owe(lot, owed)
    for debit, credit, lot_number, amount in _lines(entry):
        if debit == CLAWED_BACK and credit != HELD:
            _take(book.lot(lot_number), credit, amount)
    _take_out(book, entry, hold, "captured")


def _void(book: RebuiltBook, entry: Entry, _charged: Charged | None) -> None:
    _take_out(book, entry, book.hold(entry.target), "voided")


def _hold_expiry(book: RebuiltBook, entry: Entry, _charged: Charged | None) -> None:
    hold = book.hold(entry.target)
    if _event_at(entry) != hold.deadline:
        raise Misfit("is not of the hold's deadline")
    _take_out(book, entry, hold, "expired")


def _take_out(book: RebuiltBook, entry: Entry, hold: Hold, ended: str) -> None:
    """Follow the lines out of a hold. A hold of which nothing is left has ended, and only then is anything released."""
    released = 0
    for debit, credit, lot_number, amount in _lines(entry):
        if credit != HELD:
            continue
        n = hold.lots.index(lot_number)
        hold.amounts[n] -= amount
        if debit == CLAWED_BACK:
            lot = book.lot(lot_number)
            hold.reversed_amounts[n] -= amount
            lot.held_reversed -= amount
            lot.taken += amount
        released += amount if debit != CONSUMED else 0
    if any(not 0 <= marked <= left for marked, left in zip(hold.reversed_amounts, hold.amounts, strict=True)):
        raise Misfit("takes more out of the hold than is in it")
    if not any(hold.amounts):
        hold.ended = ended
        book.ended.append(book.holds.pop(hold.id))
    elif released or ended != "captured":
        raise Misfit("releases a part of a hold")
    book.uncharge(hold.spender, released, hold.made_at)


def _lot_expiry(book: RebuiltBook, entry: Entry, _charged: Charged | None) -> None:
    lot = book.lot(entry.lines[2])
    if lot.parts[WALLET] or lot.expires_at != _event_at(entry):
        raise Misfit("leaves something in the lot, or is not of its time")


def _spend_refund(book: RebuiltBook, entry: Entry, charged: Charged | None) -> None:
    if charged is None:
        raise Misfit("gives back a spend that is not in the journal before it")
    back = 0
    for debit, credit, lot_number, amount in _lines(entry):
        back += amount if credit == CONSUMED else 0
        if debit == CLAWED_BACK:
            lot = book.lot(lot_number)
            book.owe(lot, -amount)
            lot.taken += amount
        elif debit == EXPIRED:
            book.lot(lot_number).reissued += amount
    book.refunds += 1
    book.uncharge(charged.spender, back, charged.at)


def _mark(book: RebuiltBook, lot_number: int, marks: Iterable[tuple[str, int]], sign: int) -> int:
    total = 0
    for hold_id, amount in marks:
        hold = book.hold(bytes.fromhex(hold_id.replace("-", "")))
        n = hold.lots.index(lot_number)
        hold.reversed_amounts[n] += sign * amount
        if not 0 <= hold.reversed_amounts[n] <= hold.amounts[n]:
            raise Misfit("marks more of a hold than is in it")
        total += amount
    return total


def _take(lot: Lot, credit: int, amount: int) -> None:
    lot.taken += amount
    lot.taken_expired += amount if credit == EXPIRED else 0


def _claw_back(book: RebuiltBook, entry: Entry, _charged: Charged | None) -> None:
    terms = _terms(entry)
    lot = book.lot(terms["lot"])
    for _, credit, _, amount in _lines(entry):
        _take(lot, credit, amount)
    lot.reversed += terms["reversed"]
    lot.held_reversed += _mark(book, lot.number, terms["held"], 1)
    book.owe(lot, terms["owed"])


def _reinstate(book: RebuiltBook, entry: Entry, _charged: Charged | None) -> None:
    terms = _terms(entry)
    lot = book.lot(terms["lot"])
    settled = 0
    back = {lot.number: -terms["taken"] - terms["taken_expired"]}
    for n, amount in terms["settled"]:
        lot.settled_amounts[n - 1] -= amount
        settled += amount
        back[lot.settled_lots[n - 1]] = back.get(lot.settled_lots[n - 1], 0) - amount
    for debit, credit, lot_number, amount in _lines(entry):
        if credit == CLAWED_BACK:
            back[lot_number] += amount
        if debit == EXPIRED:  # and came back in a new lot
            book.lot(lot_number).reissued += amount
    lot.reissued -= terms["taken_expired"]  # which had expired before it was taken
    for lot_number, missing in back.items():
        if missing > 0 or (missing and lot_number == lot.number):
            raise Misfit("gives back something else than its terms say")
        if missing:  # stays taken, for what its own payment owed
            book.owe(book.lot(lot_number), missing)
            book.lot(lot_number).taken -= missing
    lot.reversed -= terms["reinstated"]
    lot.settled -= settled
    lot.held_reversed -= _mark(book, lot.number, terms["held"], -1)
    lot.taken -= terms["taken"] + terms["taken_expired"]
    lot.taken_expired -= terms["taken_expired"]
    book.owe(lot, -terms["owed"])


def _settle_owed(book: RebuiltBook, entry: Entry, _charged: Charged | None) -> None:
    paid = {lot_number: amount for _, _, lot_number, amount in _lines(entry)}
    for debtor, source, amount in _terms(entry)["settled"]:
        lot = book.lot(debtor)
        lot.settled_lots.append(source)
        lot.settled_amounts.append(amount)
        lot.settled += amount
        book.owe(lot, -amount)
        paid[source] -= amount
    if any(paid.values()):
        raise Misfit("settles another amount than it takes")


def _write_off(book: RebuiltBook, entry: Entry, _charged: Charged | None) -> None:
    terms = _terms(entry)
    lot = book.lot(terms["lot"])
    lot.reversed -= terms["written_off"]
    book.owe(lot, -terms["written_off"])


def _freeze(book: RebuiltBook, entry: Entry, _charged: Charged | None) -> None:
    lot = book.lot(_terms(entry)["lot"])
    freeze = entry.kind == "freeze"
    if lot.frozen != freeze:
        lot.frozen = freeze
        change = lot.parts[WALLET] if freeze else -lot.parts[WALLET]
        book.frozen += change
        book.paid -= change if lot.cause == "paid" else 0


def _set_caps(book: RebuiltBook, entry: Entry, _charged: Charged | None) -> None:
    if entry.spender is None:
        raise Misfit("sets the caps of nobody")
    spender = book.spenders.setdefault(entry.spender, Spender(entry.spender, number(entry.posted_at)))
    spender.limit(_terms(entry))


def _through(entry: Entry) -> int:
    return (date.fromisoformat(_terms(entry)["closed_through"]) - _EPOCH_DAY).days


def _opening(book: RebuiltBook, entry: Entry, _charged: Charged | None) -> None:
    if entry.terms is not None:
        book.closed_through = _through(entry)


def _close(book: RebuiltBook, entry: Entry, _charged: Charged | None) -> None:
    through, before = _through(entry), book.closed_through
    if entry.kind == "reopen" and (before is None or through >= before):
        raise Misfit("opens what is not closed")
    if entry.kind == "close" and (before is not None and through <= before):
        raise Misfit("closes what is closed")
    if entry.kind == "close" and through >= day_of(number(entry.posted_at)):
        raise Misfit("closes a day that is not over")
    book.closed_through = through


_NONE: Final[frozenset[tuple[int, int]]] = frozenset()
_RELEASE: Final = frozenset({(WALLET, HELD), (EXPIRED, HELD), (CLAWED_BACK, HELD)})
_BACK: Final = frozenset({(WALLET, CONSUMED), (EXPIRED, CONSUMED), (CLAWED_BACK, CONSUMED), (WALLET, ISSUED)})

EFFECTS: Final = {
    "opening": Effect(_NONE, _opening),
    "grant": Effect(frozenset({(WALLET, ISSUED)}), _grant, moves_money=True),
    "money": Effect(_NONE, _money, moves_money=True),
    "spend": Effect(frozenset({(CONSUMED, WALLET)}), _spend),
    "hold": Effect(frozenset({(HELD, WALLET)}), _hold),
    "capture": Effect(
        _RELEASE | {(CONSUMED, HELD), (CLAWED_BACK, WALLET), (CLAWED_BACK, EXPIRED)}, _capture
    ),
    "void": Effect(_RELEASE, _void),
    "extend": Effect(_NONE, _extend),
    "spend_refund": Effect(_BACK, _spend_refund),
    "claw_back": Effect(frozenset({(CLAWED_BACK, WALLET), (CLAWED_BACK, EXPIRED)}), _claw_back),
    "reinstate": Effect(
        frozenset({(WALLET, CLAWED_BACK), (EXPIRED, CLAWED_BACK), (WALLET, ISSUED)}), _reinstate
    ),
    "settle_owed": Effect(frozenset({(CLAWED_BACK, WALLET)}), _settle_owed),
    "write_off": Effect(_NONE, _write_off),
    "freeze": Effect(_NONE, _freeze),
    "unfreeze": Effect(_NONE, _freeze),
    "set_caps": Effect(_NONE, _set_caps),
    "close": Effect(_NONE, _close),
    "reopen": Effect(_NONE, _close),
    "hold_expiry": Effect(_RELEASE, _hold_expiry),
    "lot_expiry": Effect(frozenset({(EXPIRED, WALLET)}), _lot_expiry),
}  # fmt: skip
"""By kind. A kind that is not here cannot be followed."""


def lots_named(entry: Entry) -> set[int]:
    """Lots that an operation may be about although nothing is left in them, so that they may have been let go."""
    if entry.kind not in _NAMING:
        return set()
    named = set(entry.lines[2::COLUMNS_A_LINE])
    with suppress(KeyError, ValueError, Misfit):  # whoever follows the operation says so
        named.add(_terms(entry)["lot"])
    return named


_NAMING: Final = frozenset({"spend_refund", "claw_back", "reinstate", "freeze", "unfreeze"})
