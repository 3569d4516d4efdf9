"""The USDC of the tests: our contract at Base Sepolia's official address, and accounts that pay with it."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field, replace
from typing import Any

from eth_abi.abi import decode, encode
from eth_account import Account
from eth_account.signers.local import LocalAccount
from eth_utils.address import to_checksum_address

from sandbox.chain import token as on_chain
from sandbox.chain.token import ADDRESS, NAME, VERSION, artefact, call_data
from tests.evm.anvil import CHAIN_ID, Anvil, RpcError

__all__ = [
    "ADDRESS",
    "CANCEL_BYTES",
    "CANCEL_VRS",
    "NAME",
    "RECEIVE_BYTES",
    "RECEIVE_VRS",
    "TRANSFER_BYTES",
    "TRANSFER_VRS",
    "TYPES",
    "VERSION",
    "Authorization",
    "Payer",
    "Token",
    "artefact",
    "call_data",
    "new_contract_payer",
    "new_payer",
    "place_token",
]

AUTHORIZATION_WINDOW_S = 600
_AUTHORIZED = "(address,address,uint256,uint256,uint256,bytes32,"
TRANSFER_BYTES = f"transferWithAuthorization{_AUTHORIZED}bytes)"
TRANSFER_VRS = f"transferWithAuthorization{_AUTHORIZED}uint8,bytes32,bytes32)"
RECEIVE_BYTES = f"receiveWithAuthorization{_AUTHORIZED}bytes)"
RECEIVE_VRS = f"receiveWithAuthorization{_AUTHORIZED}uint8,bytes32,bytes32)"
CANCEL_BYTES = "cancelAuthorization(address,bytes32,bytes)"
CANCEL_VRS = "cancelAuthorization(address,bytes32,uint8,bytes32,bytes32)"
_TRANSFER_FIELDS = [
    {"name": "from", "type": "address"},
    {"name": "to", "type": "address"},
    {"name": "value", "type": "uint256"},
    {"name": "validAfter", "type": "uint256"},
    {"name": "validBefore", "type": "uint256"},
    {"name": "nonce", "type": "bytes32"},
]
TYPES = {
    "TransferWithAuthorization": _TRANSFER_FIELDS,
    "ReceiveWithAuthorization": _TRANSFER_FIELDS,
    "CancelAuthorization": [{"name": "authorizer", "type": "address"}, {"name": "nonce", "type": "bytes32"}],
}


@dataclass(frozen=True)
class Authorization:
    """An EIP-3009 authorization of any of the three kinds; `value` is in atomic units, times are seconds."""

    payer: str
    to: str
    value: int
    valid_after: int
    valid_before: int
    nonce: bytes
    signature: bytes = field(default=b"", repr=False)

    @property
    def message(self) -> dict[str, Any]:
        """What is signed, under the names of the EIP; the cancelling names are there too."""
        return {
            "from": self.payer,
            "to": self.to,
            "value": self.value,
            "validAfter": self.valid_after,
            "validBefore": self.valid_before,
            "nonce": self.nonce,
            "authorizer": self.payer,
        }

    @property
    def vrs(self) -> tuple[int, bytes, bytes]:
        return self.signature[64], self.signature[:32], self.signature[32:64]

    def call(self, signature: str) -> str:
        """The call of one of this module's six signatures."""
        who = self.payer, self.nonce
        terms = self.payer, self.to, self.value, self.valid_after, self.valid_before, self.nonce
        signed = (self.signature,) if signature.endswith(",bytes)") else self.vrs
        return call_data(signature, *(who if signature.startswith("cancel") else terms), *signed)


