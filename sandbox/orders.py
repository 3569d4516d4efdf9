"""The JSON bodies of the controls under `/sandbox/`; unknown fields are refused, so that a typing error is seen."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from sandbox.deliveries import MODES
from sandbox.faults import SECONDS_MAX, Kind
from sandbox.fraud_warnings import FraudType

Address = Annotated[str, StringConstraints(pattern=r"^0x[0-9a-fA-F]{40}$")]


class Order(BaseModel):
    """What all of them share."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Overrides(Order):
    """Fields that the letters are to carry instead of the agreeing ones. Amounts in cents."""

    amount_subtotal: int | None = None
    amount_total: int | None = None
    currency: str | None = None
    livemode: bool | None = None
    client_reference_id: str | None = None
    metadata: dict[str, str] | None = None
    payment_status: str | None = None
    payment_intent: dict[str, Any] | None = None
    """Fields of the PaymentIntent alone, such as `{"amount": 400}`."""
    tax: int | None = Field(default=None, ge=0)
    discount: int | None = Field(default=None, ge=0)


class IntentOverrides(Order):
    """The same for a PaymentIntent that settles."""

    amount: int | None = None
    amount_received: int | None = None
    currency: str | None = None
    livemode: bool | None = None
    metadata: dict[str, str] | None = None


class FaultOrder(Order):
    """`POST /sandbox/faults`."""

    kind: Kind
    method: str = "POST"
    path: str
    times: int = Field(default=1, ge=1, le=10_000)
    skip: int = Field(default=0, ge=0, le=10_000)
    seconds: float | None = Field(default=None, ge=0, le=SECONDS_MAX)
    stored: bool = True


class DeliveryOrder(Order):
    """`PUT /sandbox/deliveries`."""

    mode: Annotated[str, StringConstraints(pattern=f"^({'|'.join(MODES)})$")]
    delay_seconds: float = Field(default=1.0, ge=0, le=3600)


class RedeliveryOrder(Order):
    """`POST /sandbox/events/{id}/deliver`; `url` sends it elsewhere, signed as for the original."""

    url: str | None = None


class DisputeOrder(Order):
    """`POST /sandbox/disputes`: a charge or a payment intent, the whole amount unless told."""

    charge: str | None = None
    payment_intent: str | None = None
    amount: int | None = Field(default=None, ge=1)
    reason: str = "fraudulent"
    inquiry: bool = False
    withdraw: bool = True
    """`false` leaves the money of a chargeback where it is until `…/withdraw`."""


class WinOrder(Order):
    """`POST /sandbox/disputes/{id}/win`: whether Stripe's dispute fee comes back too."""

    fee_returned: bool = False


class FraudWarningOrder(Order):
    """`POST /sandbox/fraud_warnings`: a charge or a payment intent."""

    charge: str | None = None
    payment_intent: str | None = None
    fraud_type: FraudType = "unauthorized_use_of_card"


class RefundOrder(Order):
    """`POST /sandbox/refunds`: what somebody does in the Dashboard; the whole rest unless told."""

    payment_intent: str
    amount: int | None = Field(default=None, ge=1)
    reason: Annotated[str, StringConstraints(pattern="^(duplicate|fraudulent|requested_by_customer)$")] | None = None


class RefundsStartOrder(Order):
    """`PUT /sandbox/refunds`: how refunds made from now on start; nothing: as Stripe does by itself."""

    start: Literal["pending", "requires_action"] | None = None


class BalanceOrder(Order):
    """`POST /sandbox/balance_transactions`: a line of the balance that is of no payment; signed cents."""

    amount: int
    fee: int = 0
    type: str = "stripe_fee"
    reporting_category: str = "fee"
    description: str = Field(default="", max_length=500)


class PayoutOrder(Order):
    """`POST /sandbox/payouts`; `amount` only for a manual one."""

    automatic: bool = True
    amount: int | None = Field(default=None, ge=1)
    status: Annotated[str, StringConstraints(pattern="^(paid|failed)$")] = "paid"


class TransferOrder(Order):
    """`POST /sandbox/wallet/transfers`: a wallet sends a token."""

    network: str = Field(default="base", max_length=40)
    token_currency: str = Field(default="usdc", max_length=40)
    to: Address
    amount_atomic: Annotated[str, StringConstraints(pattern=r"^[0-9]{1,30}$")]
    sender: Address | None = Field(default=None, alias="from")


class ClockOrder(Order):
    """`POST /sandbox/clock`: put the sandbox's clock forward."""

    advance_seconds: float = Field(ge=0, le=366 * 24 * 3600)
    letters_too: bool = False
    """Whether letters are signed at that time from now on, for a receiver whose clock was put forward too."""
