"""Payments by the stock Python client of x402, and payments by hand that can be wrong in each of their fields."""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import httpx

from rails.evm import recursion

with recursion.limit_kept():
    from eth_account import Account
    from x402 import x402Client
    from x402.http.clients import x402HttpxClient
    from x402.http.clients.httpx import PaymentError
    from x402.http.utils import encode_payment_signature_header
    from x402.mechanisms.evm.exact import ExactEvmClientScheme
    from x402.mechanisms.evm.signers import EthAccountSigner

from tests.evm.usdc import TYPES

CLIENT_TIMEOUT_S = 90.0
REQUIRED, SIGNATURE, RESPONSE = "PAYMENT-REQUIRED", "PAYMENT-SIGNATURE", "PAYMENT-RESPONSE"
_KIND = "TransferWithAuthorization"


class WouldNotPay(Exception):
    """The client itself refused; the service was asked once and not paid. The text is the client's."""


@dataclass(frozen=True)
class Paid:
    """The last answer, and the `PAYMENT-SIGNATURE` headers that the client made on the way; none when it was free."""

    answer: httpx.Response
    payments: tuple[str, ...]

    @property
    def settlement(self) -> dict[str, Any]:
        """What `PAYMENT-RESPONSE` says."""
        return decoded(self.answer.headers[RESPONSE])


class Pay(Protocol):
    """What every stock client can do; see `pay_with_python`."""

    def __call__(
        self,
        url: str,
        *,
        key: str,
        json_body: Any = None,
        headers: Mapping[str, str] | None = None,
        max_amount: str | None = None,
        method: str = "POST",
    ) -> Paid: ...


class ContractWalletSigner(EthAccountSigner):
    """A contract wallet for the stock client: its address, and its owner's key."""

    def __init__(self, key: str, wallet: str) -> None:
        super().__init__(Account.from_key(key))
        self._wallet = wallet

    @property
    def address(self) -> str:
        return self._wallet


def pay_with_python(
    url: str,
    *,
    key: str,
    json_body: Any = None,
    headers: Mapping[str, str] | None = None,
    max_amount: str | None = None,
    method: str = "POST",
    wallet: str | None = None,
) -> Paid:
    """Ask for `url`, and pay for it with `key` when it costs something. Raises `WouldNotPay`.

    `max_amount` ("$20") lifts what the client pays at most at once; without it the client's own limit holds. With
    `wallet` the payer is the contract wallet at that address, whose owner has the key.
    """
    asking = {"json": json_body, "headers": dict(headers or {})}
    return asyncio.run(_pay(method, url, key, max_amount, wallet, asking))


async def _pay(
    method: str, url: str, key: str, max_amount: str | None, wallet: str | None, asking: dict[str, Any]
) -> Paid:
    signer = Account.from_key(key) if wallet is None else ContractWalletSigner(key, wallet)
    client = x402Client()
    client.register("eip155:*", ExactEvmClientScheme(signer))
    if max_amount is not None:
        client.set_spend_controls({"max_amount_per_payment": max_amount})
    payments: list[str] = []
    client.on_after_payment_creation(
        lambda made: payments.append(encode_payment_signature_header(made.payment_payload))
    )
    try:
        async with x402HttpxClient(client, timeout=CLIENT_TIMEOUT_S) as http:
            answer = await http.request(method, url, **asking)
    except PaymentError as error:
        raise WouldNotPay(str(error)) from error
    return Paid(answer=answer, payments=tuple(payments))


def decoded(header: str) -> dict[str, Any]:
    """What a header of x402 says."""
    said: dict[str, Any] = json.loads(b64decode(header, validate=True))
    return said


def encoded(content: Mapping[str, Any]) -> str:
    """A header of x402 that says this."""
    return b64encode(json.dumps(content).encode()).decode()


def requirement_in(required: str) -> dict[str, Any]:
    """The one way to pay that a `PAYMENT-REQUIRED` header offers."""
    (requirement,) = decoded(required)["accepts"]
    return dict(requirement)


def signed_payment(
    required: str,
    key: str,
    *,
    payer: str | None = None,
    signed: Mapping[str, Any] | None = None,
    sent: Mapping[str, Any] | None = None,
    accepted: Mapping[str, Any] | None = None,
    domain: Mapping[str, Any] | None = None,
    signature: bytes | None = None,
    extensions: Mapping[str, Any] | None = None,
    now: int | None = None,
) -> str:
    """The `PAYMENT-SIGNATURE` header that pays what a `PAYMENT-REQUIRED` header asks for, right unless told otherwise.

    `payer`: whose money it is, for a contract wallet. `signed`: fields of the authorization, under their names on the
    wire and as numbers, text and bytes, that are other than asked for and signed so. `sent`: fields that are changed
    after the signature was made. `accepted`: fields of the requirement that the payment claims to pay. `domain`: fields
    of the EIP-712 domain. `signature`: instead of the right one. `extensions`: as they stand in the payment. `now`: the
    payer's clock.
    """
    requirement = requirement_in(required)
    account = Account.from_key(key)
    moment = int(time.time()) if now is None else now
    authorization = {
        "from": payer or account.address,
        "to": requirement["payTo"],
        "value": int(requirement["amount"]),
        "validAfter": 0,
        "validBefore": moment + requirement["maxTimeoutSeconds"],
        "nonce": secrets.token_bytes(32),
        **(signed or {}),
    }
    if signature is None:
        under = {**_domain_of(requirement), **(domain or {})}
        signature = bytes(account.sign_typed_data(under, {_KIND: TYPES[_KIND]}, authorization).signature)
    wire = {name: _wire(value) for name, value in {**authorization, **(sent or {})}.items()}
    return encoded(
        {
            "x402Version": 2,
            "payload": {"signature": "0x" + signature.hex(), "authorization": wire},
            "accepted": {**requirement, **(accepted or {})},
            "resource": decoded(required)["resource"],
            **({"extensions": dict(extensions)} if extensions is not None else {}),
        }
    )


def _domain_of(requirement: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": requirement["extra"]["name"],
        "version": requirement["extra"]["version"],
        "chainId": int(requirement["network"].partition(":")[2]),
        "verifyingContract": requirement["asset"],
    }


def _wire(value: Any) -> str:
    return "0x" + value.hex() if isinstance(value, bytes) else str(value)
