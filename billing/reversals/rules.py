"""How much of a payment is to be taken back, and what of that is still to be posted. Pure.

Theory of operation
-------------------
Nothing here adds up events. From all refunds and disputes of a payment as they stand now follows a *target*: how many
credits and cents must have been taken back in all. What has been posted is known too, and the difference is posted.
So a letter that comes twice, late or out of order changes nothing, and a refund that fails after it succeeded gives
back exactly what it took. A target is a cumulative share of the whole payment, rounded up in credits and half-even in
cents, so that parts that add up to the whole take exactly the whole. Source: Stripe, https://docs.stripe.com/refunds,
https://docs.stripe.com/disputes/how-disputes-work.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final
from uuid import UUID

from ledger.money import usd
from ledger.operations import SYSTEM_SCOPE, Kind, Operation, Transfer

REFUND_RANK: Final = {"pending": 0, "requires_action": 0, "succeeded": 1, "canceled": 2, "failed": 2}
"""A refund only moves up: what says less than is known was read too late."""
REFUND_LIVE: Final = frozenset({"pending", "requires_action", "succeeded"})
DISPUTE_FINAL: Final = frozenset({"won", "lost", "warning_closed", "prevented"})
"""Where disputes rest. A lost one may still be appealed."""
FINAL: Final = DISPUTE_FINAL | {"succeeded", "failed", "canceled"}
"""Where disputes and refunds rest."""


class Told(enum.StrEnum):
    """What the activity feed says of a reversal, one after the other."""

    PENDING = "pending"
    REFUNDED = "refunded"
    DISPUTED = "disputed"
    LOST = "lost"
    REINSTATED = "reinstated"
    REJECTED = "rejected"


@dataclass(frozen=True, slots=True)
class Terms:
    """What one granted payment was: its grant, credits, and cents: all, tax, and what was left below a credit."""

    organization_id: UUID
    payment: str
    """Kind and id of the payment, as it stands in keys."""
    grant_id: UUID
    credits: int
    total_cents: int
    tax_cents: int
    remainder_cents: int


@dataclass(frozen=True, slots=True)
class Posted:
    """What has been posted against a payment, in all. `number` counts the postings and makes their keys."""

    credits_reversed: int = 0
    credits_written_off: int = 0
    refunded_cents: int = 0
    lost_cents: int = 0
    disputed_cents: int = 0
    written_off_cents: int = 0
    number: int = 0


@dataclass(frozen=True, slots=True)
class Live:
    """What all reversals come to now, in cents: refunds that stand, money that disputes hold or have won."""

    refunds_cents: int
    disputes_cents: int
    lost_cents: int

    @property
    def undecided_cents(self) -> int:
        """What disputes hold that nobody has decided yet."""
        return self.disputes_cents - self.lost_cents

    @property
    def cents(self) -> int:
        """All that is taken back now."""
        return self.refunds_cents + self.disputes_cents


def share(whole: int, part: int, of: int) -> int:
    """`whole` × `part` / `of`, half to even; the last part takes the rest, because it is cumulative."""
    quotient, rest = divmod(whole * min(part, of), of)
    return quotient + (2 * rest > of or (2 * rest == of and quotient % 2 == 1))


def credits_target(terms: Terms, cents: int) -> int:
    """Credits to have taken back when `cents` of the payment are gone: the share, rounded up."""
    return -(-terms.credits * min(cents, terms.total_cents) // terms.total_cents)


def difference(
    terms: Terms, posted: Posted, live: Live, *, cause: str, at: datetime
) -> tuple[Posted, tuple[Operation, ...]]:
    """What must still be posted for `live`, and what is posted afterwards."""
    after = replace(posted, number=posted.number + 1)
    operations: list[Operation] = []
    target = credits_target(terms, live.cents)
    if target > posted.credits_reversed:
        taken = target - posted.credits_reversed
        operations.append(_credits(terms, after, Kind.CLAW_BACK, taken, cause=cause, at=at))
        after = replace(after, credits_reversed=target)
    elif target < posted.credits_reversed:
        after, given_back = _given_back(terms, after, target, cause=cause, at=at)
        operations += given_back
    now = (live.refunds_cents, live.lost_cents, live.undecided_cents)
    money = _restated(terms, (posted.refunded_cents, posted.lost_cents, posted.disputed_cents), now)
    if money:
        operations.append(_money(terms, after, "reversal", money, cause=cause, at=at))
    if not operations:
        return posted, ()
    refunded, lost, disputed = now
    return replace(after, refunded_cents=refunded, lost_cents=lost, disputed_cents=disputed), tuple(operations)


def written_off(
    terms: Terms, posted: Posted, credits_: int, *, cause: str, at: datetime
) -> tuple[Posted, tuple[Operation, ...]]:
    """`credits_` that are owed for the payment are given up: nobody will pay for them, at their share of the price."""
    number = posted.number + 1
    in_all = posted.credits_written_off + credits_
    cents = share(_net(terms, terms.total_cents), in_all, terms.credits)
    after = replace(posted, number=number, credits_written_off=in_all, written_off_cents=cents)
    lost = cents - posted.written_off_cents
    operations = [_credits(terms, after, Kind.WRITE_OFF, credits_, cause=cause, at=at)]
    if lost:
        transfer = Transfer("write_off", "deferred_revenue", usd(lost))
        operations.append(_money(terms, after, "written_off", (transfer,), cause=cause, at=at))
    return after, tuple(operations)


def _given_back(
    terms: Terms, after: Posted, target: int, *, cause: str, at: datetime
) -> tuple[Posted, list[Operation]]:
    """Credits come back. What was written off was used and forgiven: nothing comes back for it, its loss ends."""
    operations = []
    back = min(after.credits_reversed - target, after.credits_reversed - after.credits_written_off)
    unforgiven = after.credits_reversed - target - back
    if back:
        operations.append(_credits(terms, after, Kind.REINSTATE, back, cause=cause, at=at))
    if unforgiven:
        in_all = after.credits_written_off - unforgiven
        cents = share(_net(terms, terms.total_cents), in_all, terms.credits)
        if after.written_off_cents > cents:
            transfer = Transfer("deferred_revenue", "write_off", usd(after.written_off_cents - cents))
            operations.append(_money(terms, after, "unforgiven", (transfer,), cause=cause, at=at))
        after = replace(after, credits_written_off=in_all, written_off_cents=cents)
    return replace(after, credits_reversed=target), operations


def _net(terms: Terms, cents: int) -> int:
    """What of the first `cents` that are taken back was owed as service: neither tax nor below a credit."""
    return cents - sum(share(part, cents, terms.total_cents) for part in (terms.tax_cents, terms.remainder_cents))


def _parts(terms: Terms, refunded: int, lost: int, disputed: int) -> dict[tuple[str, str], int]:
    """What stands against refunds, lost disputes and undecided ones: (what it was, what it became) → cents.

    Together they take no more than the payment; what a lost dispute takes beyond it (a payment that had been refunded
    was disputed as well) is nobody's but our loss. Of an undecided dispute the payer's credits are gone already, so
    that no service is owed for them: what was is kept apart until somebody wins.
    """
    total = terms.total_cents
    first, both, all_ = (min(cents, total) for cents in (refunded, refunded + lost, refunded + lost + disputed))
    parts: dict[tuple[str, str], int] = {("write_off", "disputes"): refunded + lost - both - max(0, refunded - total)}
    for against, low, high in (
        ("refunds_payable", 0, first),
        ("disputes", first, both),
        ("disputed_payments", both, all_),
    ):
        parts["deferred_revenue", against] = _net(terms, high) - _net(terms, low)
        for account, whole in (
            ("sales_tax_payable", terms.tax_cents),
            ("deposit_remainder", terms.remainder_cents),
        ):
            parts[account, against] = share(whole, high, total) - share(whole, low, total)
    return parts


def _restated(terms: Terms, before: tuple[int, int, int], now: tuple[int, int, int]) -> Sequence[Transfer]:
    """What was owed to the payer as service, tax or remainder becomes (or is no longer) money that goes back."""
    was = _parts(terms, *before)
    return [
        Transfer(account, against, usd(cents - was[account, against]))
        if cents > was[account, against]
        else Transfer(against, account, usd(was[account, against] - cents))
        for (account, against), cents in _parts(terms, *now).items()
        if cents != was[account, against]
    ]


def _credits(terms: Terms, after: Posted, kind: Kind, credits_: int, *, cause: str, at: datetime) -> Operation:
    return Operation(
        organization_id=terms.organization_id,
        kind=kind,
        scope=SYSTEM_SCOPE,
        key=f"{kind}:{terms.payment}:{after.number}",
        event_at=at,
        cause=cause,
        credits=credits_,
        target=terms.grant_id,
    )


def _money(
    terms: Terms, after: Posted, name: str, transfers: Sequence[Transfer], *, cause: str, at: datetime
) -> Operation:
    return Operation(
        organization_id=terms.organization_id,
        kind=Kind.MONEY,
        scope=SYSTEM_SCOPE,
        key=f"{name}:{terms.payment}:{after.number}",
        event_at=at,
        cause=cause,
        target=terms.grant_id,
        transfers=tuple(transfers),
    )


def dispute_told(status: str, held_cents: int, told: str | None) -> Told:
    """What is to be said of a dispute: money counts before words, because only money was taken."""
    if held_cents and (status == "lost" or told == Told.LOST):  # an appeal is news only when it is won
        return Told.LOST
    if held_cents:
        return Told.DISPUTED
    if told in {Told.DISPUTED, Told.LOST, Told.REINSTATED}:
        return Told.REINSTATED
    return Told.REJECTED if status in DISPUTE_FINAL else Told.PENDING


def refund_told(status: str) -> Told:
    """What is to be said of a refund."""
    if status not in REFUND_LIVE:
        return Told.REJECTED
    return Told.REFUNDED if status == "succeeded" else Told.PENDING
