"""Two sides of a line, a payment or a payout become nothing or one finding. Pure.

`amount` of a finding is what the books would have to be told on the account of its source: `stripe_clearing`, or for
the bank's lines `bank`. A payment's charge that is missing here lacks its fee only: its gross came with the grant.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, time
from typing import Any, Final, NamedTuple
from uuid import UUID

from finance.reconciling.found import Compared, Found
from finance.reconciling.pairing import Booked, Expected, Kind, Pair, Paired
from finance.reconciling.stripe_report import OF_PAYOUTS
from finance.statement_tables import Finding
from ledger.ids import external

LINES: Final = "stripe_lines"
PAYMENTS: Final = "stripe_payments"
PAYOUTS: Final = "stripe_payouts"
BANK: Final = "bank"
CAME_BACK: Final = frozenset({"failed", "canceled"})
NOTHING: Final[Mapping[str, Any]] = {}
NO_PAYOUTS: Final[Mapping[str, int]] = {}


class Line(NamedTuple):
    """One side of a line of the provider's balance."""

    category: str
    amount: int
    fee: int
    net: int
    payout_id: str | None
    source_id: str | None
    occurred_at: datetime
    organization_id: UUID | None = None

    def told(self) -> dict[str, Any]:
        """For a person."""
        return {
            "category": self.category,
            "amount_cents": self.amount,
            "fee_cents": self.fee,
            "net_cents": self.net,
            "payout_id": self.payout_id,
            "source_id": self.source_id,
        }


class LineSides(NamedTuple):
    """A line with what each side says of it; at least one does, and they do not say the same."""

    transaction_id: str
    here: Line | None
    there: Line | None


class Uncharged(NamedTuple):
    """A payment that was granted (or kept) and has no line of a charge of its amount. `late`: it should have one."""

    payment_id: str
    organization_id: UUID
    attempt_id: UUID
    amount: int
    created_at: datetime
    late: bool

    def told(self) -> dict[str, Any]:
        """For a person."""
        return {
            "payment_id": self.payment_id,
            "payment_attempt_id": external("payatt", self.attempt_id),
            "amount_cents": self.amount,
        }


class Payout(NamedTuple):
    """One side of a payout. `arrives_on` is known to the provider alone."""

    amount: int
    currency: str
    status: str
    occurred_at: datetime
    arrives_on: date | None = None


class PayoutSides(NamedTuple):
    """A payout with what each side says of it, and the sum of its lines where the provider told all of them.

    `due`: it is here, and the provider should have it by now.
    """

    payout_id: str
    here: Payout | None
    there: Payout | None
    lines_net: int | None
    lines_at: datetime | None
    due: bool


def payouts(sides: Iterable[PayoutSides]) -> Compared:
    """Payouts, and whether what they were made of is what they sent."""
    matched, found = 0, list[Found]()
    for one in sides:
        wrong = _payout(one)
        found += [wrong] if wrong is not None else []
        known = one.here is not None and (one.there is not None or one.lines_net is not None)
        matched += wrong is None and known
    return Compared(PAYOUTS, matched, found)


def _payout(one: PayoutSides) -> Found | None:
    told = _payout_told(one)
    if one.here is None:
        amount = one.there.amount if one.there is not None else one.lines_net or 0
        came_back = one.there is not None and one.there.status in CAME_BACK
        return None if came_back else _of_payout(one, Finding.MISSING_HERE, -amount, told)
    if one.there is None and one.lines_net is None:
        return _of_payout(one, Finding.MISSING_THERE, one.here.amount, told) if one.due else None
    there = one.there.amount if one.there is not None else one.lines_net or 0
    wrong_state = one.there is not None and (one.there.status in CAME_BACK) != (one.here.status in CAME_BACK)
    wrong_sum = one.lines_net is not None and one.lines_net != there and one.here.status not in CAME_BACK
    if one.here.amount == there and not wrong_state and not wrong_sum:
        return None
    return _of_payout(one, Finding.DIFFERENT, one.here.amount - there, told)