@dataclass(frozen=True)
class Token:
    """The contract at `address`, and what its owner, an unlocked account, may do with it. Amounts are atomic."""

    chain: Anvil
    address: str
    name: str
    version: str
    owner: str

    @property
    def domain(self) -> dict[str, Any]:
        """The EIP-712 domain that payers sign under."""
        return {
            "name": self.name,
            "version": self.version,
            "chainId": CHAIN_ID,
            "verifyingContract": self.address,
        }

    def read(self, signature: str, returns: str, *arguments: Any) -> Any:
        """The one value of a view function: `read("balanceOf(address)", "uint256", address)`."""
        answer = self.chain.rpc("eth_call", {"to": self.address, "data": call_data(signature, *arguments)}, "latest")
        return decode([returns], bytes.fromhex(answer[2:]))[0]

    def send(self, data: str, *, sender: str | None = None, succeeds: bool = True) -> dict[str, Any]:
        """The receipt of a transaction of an unlocked account (the owner), which is in a block and did `succeeds`."""
        call = {"from": sender or self.owner, "to": self.address, "data": data}
        receipt = self.chain.receipt(self.chain.rpc("eth_sendTransaction", call))
        assert receipt["status"] == hex(succeeds), self.refusal(data, sender=sender)
        return receipt

    def refusal(self, data: str, *, sender: str | None = None) -> str | None:
        """Why the contract would refuse this call now; None when it would not."""
        try:
            self.chain.rpc("eth_call", {"from": sender or self.owner, "to": self.address, "data": data}, "latest")
        except RpcError as error:
            return str(error)
        return None

    def fund(self, address: str, atomic: int) -> None:
        self.send(call_data("mint(address,uint256)", address, atomic))

    def balance(self, address: str) -> int:
        return int(self.read("balanceOf(address)", "uint256", address))

    def used(self, authorization: Authorization) -> bool:
        """Whether the authorization was used or cancelled."""
        who = authorization.payer, authorization.nonce
        return bool(self.read("authorizationState(address,bytes32)", "bool", *who))

    def pause(self) -> None:
        self.send(call_data("pause()"))

    def unpause(self) -> None:
        self.send(call_data("unpause()"))

    def blacklist(self, address: str) -> None:
        self.send(call_data("blacklist(address)", address))

    def unblacklist(self, address: str) -> None:
        self.send(call_data("unBlacklist(address)", address))


@dataclass(frozen=True)
class Payer:
    """An account that pays with the token; `address` is its own or its contract wallet's."""

    account: LocalAccount
    token: Token
    address: str

    def authorize(
        self,
        *,
        to: str,
        value: int,
        valid_after: int = 0,
        valid_before: int | None = None,
        nonce: bytes | None = None,
        kind: str = "TransferWithAuthorization",
    ) -> Authorization:
        """Signed by the account, for ten minutes of the chain's time unless told otherwise, under a random nonce."""
        terms = Authorization(
            payer=self.address,
            to=to,
            value=value,
            valid_after=valid_after,
            valid_before=self.token.chain.now + AUTHORIZATION_WINDOW_S if valid_before is None else valid_before,
            nonce=secrets.token_bytes(32) if nonce is None else nonce,
        )
        types = {kind: TYPES[kind]}
        message = {entry["name"]: terms.message[entry["name"]] for entry in TYPES[kind]}
        signed = self.account.sign_typed_data(self.token.domain, types, message)
        return replace(terms, signature=bytes(signed.signature))


def place_token(chain: Anvil, *, address: str = ADDRESS, name: str = NAME, version: str = VERSION) -> Token:
    """Put the contract at the address, where nothing of ours may be yet."""
    token = Token(chain=chain, address=address, name=name, version=version, owner=chain.unlocked[0])
    on_chain.place(chain.rpc, owner=token.owner, address=address, name=name, version=version)
    return token


def new_payer(token: Token, *, atomic: int) -> Payer:
    """A fresh account with this much of the token and no ether at all."""
    account = Account.create()
    token.fund(account.address, atomic)
    return Payer(account=account, token=token, address=account.address)


def new_contract_payer(token: Token, *, atomic: int) -> Payer:
    """A fresh contract wallet (EIP-1271) with this much of the token, and the key of its owner."""
    account = Account.create()
    code = artefact("Wallet1271")["bytecode"] + encode(["address"], [account.address]).hex()
    deployment = token.chain.rpc("eth_sendTransaction", {"from": token.owner, "data": code})
    address = to_checksum_address(token.chain.receipt(deployment)["contractAddress"])
    token.fund(address, atomic)
    return Payer(account=account, token=token, address=address)
