"""What a paid lot is worth in each of the ways in which its credits may have gone. Pure.

Theory of operation
-------------------
A lot of `credits` was sold for `basis` cents. The worth of its first n credits is a cumulative share, rounded half to
even, and the last credit takes the rest; so whatever the order, a lot of which nothing is left has recognized exactly
what was paid for it and not given back. From where its credits are now follow targets, and only the difference to
what was recognized before is posted:

- used: what was consumed is revenue, whether or not its payment was taken back later;
- receivable: what was consumed, taken back and is still owed;
- deferred: what can still be spent. A refund's cents left `deferred_revenue` with the refund itself (`taken_cents`);
- loss: where a debt was settled with credits of another lot that were cheaper, the difference (dearer: below zero);
- breakage: all the rest, which is what expired, and what a refund took in credits beyond its cents.

Sources: revenue of prepaid credits,
https://getlago.com/docs/guide/revenue-recognition/how-it-works/wallets-and-prepaid-credits; breakage, ASC 606-10-55-46.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass
from typing import Self

from billing.reversals.rules import share


@dataclass(frozen=True, slots=True)
class Gone:
    """Where a lot's credits went in all; `taken_cents` is what reversals moved out of `deferred_revenue`."""

    consumed: int = 0
    expired: int = 0
    given: int = 0
    reversed: int = 0
    owed: int = 0
    settled: int = 0
    taken_cents: int = 0

    def __add__(self, other: Gone) -> Gone:
        return Gone(*(mine + theirs for mine, theirs in zip(astuple(self), astuple(other), strict=True)))


@dataclass(frozen=True, slots=True)
class Worth:
    """Cents, in all. `receivable` and `loss` stand against what reversals took too much out of deferred revenue."""

    used: int = 0
    breakage: int = 0
    receivable: int = 0
    loss: int = 0
    deferred: int = 0

    def __add__(self, other: Self) -> Worth:
        return Worth(*(mine + theirs for mine, theirs in zip(astuple(self), astuple(other), strict=True)))

    def __sub__(self, other: Self) -> Worth:
        return Worth(*(mine - theirs for mine, theirs in zip(astuple(self), astuple(other), strict=True)))


def worth(*, credits_: int, basis: int, gone: Gone) -> Worth:
    """What became of the `basis` cents of a lot of `credits_`.

    Always: basis − taken_cents + receivable + loss = used + breakage + deferred.
    """

    def of(part: int) -> int:
        return share(basis, part, credits_)

    live = credits_ - gone.consumed - gone.expired - gone.given - gone.reversed + gone.owed + gone.settled
    used, receivable, deferred = of(gone.consumed), of(gone.owed), basis - of(credits_ - live)
    loss = of(gone.owed + gone.settled) - receivable - of(gone.given)
    breakage = basis - gone.taken_cents + receivable + loss - used - deferred
    return Worth(used, breakage, receivable, loss, deferred)
