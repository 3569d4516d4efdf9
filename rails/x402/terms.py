"""What a payment must look like, and what somebody presented: the words that the whole rail shares. Pure.

Source: x402-specification-v2.md and specs/schemes/exact/scheme_exact_evm.md of the protocol (x402 2.25.0 implements
them). Amounts are atomic units of the token.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

from rails.evm.eip3009 import Authorization

VERSION: Final = 2
SCHEME: Final = "exact"
NONCE_USED: Final = "invalid_exact_evm_nonce_already_used"
METHOD_ID: Final = "x402.exact.usdc"


@dataclass(frozen=True, slots=True)
class Requirement:
    """The one way in which an attempt can be paid: an entry of `accepts`.

    It is computed from what we sell and stored with the attempt; nothing of it comes from whoever pays.
    """

    network: str
    """CAIP-2, as in `eip155:8453`."""
    asset: str
    amount_atomic: int
    pay_to: str
    timeout_s: int
    """`maxTimeoutSeconds`: how long a signature may be good for."""
    token_name: str
    token_version: str

    def wire(self) -> dict[str, Any]:
        """As it stands in `accepts`."""
        return {
            "scheme": SCHEME,
            "network": self.network,
            "asset": self.asset,
            "amount": str(self.amount_atomic),
            "payTo": self.pay_to,
            "maxTimeoutSeconds": self.timeout_s,
            "extra": {
                "name": self.token_name,
                "version": self.token_version,
                "assetTransferMethod": "eip3009",
                # Paid before anything is granted. Stock clients prefer another flow where both are listed.
                "paymentFlow": "upfront",
            },
        }


@dataclass(frozen=True, slots=True)
class SignedPayment:
    """What a `PAYMENT-SIGNATURE` header holds, understood but not yet believed.

    `accepted` is the requirement that the client says it pays, in the protocol's words. Whoever reads a transaction on
    the chain can build all of this: it proves that the payer paid, and never who presents it.
    """

    authorization: Authorization
    signature: bytes = field(repr=False)
    accepted: dict[str, Any]
    payment_identifier: str | None


class Malformed(ValueError):
    """The header cannot be read (HTTP 400). Its text says what to mend, in words that are safe to show."""


class NotPayable(Exception):
    """The payment would not settle (HTTP 402); nothing was sent and nothing is kept. `reason` is the protocol's word.

    Source for the words: x402 2.25.0, mechanisms/evm/constants.py.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(f"{reason}: {message}")
        self.reason = reason
        self.message = message
