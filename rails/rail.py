"""What every rail promises: an order becomes an action for the payer, a provider's message becomes facts.

Theory of operation
-------------------
A rail never decides about credits. `prepare` is pure and gives the exact request that will be sent; billing stores it;
only then `start` sends it. A request whose answer was lost is sent again, byte for byte, under the same provider key
and API version.
A message of the provider is a nudge: `references` says (purely) which objects it is about, `read` reads them
again from the provider, and what comes back are facts. `read` takes nothing from the message but the reference.

Whose fault an error is shows in its type: `ProviderRefused` (our request, definitely not carried out),
`RailUnavailable` (the provider, definitely not carried out) and `OutcomeUnknown` (nobody knows: never guessed).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from ledger.money import Money


class RailUnavailable(Exception):
    """The provider cannot serve now and has certainly not carried out the request; it may be sent again later."""


class OutcomeUnknown(Exception):
    """The request may or may not have been carried out (a time-out, a lost answer, a 5xx).

    The one permitted retry is the same request, byte for byte, under the same provider key, within the time that the
    provider keeps keys.
    """


class OutcomeStored(OutcomeUnknown):
    """The provider keeps another answer to this key, or was sent other content under it: sending again tells nothing.

    What became of the request shows only among the provider's objects (`Rail.find`).
    """


class ProviderRefused(Exception):
    """The provider understood the request and refused it for good. `message` is safe to show."""

    def __init__(self, *, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


@dataclass(frozen=True, slots=True)
class Order:
    """What a payer is to be asked for. Ids are in their outside form; `number` counts an attempt's requests from 1."""

    organization_id: str
    quote_id: str
    attempt_id: str
    number: int
    price: Money
    credits: int
    description: str
    payable_until: datetime
    handoff_url: str
    """Our own page for a human, `…/pay/{attempt}`, where the payer returns to."""


@dataclass(frozen=True, slots=True)
class ProviderRequest:
    """A request to the provider as it is stored before it is sent: `parameters` is JSON text whose order is kept.

    `api_version` is the provider's version under which it was prepared: the same bytes mean the same thing only there.
    """

    provider_key: str
    parameters: str
    api_version: str


@dataclass(frozen=True, slots=True)
class CheckoutAction:
    """A human opens `url` (with its fragment) and pays there."""

    session_id: str
    url: str
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class DepositAction:
    """A wallet sends exactly `token_amount_atomic` of the token to `deposit_address`."""

    payment_intent_id: str
    """The provider's object. It stays inside: no answer ever carries it."""
    network: str
    token_currency: str
    token_decimals: int
    token_contract_address: str
    deposit_address: str
    token_amount_atomic: int
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class X402Action:
    """A wallet signs what `requirement`, an entry of x402's `accepts`, asks for, and presents it to us."""

    object_id: str
    """Our own name of what is asked for; no provider keeps it."""
    requirement: Mapping[str, Any]
    expires_at: datetime


Action = CheckoutAction | DepositAction | X402Action


@dataclass(frozen=True, slots=True)
class Found:
    """The provider's object that a request made. Without an action nobody can be asked with it: it is past that."""

    object_id: str
    action: Action | None


@dataclass(frozen=True, slots=True)
class Reference:
    """An object of the provider that a message is about: `kind` is the rail's word for it."""

    kind: str
    external_id: str


@dataclass(frozen=True, slots=True)
class Fact:
    """What a rail says happened to one attempt. `object_id` is the session or intent that asked for the payment."""

    method_id: str
    attempt_id: str
    provider_key: str
    object_id: str
    livemode: bool
    occurred_at: datetime


@dataclass(frozen=True, slots=True)
class PaymentSettled(Fact):
    """The provider's money is final. Amounts in minor units of `currency` (a lower case ISO code).

    `subtotal` is what was asked for, before `discount` and `tax`; `total` is what was paid. A `total` of 0 moved no
    money: the payment is then named by the object that asked for it.
    """

    payment_kind: str
    payment_id: str
    currency: str
    subtotal: int
    discount: int
    tax: int
    total: int
    details: Mapping[str, str]
    """What the payer may know of it, for the receipt: brand, network, transaction hash. Never a secret."""
    any_amount: bool = False
    """Whether the payer was free to send another amount: `total` is then what arrived, in place of `subtotal`."""


@dataclass(frozen=True, slots=True)
class PaymentProcessing(Fact):
    """The payer has paid by a method that settles later; nothing is granted yet. `reason`, if any, is for people."""

    reason: str | None = None


@dataclass(frozen=True, slots=True)
class PaymentFailed(Fact):
    """The payment will not arrive by this object. `reason` is for people."""

    reason: str


@dataclass(frozen=True, slots=True)
class ActionExpired(Fact):
    """The provider confirms that this object can no longer be paid."""


@dataclass(frozen=True, slots=True)
class ActionOpen(Fact):
    """The provider confirms that this object still waits for the payer."""


@dataclass(frozen=True, slots=True)
class Unaccountable(Fact):
    """The provider reports something that these books have no rule for; a person must look. `reason` says what."""

    reason: str


class Rail(Protocol):
    """A way money reaches us. One instance per method; safe to share between tasks."""

    @property
    def method_id(self) -> str:
        """The public id of the method, as in `stripe_checkout`."""

    def prepare(self, order: Order, /) -> ProviderRequest:
        """The exact request for `order`. Pure: the same order gives the same bytes, key and version."""

    async def start(self, request: ProviderRequest, /) -> Action:
        """Send a stored request under its version. Raises `ProviderRefused`, `RailUnavailable` or `OutcomeUnknown`."""

    async def find(self, request: ProviderRequest, /, *, since: datetime, until: datetime) -> Found | None:
        """The object that `request` made, of all that the provider created in the window.

        None proves absence: then everything was read. Raises `RailUnavailable` when it was not, because the provider
        cannot be read or the window holds too much, or `ProviderRefused`. A difference of the clocks is allowed for.
        """

    def references(self, event: Mapping[str, Any], /) -> Sequence[Reference]:
        """Which of this rail's objects a decoded provider message is about; empty when none. Pure; raises nothing."""

    async def read(self, reference: Reference, /) -> Sequence[Fact]:
        """Read an object again and say what is true of it now. Empty when it is not of our making.

        Raises `RailUnavailable` (also for an unknown outcome: a read changes nothing) or `ProviderRefused`.
        """

    async def look(self, object_id: str, /) -> Sequence[Fact]:
        """`read` of the object that an attempt waits for, by its id alone."""

    async def close(self, object_id: str, /) -> Sequence[Fact]:
        """Make an object unpayable. Gives what holds afterwards: expired, or settled if the payer was faster."""

    async def probe(self) -> None:
        """Ask the provider for something cheap. Raises `RailUnavailable` or `ProviderRefused` if it does not serve."""
