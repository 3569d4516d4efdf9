"""Which line of the bank is which payout, sale or purchase. Pure.

Theory of operation
-------------------
Four rounds, each with what the one before left over. A line that names what the books have is that, a payout whatever
its amount. Then a line of exactly the amount, booked within so many days, the nearest days first; a line that names the
provider is a payout and no trade, and a payout takes such lines first. What then still names the provider and is nearly
of a payout's amount is taken for it, and last what can be that one payout only, which can be no other line, whatever
its amount: so a payout that came as another amount is one exception and not two, one for it and one for its line.
Those two rounds guess. A guess is made anew each time and never kept, and not about a line that a person has settled
by itself. Whatever the books have is one line at most, and a line is one of them.
"""

from __future__ import annotations

import enum
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Final, TypeAlias
from uuid import UUID

NEARLY_CENTS: Final = 2000
"""How far a line may be from its payout and still be guessed to be it: what a bank takes for a transfer."""
NEARLY_SHARE: Final = 10
"""And at most a tenth of the payout."""
NAME_LENGTH_MIN: Final = 4
"""A shorter reference may stand in any text by chance: it names nothing."""
_PROVIDER: Final = re.compile(r"\bstripe\b", re.IGNORECASE)
_PAYOUT: Final = re.compile(r"po_\w+")
_WORD: Final = re.compile(r"[a-z0-9._#/-]+", re.ASCII)
_EDGES: Final = "._#/-"


class Kind(enum.StrEnum):
    """What the books have on the account of the bank. A trade is a sale of USDC or a purchase of ether."""

    PAYOUT = "payout"
    SALE = "sale"
    PURCHASE = "purchase"


@dataclass(frozen=True, slots=True)
class Expected:
    """What the bank should have, in cents; what it paid is below zero.

    `day` is the provider's day of arrival, or that of the trade. A line may call it by its `name` or by one of `words`.
    """

    name: str
    amount: int
    currency: str
    day: date
    kind: Kind = Kind.PAYOUT
    words: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Booked:
    """A line of the bank. `known_as`: what it was found to be before. `settled`: a person has adjusted it by itself."""

    line_id: UUID
    booked_on: date
    amount: int
    currency: str
    text: str
    known_as: str | None = None
    settled: bool = False

    @property
    def names_provider(self) -> bool:
        """Whether the bank says that it came from the provider."""
        return _PROVIDER.search(self.text) is not None

    @property
    def words(self) -> frozenset[str]:
        """What it may name: ids of payouts, and each word in small letters, with and without the marks around it."""
        words = _WORD.findall(self.text.lower())
        return frozenset([*words, *(word.strip(_EDGES) for word in words), *_PAYOUT.findall(self.text)])


Pair: TypeAlias = tuple[Expected, Booked]


@dataclass(frozen=True, slots=True)
class Paired:
    """`sure` pairs are kept, `guessed` ones differ in amount. What nobody wanted stands in the other two."""

    sure: Sequence[Pair]
    guessed: Sequence[Pair]
    expected: Sequence[Expected] = field(default=())
    lines: Sequence[Booked] = field(default=())


class _Left:
    """What has no partner yet. `first_day` is where the statement begins."""

    def __init__(self, expected: Iterable[Expected], lines: Iterable[Booked]) -> None:
        self.expected = {one.name: one for one in expected}
        self.lines = {one.line_id: one for one in lines}
        self.first_day = min((one.booked_on for one in self.lines.values()), default=date.max)

    def take(self, pairs: Iterable[Pair]) -> list[Pair]:
        """Those of the pairs, in order, whose both halves are still free; they no longer are."""
        taken = []
        for one, line in pairs:
            if one.name in self.expected and line.line_id in self.lines:
                del self.expected[one.name], self.lines[line.line_id]
                taken.append((one, line))
        return taken