def _payout_told(one: PayoutSides) -> tuple[dict[str, Any], dict[str, Any]]:
    here = {"amount_cents": one.here.amount, "status": one.here.status} if one.here is not None else {}
    there = {"amount_cents": one.there.amount, "status": one.there.status} if one.there is not None else {}
    return here, there | ({"lines_net_cents": one.lines_net} if one.lines_net is not None else {})


def _of_payout(one: PayoutSides, finding: Finding, amount: int, told: tuple[dict[str, Any], dict[str, Any]]) -> Found:
    known = one.there or one.here
    at = known.occurred_at if known is not None else one.lines_at
    if at is None:
        raise ValueError(f"nobody knows payout {one.payout_id}")
    return Found(PAYOUTS, one.payout_id, finding, None, amount, "usd", *told, occurred_at=at)


def lines(
    sides: Sequence[LineSides], uncharged: Sequence[Uncharged], *, matched: int, payouts_missing: frozenset[str]
) -> tuple[Compared, list[Uncharged]]:
    """Lines that do not fit, and the payments that no charge of them explains.

    The own lines of a payout that is missing itself are no findings of their own.
    """
    waiting = sorted(uncharged, key=lambda one: one.created_at)
    found = []
    for side in sorted(sides, key=lambda one: (one.here or one.there or _NOWHERE).occurred_at):
        known = side.here or side.there or _NOWHERE
        if known.category in OF_PAYOUTS and known.source_id in payouts_missing:
            continue
        found.append(_line(side, waiting))
    return Compared(LINES, matched, found), waiting


_NOWHERE: Final = Line("", 0, 0, 0, None, None, datetime.combine(date.min, time(), UTC))


def _line(side: LineSides, waiting: list[Uncharged]) -> Found:
    here, there = side.here, side.there
    if here is None and there is not None:
        return _unbooked(side.transaction_id, there, _payment_of(there, waiting))
    if here is None:
        raise ValueError(f"nobody knows {side.transaction_id}")
    return Found(
        source=LINES,
        subject=side.transaction_id,
        finding=Finding.DIFFERENT if there is not None else Finding.MISSING_THERE,
        organization_id=here.organization_id,
        amount=(there.net if there is not None else 0) - here.net,
        currency="usd",
        here=here.told(),
        there=there.told() if there is not None else {},
        occurred_at=here.occurred_at,
    )


def _unbooked(transaction_id: str, there: Line, payment: Uncharged | None) -> Found:
    return Found(
        source=LINES,
        subject=transaction_id,
        finding=Finding.MISSING_HERE,
        organization_id=payment.organization_id if payment is not None else None,
        amount=there.net - (payment.amount if payment is not None else 0),
        currency="usd",
        here=payment.told() if payment is not None else {},
        there=there.told(),
        occurred_at=there.occurred_at,
    )


def _payment_of(line: Line, waiting: list[Uncharged]) -> Uncharged | None:
    """The oldest payment that this charge may be of; it waits no longer."""
    if line.category != "charge":
        return None
    for n, payment in enumerate(waiting):
        if payment.amount == line.amount:
            return waiting.pop(n)
    return None


def payments(uncharged: Iterable[Uncharged], unpaid: Iterable[tuple[str, Line, UUID]], *, matched: int) -> Compared:
    """Payments without a charge although they should have one, and charges of an attempt that paid no such amount."""
    found = [
        Found(PAYMENTS, one.payment_id, Finding.MISSING_THERE, one.organization_id, -one.amount, "usd",
              here=one.told(), there={}, occurred_at=one.created_at)
        for one in uncharged if one.late
    ]  # fmt: skip
    found += [
        Found(PAYMENTS, name, Finding.MISSING_HERE, line.organization_id, line.amount, "usd",
              here={"payment_attempt_id": external("payatt", attempt_id)}, there=line.told(),
              occurred_at=line.occurred_at)
        for name, line, attempt_id in unpaid
    ]  # fmt: skip
    return Compared(PAYMENTS, matched, found)


