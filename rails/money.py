"""What a provider says of money after it has settled: fees, refunds, disputes, warnings, payouts.

Theory of operation
-------------------
These facts name a payment, not an attempt: a refund or a dispute knows only what it reverses, and who paid is known to
billing. Each carries the balance transactions that the provider has booked for it so far. Those are the only proof that
money moved, they are never changed or taken back by the provider, and each is posted once under its own id. Statuses
may be read late or out of order; `read_at` says when the reading began.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Protocol

from rails.rail import ProviderRequest, Reference


class Incomprehensible(Exception):
    """The provider says something of money that these books have no rule for; a person must look.

    Whatever it is about must be parked, never guessed: reading it again gives the same. `reason` is for operators and
    names the provider's object.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class BalanceTransaction:
    """One line of the provider's balance, in minor units of `currency` (a lower case ISO code). What left is negative.

    `amount` − `fee` = `net`. `category` is the provider's word for accounting (Stripe's `reporting_category`).
    On chain there is no provider: `currency` is then `usdc`, and amounts are cents at par.
    """

    transaction_id: str
    category: str
    amount: int
    fee: int
    net: int
    currency: str
    source_id: str | None
    occurred_at: datetime


@dataclass(frozen=True, slots=True)
class MoneyFact:
    """What the provider says now of one of its objects. `read_at` is when the reading of it began."""

    livemode: bool
    occurred_at: datetime
    read_at: datetime


@dataclass(frozen=True, slots=True)
class ChargeBooked(MoneyFact):
    """The charge of a payment, with its fee once the provider knows it: until then there is no transaction."""

    payment_kind: str
    payment_id: str
    transaction: BalanceTransaction | None


@dataclass(frozen=True, slots=True)
class RefundSeen(MoneyFact):
    """A refund of a payment. `status` is the provider's word; `amount` in minor units, positive."""

    payment_kind: str
    payment_id: str
    refund_id: str
    amount: int
    currency: str
    status: str
    request_key: str | None
    """The provider key of our own request that made it; none when somebody made it at the provider."""
    details: Mapping[str, str]
    """What the payer may know of it, such as the transaction hash of a refund on chain."""
    transactions: Sequence[BalanceTransaction]
    is_reorganization: bool = False
    """Whether nobody sent anything back: the payment itself was undone by its chain (and, once failed, is back)."""


@dataclass(frozen=True, slots=True)
class DisputeSeen(MoneyFact):
    """A dispute of a payment. `status` and `reason` are the provider's words; `amount` in minor units, positive."""

    payment_kind: str
    payment_id: str
    dispute_id: str
    amount: int
    currency: str
    status: str
    reason: str
    transactions: Sequence[BalanceTransaction]


@dataclass(frozen=True, slots=True)
class FraudWarned(MoneyFact):
    """The card's issuer says that a payment may be fraud; no money has moved."""

    payment_kind: str
    payment_id: str
    warning_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class Contents:
    """One line of a payout: a balance transaction, and the payment it belongs to when that is one of ours."""

    transaction: BalanceTransaction
    payment_kind: str | None
    payment_id: str | None


@dataclass(frozen=True, slots=True)
class PayoutSeen(MoneyFact):
    """Money on its way from the provider to the bank. `own` are the transactions of the payout itself.

    `contents` is what it was made of, in the provider's words; none while the provider does not tell (a manual payout
    never tells).
    """

    payout_id: str
    amount: int
    currency: str
    status: str
    automatic: bool
    own: Sequence[BalanceTransaction]
    contents: Sequence[Contents] | None


@dataclass(frozen=True, slots=True)
class PayoutTold:
    """A payout in the provider's own list, in minor units. `status` is the provider's word.

    `tells_contents`: whether the provider can say now what it was made of; it never can of one that is not automatic.
    """

    payout_id: str
    amount: int
    currency: str
    status: str
    automatic: bool
    reconciliation_status: str
    tells_contents: bool
    arrives_on: date
    occurred_at: datetime


class StatementReader(Protocol):
    """Reads what a provider says of the whole account, not of one object. Raises as `MoneyReader.read`."""

    async def told_lines(self, since: datetime, until: datetime, /) -> Sequence[BalanceTransaction]:
        """Every line of the balance that was made from `since` until before `until`; `until` is at most a day later."""

    async def told_payouts(self, since: datetime, until: datetime, /) -> Sequence[PayoutTold]:
        """Every payout that was made from `since` until before `until`."""

    async def told_contents(self, payout_id: str, /) -> Sequence[BalanceTransaction]:
        """What a payout that tells it was made of, its own line included."""


class MoneyReader(Protocol):
    """Reads at a provider what became of money. Safe to share between tasks."""

    def references(self, event: Mapping[str, Any], /) -> Sequence[Reference]:
        """Which objects of money a decoded provider message is about; empty when none. Pure; raises nothing."""

    async def read(self, reference: Reference, /) -> Sequence[MoneyFact]:
        """What is true of the object now. Empty when it is not about a payment of ours.

        Raises `RailUnavailable`, `ProviderRefused` or `Incomprehensible`.
        """


@dataclass(frozen=True, slots=True)
class RefundOrder:
    """A refund that we ask the provider for. Ids are in their outside form; `amount` in minor units."""

    organization_id: str
    attempt_id: str
    provider_key: str
    payment_id: str
    amount: int


class Refunder(Protocol):
    """Asks a provider to give money back. A request is prepared, stored, and only then sent, as in `rails.rail`."""

    def prepare_refund(self, order: RefundOrder, /) -> ProviderRequest:
        """The exact request for `order`. Pure: the same order gives the same bytes, key and version."""

    async def start_refund(self, request: ProviderRequest, /) -> str:
        """Send a stored request; the refund's id. Raises `ProviderRefused`, `RailUnavailable` or `OutcomeUnknown`."""

    async def find_refund(self, payment_id: str, request: ProviderRequest, /) -> str | None:
        """The refund of a payment that `request` made; none when it certainly made none. Raises `RailUnavailable`."""
