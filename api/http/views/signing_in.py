"""What a wallet is asked to sign to come back by it, for x402 clients and for those who do it by hand. Pure."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import urlsplit

from billing import wallets
from billing.identity import Actor
from ledger.ids import external
from rails.x402.messages import encoded
from rails.x402.signing_in import HEADER, Challenge, SignIn, declaration, message_of
from rails.x402.terms import VERSION

PATH: Final = "/v1/x402/sign-in"
ADDRESS: Final = "ADDRESS"
SIGNATURE: Final = "SIGNATURE"
STATEMENT: Final = (
    "Sign in with the wallet that pays here. Its agent gets a new token and all older ones end. Nothing is paid."
)
LINK_STATEMENT: Final = (
    "Link this wallet for good to the agent {agent}: what it pays without a token buys credits for that agent, and "
    "signing in with it gives a token of that agent. Nothing is paid."
)
_DESCRIPTION: Final = "Sign in with the wallet that paid; nothing is to be paid."
_HOW: Final = (
    f"Write the wallet's address, in EIP-55 letters, for {ADDRESS} in text and fields; sign the text (personal_sign, "
    f"EIP-191) and write the signature in hex for {SIGNATURE}; send the request again with the fields, as JSON in "
    "base64, in the header."
)
_PORTS: Final = {"http": 80, "https": 443}


def domain_of(public_url: str) -> str:
    """Our host as browsers and x402 clients write it: in small letters, with the port unless it is the scheme's own."""
    parts = urlsplit(public_url)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname or ""
    return host if parts.port in {None, _PORTS.get(parts.scheme)} else f"{host}:{parts.port}"


def origin_of(public_url: str) -> str:
    """Scheme, host and port, as in `https://purser.example`."""
    return f"{urlsplit(public_url).scheme}://{domain_of(public_url)}"


def request_id_of(linking: Actor | None) -> str | None:
    """The request id (EIP-4361) of a text that links a wallet to this actor's agent; signing in has none."""
    return f"link:{external('agt', linking.agent_id)}" if linking is not None else None


def asked(made: wallets.Challenge, public_url: str, network: str, *, linking: Actor | None) -> Challenge:
    """What is to be signed with a nonce, for the service at `public_url`; `network` is CAIP-2.

    It is for linking the wallet to the agent of `linking`, else for signing in: neither serves for the other.
    """
    return Challenge(
        domain=domain_of(public_url),
        uri=origin_of(public_url) + urlsplit(public_url).path + PATH,
        statement=STATEMENT if linking is None else LINK_STATEMENT.format(agent=external("agt", linking.agent_id)),
        nonce=made.nonce,
        issued_at=made.issued_at,
        expires_at=made.expires_at,
        network=network,
        request_id=request_id_of(linking),
    )


def payment_required(challenge: Challenge) -> str:
    """The challenge as stock x402 clients take it, in `PAYMENT-REQUIRED`: `accepts` is empty, so nobody pays for it."""
    return encoded(
        {
            "x402Version": VERSION,
            "error": _DESCRIPTION,
            "resource": {"url": challenge.uri, "description": _DESCRIPTION, "mimeType": "application/json"},
            "accepts": [],
            "extensions": declaration(challenge),
        }
    )


def by_hand(challenge: Challenge) -> dict[str, Any]:
    """The same challenge for the `recovery`: the text to sign and the fields to send back."""
    fields = {
        **challenge.info(),
        "chainId": challenge.network,
        "type": "eip191",
        "address": ADDRESS,
        "signature": SIGNATURE,
    }
    unsigned = SignIn(
        domain=challenge.domain,
        address=ADDRESS,
        uri=challenge.uri,
        chain_id=challenge.network,
        nonce=challenge.nonce,
        issued_at=fields["issuedAt"],
        statement=challenge.statement,
        expiration_time=fields["expirationTime"],
        not_before=None,
        request_id=challenge.request_id,
        resources=(),
        signature=b"",
    )
    return {"sign_in": {"header": HEADER, "text": message_of(unsigned), "fields": fields, "how": _HOW}}
