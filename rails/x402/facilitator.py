"""A facilitator: somebody else who checks a signed payment and carries it out on the chain, asked over HTTP.

Theory of operation
-------------------
What is sent is rebuilt from what we stored (`payment_wire`); what a client wrote besides never leaves. What comes back
is believed as little as it can be:
| the facilitator | `settle` | `verify` |
| --- | --- | --- |
| says yes, with a hash, of our network, payer and amount | `Settled`: its word, to be checked on the chain | returns |
| says no with a word of `_REFUSED`, and names no transaction | `NotPayable` | `NotPayable` |
| says no because the nonce is used, perhaps by this payment | `OutcomeUnknown` | `NotPayable` |
| says no with another word, or `settlement_pending` | `OutcomeUnknown` | `NotPayable` |
| says that it does not do what we ask (`_NOT_SERVED`) | `RailUnavailable` | `RailUnavailable` |
| refuses our credentials (401, 403), or is busy (429) | `RailUnavailable` | `RailUnavailable` |
| was never reached | `RailUnavailable` | `RailUnavailable` |
| is late, lost, redirecting, failing (5xx) or talking nonsense | `OutcomeUnknown` | `RailUnavailable` |
A "no" is about the one call it answers: whether an earlier call, or a stranger, carried the payment out, or the
facilitator lies, the chain says.

The token stays inside, and travels in a header only, because httpx logs URLs. No error, log line or `repr` of this
module contains it or the URL, nor a word of the facilitator's but those that the protocol has.
Sources: x402-specification-v2.md sections 7 and 9; x402 2.25.0 http/facilitator_client.py, schemas/responses.py,
mechanisms/evm/constants.py and mechanisms/evm/exact/facilitator.py (which word is said before anything is sent).
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any, Final, NoReturn

import httpx
from pydantic_core import from_json

from rails.evm.eip3009 import Authorization
from rails.rail import OutcomeUnknown, RailUnavailable
from rails.x402.terms import NONCE_USED, SCHEME, VERSION, NotPayable, Requirement

CONNECT_TIMEOUT_S: Final = 5.0
TIMEOUT_S: Final = 30.0
"""How long a whole call may take: a facilitator answers when the transaction is in a block, seconds later on Base."""
CONNECTIONS_MAX: Final = 10
KEEP_ALIVE_S: Final = 5.0
"""Shorter than a facilitator's: a call on a connection that the other side is closing would have an unknown outcome."""
BODY_BYTES_MAX: Final = 256 * 1024

_REFUSED: Final = frozenset(
    {
        "eip6492_factory_not_allowed",
        "insufficient_funds",
        "invalid_exact_evm_insufficient_balance",
        "invalid_exact_evm_payload_authorization_valid_after",
        "invalid_exact_evm_payload_authorization_valid_before",
        "invalid_exact_evm_payload_authorization_value",
        "invalid_exact_evm_payload_authorization_value_mismatch",
        "invalid_exact_evm_payload_recipient_mismatch",
        "invalid_exact_evm_payload_signature",
        "invalid_exact_evm_payload_undeployed_smart_wallet",
        "invalid_exact_evm_transaction_simulation_failed",
        "invalid_payload",
        "smart_wallet_deployment_failed",
    }
)
"""Words about the payment that are said before a transfer is sent, so that none was."""
_NOT_SERVED: Final = frozenset(
    {
        "asset_not_deployed_contract",
        "invalid_exact_evm_eip3009_not_supported",
        "invalid_exact_evm_failed_to_get_asset_info",
        "invalid_exact_evm_failed_to_get_network_config",
        "invalid_exact_evm_failed_to_verify_signature",
        "invalid_exact_evm_token_name_mismatch",
        "invalid_exact_evm_token_version_mismatch",
        "invalid_network",
        "invalid_payment_requirements",
        "invalid_scheme",
        "invalid_x402_version",
        "missing_eip712_domain",
        "network_mismatch",
        "unsupported_scheme",
    }
)
"""Words about the facilitator, its node or what we ask for: no payer can mend them, and nothing was sent."""
_UNEXPECTED: Final = "unexpected_verify_error"

_NOTHING_SENT: Final = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
_HASH: Final = re.compile(r"0x[0-9a-fA-F]{64}", re.ASCII)
_TOKEN: Final = re.compile(r"[!-~]+", re.ASCII)


class WrongFacilitator(Exception):
    """The URL is not that of a facilitator, or of one that does not take our payments. Its text is for people."""


@dataclass(frozen=True, slots=True)
class Settled:
    """The facilitator says that the transfer is in a block, under this hash (32 bytes, `0x`, lower case)."""

    transaction_hash: str


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    body: Mapping[str, Any]
    """Empty when what came back is no JSON object."""