def pair(expected: Iterable[Expected], lines: Iterable[Booked], *, within_days: int) -> Paired:
    """Find the line of whatever should be at the bank."""
    left = _Left(expected, lines)
    sure = left.take(_known(left))
    named = left.take(_named(left, within_days))
    sure += [found for found in named if not _far(*found)]
    sure += left.take(_exact(left, within_days))
    guessed = [found for found in named if _far(*found)]
    guessed += left.take(_nearly(left, within_days))
    guessed += left.take(_only(left, within_days))
    return Paired(sure, guessed, list(left.expected.values()), list(left.lines.values()))


def _known(left: _Left) -> list[Pair]:
    found = [(left.expected.get(line.known_as or ""), line) for line in left.lines.values()]
    return [(one, line) for one, line in found if one is not None]


def _named(left: _Left, within_days: int) -> list[Pair]:
    """Of several lines that name the same, as a fee beside it, the one that is nearest in amount."""
    called: dict[str, list[Expected]] = {}
    for one in left.expected.values():
        for word in {one.name, *(word.lower() for word in one.words if len(word) >= NAME_LENGTH_MIN)}:
            called.setdefault(word, []).append(one)
    found = [
        (one, line)
        for line in left.lines.values()
        for word in line.words
        for one in called.get(word, ())
        if _may_be_meant(one, line, within_days)
    ]
    return sorted(found, key=lambda pair: (_far(*pair), _days(*pair), _names(pair)))


def _may_be_meant(one: Expected, line: Booked, within_days: int) -> bool:
    """The provider's ids are nobody else's. A person's reference may be: of another amount it must at least be near."""
    if one.currency != line.currency:
        return False
    near = _same_way(one, line) and _days(one, line) <= within_days
    return one.kind is Kind.PAYOUT or not _far(one, line) or near


def _exact(left: _Left, within_days: int) -> list[Pair]:
    by_amount: dict[tuple[int, str], list[Booked]] = {}
    for line in left.lines.values():
        by_amount.setdefault((line.amount, line.currency), []).append(line)
    found = [
        (one, line)
        for one in left.expected.values()
        for line in by_amount.get((one.amount, one.currency), ())
        if _days(one, line) <= within_days and (one.kind is Kind.PAYOUT or not line.names_provider)
    ]
    return sorted(found, key=lambda pair: (not pair[1].names_provider, _days(*pair), _names(pair)))


def _nearly(left: _Left, within_days: int) -> list[Pair]:
    found = [pair for pair in _possible(left, within_days) if _far(*pair) <= _most(pair[0])]
    return sorted(found, key=lambda pair: (_far(*pair), _days(*pair), _names(pair)))


def _only(left: _Left, within_days: int) -> list[Pair]:
    """Of a payout that came before the statement begins, the line may stand in the one before."""
    found = _possible(left, within_days)
    lines_of = Counter(one.name for one, _ in found)
    payouts_of = Counter(line.line_id for _, line in found)
    return [
        (one, line)
        for one, line in found
        if lines_of[one.name] == payouts_of[line.line_id] == 1 and one.day >= left.first_day
    ]


def _possible(left: _Left, within_days: int) -> list[Pair]:
    """Payouts, each with the lines of the provider that may be guessed to be it."""
    of_provider = [line for line in left.lines.values() if line.names_provider and not line.settled]
    return [
        (one, line)
        for one in left.expected.values()
        for line in of_provider
        if one.kind is Kind.PAYOUT
        and one.currency == line.currency
        and _same_way(one, line)
        and _days(one, line) <= within_days
    ]


def _same_way(one: Expected, line: Booked) -> bool:
    return (one.amount > 0) == (line.amount > 0)


def _far(one: Expected, line: Booked) -> int:
    return abs(one.amount - line.amount)


def _most(payout: Expected) -> int:
    """How far a line may be from it."""
    return min(NEARLY_CENTS, abs(payout.amount) // NEARLY_SHARE)


def _names(pair: Pair) -> tuple[str, str]:
    """So that the same lines give the same pairs."""
    return pair[0].name, str(pair[1].line_id)


def _days(one: Expected, line: Booked) -> int:
    return abs((line.booked_on - one.day).days)