def expected(sides: Iterable[PayoutSides]) -> list[Expected]:
    """The payouts in usd that the bank should have or get: all of which neither side says that they came back.

    The amount is what the books hold, for that is what the bank's line is compared with; that the provider says another
    one is a finding of the payout. Its day the provider knows better.
    """
    found = []
    for one in sides:
        known, booked = one.there or one.here, one.here or one.there
        if known is None or booked is None or _is_back(one) or booked.currency != "usd":
            continue
        day = known.arrives_on or known.occurred_at.astimezone(UTC).date()
        found.append(Expected(one.payout_id, booked.amount, booked.currency, day, Kind.PAYOUT))
    return found


def came_back(sides: Iterable[PayoutSides]) -> dict[str, int]:
    """The payouts that came back, in cents by their names in small letters. A state that says so never changes."""
    booked = ((one.payout_id.lower(), one.here or one.there) for one in sides if _is_back(one))
    return {name: side.amount for name, side in booked if side is not None}


def _is_back(one: PayoutSides) -> bool:
    return any(side is not None and side.status in CAME_BACK for side in (one.here, one.there))


def bank(
    paired: Paired,
    *,
    today: date,
    from_day: date,
    within_days: int,
    came_back: Mapping[str, int] = NO_PAYOUTS,
) -> Compared:
    """What the books have at the bank, and its lines. `from_day` is the first of the statement: older is not missed.

    Lines of a payout that `came_back` are known no more in the books, but for the one by which it came and the one by
    which it went.
    """
    found = list(_different((*paired.sure, *paired.guessed)))
    matched = len(paired.sure) + len(paired.guessed) - len(found)
    of_back, undone = _of_back(paired.lines, came_back)
    matched += len(undone) // 2
    ours = (paired.naming | of_back) - undone
    found.extend(
        _of_bank(one.name, Finding.MISSING_THERE, -one.amount, one.day, here=_expected(one))
        for one in paired.expected
        if one.day >= from_day and (today - one.day).days >= within_days
    )
    found.extend(
        _of_bank(str(line.line_id), Finding.MISSING_HERE, line.amount, line.booked_on, there=_booked(line))
        for line in paired.lines
        if line.amount and (line.line_id in ours or (line.names_provider and line.line_id not in undone))
    )
    return Compared(BANK, matched, found)


def _of_back(lines: Sequence[Booked], came_back: Mapping[str, int]) -> tuple[frozenset[UUID], frozenset[UUID]]:
    """Lines that name a payout which came back, or were found to be it, and those of them that undo each other."""
    lines_of: dict[str, list[Booked]] = {}
    for line in lines:
        for name in {(line.known_as or "").lower(), *line.payouts} & came_back.keys():
            lines_of.setdefault(name, []).append(line)
    undone = set[UUID]()
    for name, some in sorted(lines_of.items()):
        free = [one for one in some if one.line_id not in undone]  # a line may name two payouts
        came = next((one for one in free if one.amount == came_back[name]), None)
        went = next((one for one in free if one.amount == -came_back[name]), None)
        if came is not None and went is not None:
            undone |= {came.line_id, went.line_id}
    return frozenset(line.line_id for some in lines_of.values() for line in some), frozenset(undone)


def _different(pairs: Iterable[Pair]) -> Iterator[Found]:
    for one, line in pairs:
        short = line.amount - one.amount
        if short:
            yield _of_bank(one.name, Finding.DIFFERENT, short, one.day, here=_expected(one), there=_booked(line))


_DAY_OF: Final = {Kind.PAYOUT: "arrives_on", Kind.SALE: "sold_on", Kind.PURCHASE: "bought_on"}


def _expected(one: Expected) -> dict[str, Any]:
    return {"amount_cents": one.amount, _DAY_OF[one.kind]: one.day.isoformat()}


def _booked(line: Booked) -> dict[str, Any]:
    return {"amount_cents": line.amount, "booked_on": line.booked_on.isoformat(), "text": line.text}


def _of_bank(
    subject: str,
    finding: Finding,
    amount: int,
    day: date,
    *,
    here: Mapping[str, Any] = NOTHING,
    there: Mapping[str, Any] = NOTHING,
) -> Found:
    at = datetime.combine(day, time(), UTC)
    return Found(BANK, subject, finding, None, amount, "usd", here, there, at)