@dataclass(frozen=True, slots=True)
class _NoAnswer:
    """`sent` is False when the request certainly did not leave."""

    what: str
    sent: bool


class Facilitator:
    """A facilitator behind a URL. Safe to share between tasks of one event loop."""

    def __init__(self, url: str, *, token: str | None, timeout_s: float = TIMEOUT_S) -> None:
        """`token` is sent as a bearer token; `timeout_s` bounds a whole call. `ValueError`, in words without either."""
        self._base = _base(url)
        self._timeout_s = timeout_s
        connect_s = min(CONNECT_TIMEOUT_S, timeout_s / 3)
        headers = {"Accept": "application/json", "Accept-Encoding": "identity", "Content-Type": "application/json"}
        if token is not None:
            if not _TOKEN.fullmatch(token):
                raise ValueError("the facilitator's token holds what an HTTP header cannot")
            headers["Authorization"] = f"Bearer {token}"
        self._http = httpx.AsyncClient(
            headers=headers,
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
            timeout=httpx.Timeout(timeout_s, connect=connect_s, pool=connect_s),
            limits=httpx.Limits(max_connections=CONNECTIONS_MAX, keepalive_expiry=KEEP_ALIVE_S),
            follow_redirects=False,
            trust_env=False,
        )

    def __repr__(self) -> str:
        return "Facilitator()"

    async def aclose(self) -> None:
        """Close the connections. The facilitator cannot be asked afterwards."""
        await self._http.aclose()

    async def supported(self, network: str) -> None:
        """Check that it takes our payments on `network` (CAIP-2). Raises `WrongFacilitator` or `RailUnavailable`."""
        answer = self._served(await self._ask("GET", "/supported"))
        if answer.status >= 500:
            raise _unavailable(f"answered /supported with HTTP {answer.status}")
        kinds = answer.body.get("kinds")
        if answer.status != 200 or not isinstance(kinds, list):
            raise WrongFacilitator(
                f"what answers at the facilitator's URL is none: /supported gives HTTP {answer.status} without `kinds`"
            )
        if not any(_is_ours(kind, network) for kind in kinds):
            raise WrongFacilitator(f"the facilitator does not take {SCHEME} on {network} of x402 version {VERSION}")

    async def verify(self, payment: Mapping[str, Any], requirement: Requirement) -> None:
        """Ask whether `payment` (a `payment_wire`) would settle. Raises `NotPayable` or `RailUnavailable`."""
        answer = self._served(await self._ask("POST", "/verify", _body(payment, requirement)))
        valid, reason = answer.body.get("isValid"), _word(answer.body, "invalidReason")
        if answer.status == 200 and valid is True:
            return
        if answer.status >= 500 or valid is not False or reason == _UNEXPECTED:
            raise _unavailable(f"answered /verify with HTTP {answer.status} and neither yes nor no")
        _raise_if_not_served(reason)
        known = reason in _REFUSED or reason == NONCE_USED
        raise NotPayable(reason if known else _UNEXPECTED, "the facilitator would not carry this payment out")

    async def settle(self, payment: Mapping[str, Any], requirement: Requirement) -> Settled:
        """Have `payment` (a `payment_wire`) carried out, and wait for it.

        Raises `NotPayable` (this call sent no transfer), `RailUnavailable` (nor did it; it may be called again) or
        `OutcomeUnknown`: then a call with the same payment, or the chain, tells. It never counts twice, by its nonce.
        """
        asked = await self._ask("POST", "/settle", _body(payment, requirement))
        if isinstance(asked, _NoAnswer) and asked.sent:
            _unknown(asked.what)
        answer = self._served(asked)
        success, reason = answer.body.get("success"), _word(answer.body, "errorReason")
        if answer.status == 200 and success is True:
            return _settled(answer.body, payment, requirement)
        if answer.status >= 500 or success is not False or answer.body.get("transaction") not in ("", None):
            _unknown(f"answered /settle with HTTP {answer.status} and no clear yes or no")
        _raise_if_not_served(reason)
        if reason not in _REFUSED:
            _unknown("said no to /settle, without a reason that excludes a transfer")
        raise NotPayable(reason, "the facilitator did not carry this payment out")

    async def _ask(self, method: str, path: str, body: bytes | None = None) -> _Answer | _NoAnswer:
        try:
            async with (
                asyncio.timeout(self._timeout_s),
                self._http.stream(method, self._base + path, content=body) as response,
            ):
                return await _read(response)
        except _NOTHING_SENT as error:
            return _NoAnswer(f"cannot be reached ({type(error).__name__})", sent=False)
        except (TimeoutError, httpx.TimeoutException):
            return _NoAnswer(f"did not answer {path} in time", sent=True)
        except (httpx.HTTPError, OSError) as error:
            return _NoAnswer(f"broke off its answer to {path} ({type(error).__name__})", sent=True)

    @staticmethod
    def _served(asked: _Answer | _NoAnswer) -> _Answer:
        """The answer of a facilitator that lets us in. Raises `RailUnavailable`."""
        if isinstance(asked, _NoAnswer):
            raise _unavailable(asked.what)
        if asked.status in (401, 403):
            raise _unavailable(f"refuses our credentials (HTTP {asked.status})")
        if asked.status == 429:
            raise _unavailable("asks for fewer requests (HTTP 429)")
        return asked


