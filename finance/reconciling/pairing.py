"""Which line of the bank is which payout, sale or purchase. Pure.

Theory of operation
-------------------
Rounds, each with what the ones before left over. What is found with another amount is not kept, but found anew:

1. A line that names what the books have and is exactly of its amount, and then one that is nearly so and goes the same
   way. They come before what was kept: an amount may have been the same by chance, a name is not.
2. What was kept of an earlier run.
3. A line of exactly the amount, booked within so many days, the nearest days first. A line that names the provider is a
   payout and no trade, and a payout takes such lines first. A line of another payout is nobody else's, also when that
   one came back: what it names, or was kept as, is what it is.
4. A line that names it and goes the same way, of any amount: a test transfer or an instalment names it too, so whatever
   is of the amount comes first.
5. What names the provider and is nearly of a payout's amount is taken for it, and last what can be that one payout
   only, which can be no other line, whatever its amount: so a payout that came as another amount is one exception and
   not two, one for it and one for its line.

The last round guesses. It waits until the statement is so long that the payout's own line would stand in it, and until
no other payout that may still come could have the line. It is made anew each time, and is not about a line of which a
person has decided something. The provider's ids and hashes of transactions are nobody else's and name a line of any
day; a person's reference may be any word, and names one within the days. Whatever the books have is one line at most,
and a line is one of them.
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
"""How far a line may be from the amount and still be nearly of it: what a bank takes for a transfer."""
NEARLY_SHARE: Final = 10
"""And at most a tenth of the amount."""
NAME_LENGTH_MIN: Final = 4
"""A shorter reference may stand in any text by chance: it names nothing."""
_PROVIDER: Final = re.compile(r"\bstripe", re.IGNORECASE)  # banks write it together with what follows
_PAYOUT: Final = re.compile(r"po_\w+")
_TRANSACTION: Final = re.compile(r"0x[0-9a-f]{64}")
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
    """A line of the bank. `known_as`: what it was found to be before. `settled`: a person has decided what it is."""

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
    def payouts(self) -> frozenset[str]:
        """Ids of payouts in it, in small letters: many banks write capitals only."""
        return frozenset(_PAYOUT.findall(self.text.lower()))

    @property
    def words(self) -> frozenset[str]:
        """What it may name: ids of payouts, and each word in small letters, with and without the marks around it."""
        words = _WORD.findall(self.text.lower())
        return frozenset([*words, *(word.strip(_EDGES) for word in words), *self.payouts])


Pair: TypeAlias = tuple[Expected, Booked]


@dataclass(frozen=True, slots=True)
class Paired:
    """`sure` pairs are kept, `guessed` ones differ in amount. What nobody wanted stands in the other two.

    `naming` are those of the lines left over that name what the books have: an instalment, or a fee for it.
    """

    sure: Sequence[Pair]
    guessed: Sequence[Pair]
    expected: Sequence[Expected] = field(default=())
    lines: Sequence[Booked] = field(default=())
    naming: frozenset[UUID] = field(default=frozenset())


class _Left:
    """What has no partner yet. `names` are those of all that is expected, `first_day` the statement's first.

    What is `coming` may still come by itself: the statement has not all of its days. A line of a day that is not over,
    as one that the bank has planned, does not make it longer.
    """

    def __init__(self, expected: Iterable[Expected], lines: Iterable[Booked], within_days: int, today: date) -> None:
        self.expected = {one.name: one for one in expected}
        self.lines = {one.line_id: one for one in lines}
        self.names = frozenset(self.expected)
        self.first_day = min((one.booked_on for one in self.lines.values()), default=date.max)
        last_day = min(today, max((one.booked_on for one in self.lines.values()), default=date.min))
        self.coming = frozenset(one.name for one in self.expected.values() if (last_day - one.day).days < within_days)
        self.within_days = within_days

    def take(self, pairs: Iterable[Pair]) -> list[Pair]:
        """Those of the pairs, in order, whose both halves are still free; they no longer are."""
        taken = []
        for one, line in pairs:
            if one.name in self.expected and line.line_id in self.lines:
                del self.expected[one.name], self.lines[line.line_id]
                taken.append((one, line))
        return taken


def pair(expected: Iterable[Expected], lines: Iterable[Booked], *, within_days: int, today: date = date.max) -> Paired:
    """Find the line of whatever should be at the bank."""
    left = _Left(expected, lines, within_days, today)
    named = _named(left)
    sure = left.take(found for found in named if not _far(*found))
    guessed = left.take(found for found in named if _near(*found))
    sure += left.take(_known(left))
    sure += left.take(_exact(left))
    guessed += left.take(found for found in named if _same_way(*found))
    guessed += left.take(_nearly(left))
    guessed += left.take(_only(left))
    naming = left.lines.keys() & {line.line_id for _, line in named}
    return Paired(sure, guessed, list(left.expected.values()), list(left.lines.values()), frozenset(naming))


def _named(left: _Left) -> list[Pair]:
    """Of several lines that name the same, as a fee beside it, first the one that is nearest in amount."""
    called: dict[str, list[Expected]] = {}
    for one in left.expected.values():
        for word in {one.name.lower(), *(word.lower() for word in one.words if len(word) >= NAME_LENGTH_MIN)}:
            called.setdefault(word, []).append(one)
    found = [
        (one, line)
        for line in left.lines.values()
        for word in line.words
        for one in called.get(word, ())
        if one.currency == line.currency and (_is_id(one, word) or _days(one, line) <= left.within_days)
    ]
    return sorted(found, key=lambda pair: (_far(*pair), pair[1].known_as != pair[0].name, _days(*pair), _names(pair)))


def _is_id(one: Expected, word: str) -> bool:
    """Whether it is no word that somebody chose."""
    return one.kind is Kind.PAYOUT or _TRANSACTION.fullmatch(word) is not None


def _known(left: _Left) -> list[Pair]:
    found = [(left.expected.get(line.known_as or ""), line) for line in left.lines.values()]
    return [(one, line) for one, line in found if one is not None]


def _exact(left: _Left) -> list[Pair]:
    by_amount: dict[tuple[int, str], list[Booked]] = {}
    for line in left.lines.values():
        by_amount.setdefault((line.amount, line.currency), []).append(line)
    found = [
        (one, line)
        for one in left.expected.values()
        for line in by_amount.get((one.amount, one.currency), ())
        if _days(one, line) <= left.within_days
        and (one.kind is Kind.PAYOUT or not line.names_provider)
        and not _of_another(left, one, line)
    ]
    return sorted(found, key=lambda pair: (not pair[1].names_provider, _days(*pair), _names(pair)))


def _of_another(left: _Left, one: Expected, line: Booked) -> bool:
    """Whether the line was kept as what is not expected any more, or names a payout that is not this one.

    A bank may cut the id off, so the beginning of one is not another.
    """
    if line.known_as is not None and line.known_as not in left.names:
        return True
    payouts = line.payouts
    return bool(payouts) and not any(one.name.lower().startswith(name) for name in payouts)


def _nearly(left: _Left) -> list[Pair]:
    """A line that is nearer to a payout which may still come waits for that."""
    near = [pair for pair in _possible(left) if _near(*pair)]
    found, waiting = [], set[UUID]()
    for one, line in sorted(near, key=lambda pair: (_far(*pair), _days(*pair), _names(pair))):
        if one.name in left.coming:
            waiting.add(line.line_id)
        elif line.line_id not in waiting:
            found.append((one, line))
    return found


def _only(left: _Left) -> list[Pair]:
    """Of a payout that came before the statement begins, the line may stand in the one before."""
    found = _possible(left)
    lines_of = Counter(one.name for one, _ in found)
    payouts_of = Counter(line.line_id for _, line in found)
    return [
        (one, line)
        for one, line in found
        if lines_of[one.name] == payouts_of[line.line_id] == 1
        and one.day >= left.first_day
        and one.name not in left.coming
    ]


def _possible(left: _Left) -> list[Pair]:
    """Payouts, each with the lines of the provider that may be guessed to be it."""
    of_provider = [line for line in left.lines.values() if line.names_provider and not line.settled]
    return [
        (one, line)
        for one in left.expected.values()
        for line in of_provider
        if one.kind is Kind.PAYOUT
        and one.currency == line.currency
        and _same_way(one, line)
        and _days(one, line) <= left.within_days
        and not _of_another(left, one, line)
    ]


def _same_way(one: Expected, line: Booked) -> bool:
    """A line of nothing goes no way."""
    return one.amount * line.amount > 0


def _far(one: Expected, line: Booked) -> int:
    return abs(one.amount - line.amount)


def _near(one: Expected, line: Booked) -> bool:
    return _same_way(one, line) and _far(one, line) <= min(NEARLY_CENTS, abs(one.amount) // NEARLY_SHARE)


def _names(pair: Pair) -> tuple[str, str]:
    """So that the same lines give the same pairs."""
    return pair[0].name, str(pair[1].line_id)


def _days(one: Expected, line: Booked) -> int:
    return abs((line.booked_on - one.day).days)
