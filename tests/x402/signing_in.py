"""What the tests of signing in with a wallet share: challenges, signed headers, and the stock Python client."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping
from datetime import datetime
from types import ModuleType
from typing import Any
from unittest.mock import patch

import httpx

from rails.evm import recursion

with recursion.limit_kept():
    from eth_account.messages import encode_defunct
    from eth_account.signers.local import LocalAccount
    from x402 import x402Client
    from x402.extensions.sign_in_with_x import CreateSIWxClientExtensionOptions, create_siwx_client_extension
    from x402.http.clients import x402HttpxClient

from tests.service import ANSWER_S, Agent, error_of
from tests.x402.paying import decoded, encoded

PATH = "/v1/x402/sign-in"
HEADER = "SIGN-IN-WITH-X"
LINES = (("Expiration Time", "expirationTime"), ("Not Before", "notBefore"), ("Request ID", "requestId"))


def text_of(fields: Mapping[str, Any]) -> str:
    """The text of EIP-4361 as it stands there, for fields under their names on the wire."""
    said = [f"{fields['domain']} wants you to sign in with your Ethereum account:", fields["address"], ""]
    said += [fields["statement"], ""] if fields.get("statement") is not None else [""]
    said += [f"URI: {fields['uri']}", f"Version: {fields['version']}"]
    said += [f"Chain ID: {fields['chainId'].removeprefix('eip155:')}", f"Nonce: {fields['nonce']}"]
    said += [f"Issued At: {fields['issuedAt']}"]
    said += [f"{name}: {fields[key]}" for name, key in LINES if fields.get(key) is not None]
    said += ["Resources:", *(f"- {each}" for each in fields["resources"])] if fields.get("resources") else []
    return "\n".join(said)


def asked_by(client: httpx.Client, *, token: str | None = None) -> dict[str, Any]:
    """The fields that a fresh challenge has, from the header that stock clients read; for linking with a token."""
    answer = client.post(PATH, headers=bearing(token))
    error_of(answer, 402, "SIGN_IN_REQUIRED")
    declared = decoded(answer.headers["payment-required"])["extensions"]["sign-in-with-x"]
    return {**declared["info"], **declared["supportedChains"][0]}


def signed(account: LocalAccount, fields: Mapping[str, Any], **sent: Any) -> str:
    """A header with these fields, signed by the account; `sent` are changed after it was signed."""
    given = {"address": account.address, **fields}
    signature = account.sign_message(encode_defunct(text=text_of(given))).signature
    return encoded({**given, "signature": "0x" + bytes(signature).hex(), **sent})


def bearing(token: str | None) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"} if token is not None else {}


def send(client: httpx.Client, header: str, *, token: str | None = None) -> httpx.Response:
    return client.post(PATH, headers={HEADER: header, **bearing(token)})


def link(client: httpx.Client, account: LocalAccount, agent: Agent, **fields: Any) -> httpx.Response:
    """The answer to linking the account's wallet, or that of the `address` given, to the agent."""
    header = signed(account, {**asked_by(client, token=agent.token), **fields})
    return send(client, header, token=agent.token)


def at(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def refused_as(answer: httpx.Response, reason: str) -> None:
    assert error_of(answer, 403, "SIGN_IN_REFUSED")["recovery"]["reason"] == reason


def sign_in_with_python(url: str, account: LocalAccount, *, token: str | None = None) -> httpx.Response:
    """The answer that the stock Python client gets by itself."""
    # The client writes its text with a package that needs an older web3 than ours.
    written = ModuleType("siwe")
    written.SiweMessage = _SiweMessage  # type: ignore[attr-defined]

    async def asks() -> httpx.Response:
        client = x402Client()
        client.register_extension(create_siwx_client_extension(CreateSIWxClientExtensionOptions(signers=[account])))
        async with x402HttpxClient(client, timeout=ANSWER_S) as http:
            answer: httpx.Response = await http.post(url + PATH, headers=bearing(token))
            return answer

    with patch.dict(sys.modules, {"siwe": written}):
        return asyncio.run(asks())


class _SiweMessage:
    """The one method of `siwe` that the client uses."""

    def __init__(self, **fields: Any) -> None:
        self._fields = fields

    def prepare_message(self) -> str:
        wire = {
            "issuedAt": "issued_at", "expirationTime": "expiration_time", "notBefore": "not_before",
            "requestId": "request_id",
        }  # fmt: skip
        told = {name: self._fields[ours] for name, ours in wire.items()}
        return text_of({**self._fields, **told, "chainId": f"eip155:{self._fields['chain_id']}"})