def payment_wire(
    requirement: Requirement, authorization: Authorization, signature: bytes, url: str | None
) -> dict[str, Any]:
    """The protocol's PaymentPayload for a stored payment of `requirement`; `url` is the resource that it pays.

    The signature goes as it was made, whatever its form: a contract wallet may mean something by every byte.
    """
    payment: dict[str, Any] = {
        "x402Version": VERSION,
        "payload": {
            "signature": "0x" + signature.hex(),
            "authorization": {
                "from": authorization.from_,
                "to": authorization.to,
                "value": str(authorization.value),
                "validAfter": str(authorization.valid_after),
                "validBefore": str(authorization.valid_before),
                "nonce": "0x" + authorization.nonce.hex(),
            },
        },
        "accepted": requirement.wire(),
    }
    return payment if url is None else {**payment, "resource": {"url": url}}


def _body(payment: Mapping[str, Any], requirement: Requirement) -> bytes:
    asked = {"x402Version": VERSION, "paymentPayload": payment, "paymentRequirements": requirement.wire()}
    return json.dumps(asked, separators=(",", ":")).encode()


async def _read(response: httpx.Response) -> _Answer | _NoAnswer:
    """The body as it came: whatever it is compressed with, it was asked not to be, and a bomb stays small."""
    body = bytearray()
    async for chunk in response.aiter_raw():
        body += chunk
        if len(body) > BODY_BYTES_MAX:
            return _NoAnswer("answered more than is read", sent=True)
    try:
        said: object = from_json(bytes(body))
    except ValueError:
        said = None
    return _Answer(response.status_code, said if isinstance(said, dict) else {})


def _word(body: Mapping[str, Any], field: str) -> str:
    """The reason of a "no"; empty without one."""
    word = body.get(field)
    return word if isinstance(word, str) else ""


def _raise_if_not_served(reason: str) -> None:
    if reason in _NOT_SERVED:
        raise _unavailable(f"does not serve what we ask: {reason}")


def _settled(body: Mapping[str, Any], payment: Mapping[str, Any], requirement: Requirement) -> Settled:
    """What a "yes" says, if it is about this payment."""
    transaction, payer, amount = body.get("transaction"), body.get("payer"), body.get("amount")
    if not isinstance(transaction, str) or not _HASH.fullmatch(transaction):
        _unknown("said yes to /settle without a transaction's hash")
    if body.get("network") != requirement.network:
        _unknown("said yes to /settle on another network")
    if payer is not None and str(payer).lower() != payment["payload"]["authorization"]["from"].lower():
        _unknown("said yes to /settle for another payer")
    if amount is not None and amount != str(requirement.amount_atomic):
        _unknown("said yes to /settle for another amount")
    return Settled(transaction.lower())


def _is_ours(kind: object, network: str) -> bool:
    """Whether an entry of `kinds` is how we are paid: on our network, or on all of its family (`eip155:*`)."""
    return (
        isinstance(kind, dict)
        and kind.get("x402Version") == VERSION
        and kind.get("scheme") == SCHEME
        and kind.get("network") in (network, network.partition(":")[0] + ":*")
    )


def _base(url: str) -> str:
    """`url` without a slash at its end. Raises `ValueError` without it: a key may stand in its path."""
    try:
        read = httpx.URL(url)
    except httpx.InvalidURL:
        read = httpx.URL()
    if read.scheme not in ("http", "https") or not read.host or read.userinfo or read.query or read.fragment:
        raise ValueError("a facilitator's URL is http(s)://host/path, without a user, a query or a fragment")
    return url.rstrip("/")


def _unavailable(what: str) -> RailUnavailable:
    return RailUnavailable(f"the facilitator {what}")


def _unknown(what: str) -> NoReturn:
    raise OutcomeUnknown(f"the facilitator {what}")
