"""Which line of the bank is which payout. Pure.

Theory of operation
-------------------
Three rounds, each with what the one before left over. A line whose reference or text names the payout is that payout,
whatever its amount. Then a line of exactly the amount, booked within so many days of the arrival, the nearest days
first, lines that name the provider first. What then still names the provider and is nearly of the amount is taken for
the payout too, so that a line which is some cents short is one exception and not two; that is a guess, it is made anew
each time and never kept. A payout has one line at most, and a line one payout.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Final, TypeAlias
from uuid import UUID

NEARLY_CENTS: Final = 2000
"""How far a line may be from its payout and still be guessed to be it: what a bank takes for a transfer."""
NEARLY_SHARE: Final = 10
"""And at most a tenth of the payout."""
_PROVIDER: Final = re.compile(r"\bstripe\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Expected:
    """A payout that the bank should have. Amounts in cents; `arrives_on` is the provider's day."""

    payout_id: str
    amount: int
    currency: str
    arrives_on: date


@dataclass(frozen=True, slots=True)
class Booked:
    """A line of the bank. `payout_id`: what it was found to be before."""

    line_id: UUID
    booked_on: date
    amount: int
    currency: str
    text: str
    payout_id: str | None = None

    @property
    def names_provider(self) -> bool:
        """Whether the bank says that it came from the provider."""
        return _PROVIDER.search(self.text) is not None


Pair: TypeAlias = tuple[Expected, Booked]


@dataclass(frozen=True, slots=True)
class Paired:
    """`sure` pairs are kept, `guessed` ones differ in amount. What nobody wanted stands in the other two."""

    sure: Sequence[Pair]
    guessed: Sequence[Pair]
    payouts: Sequence[Expected] = field(default=())
    lines: Sequence[Booked] = field(default=())


class _Left:
    """What has no partner yet."""

    def __init__(self, payouts: Iterable[Expected], lines: Iterable[Booked]) -> None:
        self.payouts = {one.payout_id: one for one in payouts}
        self.lines = {one.line_id: one for one in lines}

    def take(self, pairs: Iterable[Pair]) -> list[Pair]:
        """Those of the pairs, in order, whose both halves are still free; they no longer are."""
        taken = []
        for payout, line in pairs:
            if payout.payout_id in self.payouts and line.line_id in self.lines:
                del self.payouts[payout.payout_id], self.lines[line.line_id]
                taken.append((payout, line))
        return taken


def pair(payouts: Iterable[Expected], lines: Iterable[Booked], *, within_days: int) -> Paired:
    """Find each payout's line."""
    left = _Left(payouts, lines)
    sure = left.take(_known(left))
    sure += left.take(_named(left))
    sure += left.take(_exact(left, within_days))
    guessed = left.take(_nearly(left, within_days))
    return Paired(sure, guessed, list(left.payouts.values()), list(left.lines.values()))


def _known(left: _Left) -> list[Pair]:
    found = [(left.payouts.get(line.payout_id or ""), line) for line in left.lines.values()]
    return [(payout, line) for payout, line in found if payout is not None]


def _named(left: _Left) -> list[Pair]:
    words = {word: line for line in left.lines.values() for word in re.findall(r"po_\w+", line.text)}
    return [(payout, words[name]) for name, payout in left.payouts.items() if name in words]


def _exact(left: _Left, within_days: int) -> list[Pair]:
    by_amount: dict[tuple[int, str], list[Booked]] = {}
    for line in left.lines.values():
        by_amount.setdefault((line.amount, line.currency), []).append(line)
    found = [
        (payout, line)
        for payout in left.payouts.values()
        for line in by_amount.get((payout.amount, payout.currency), ())
        if _days(payout, line) <= within_days
    ]
    return sorted(found, key=lambda pair: (not pair[1].names_provider, _days(*pair), _names(pair)))


def _nearly(left: _Left, within_days: int) -> list[Pair]:
    of_provider = [line for line in left.lines.values() if line.names_provider]
    found = [
        (payout, line)
        for payout in left.payouts.values()
        for line in of_provider
        if payout.currency == line.currency
        and _days(payout, line) <= within_days
        and _far(payout, line) <= _most(payout)
    ]
    return sorted(found, key=lambda pair: (_far(*pair), _days(*pair), _names(pair)))


def _far(payout: Expected, line: Booked) -> int:
    return abs(payout.amount - line.amount)


def _most(payout: Expected) -> int:
    """How far a line may be from it."""
    return min(NEARLY_CENTS, abs(payout.amount) // NEARLY_SHARE)


def _names(pair: Pair) -> tuple[str, str]:
    """So that the same lines give the same pairs."""
    return pair[0].payout_id, str(pair[1].line_id)


def _days(payout: Expected, line: Booked) -> int:
    return abs((line.booked_on - payout.arrives_on).days)
