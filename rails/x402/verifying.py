"""Whether a signed payment would settle: asked before anything is claimed, and again before it is sent.

Theory of operation
-------------------
First what needs nobody else: the payment must be for our requirement, word for word, and its signature good for about
as long as the requirement says. Then the chain, in two steps. One goes out at once: the payer's code, which decides who
may have signed (Circle's `SignatureChecker`: a payer without code is its key, any other is asked by EIP-1271), whether
the nonce is done with, the balance, and the head. The other is the very call that would be sent, simulated from the
account that would send it, which finds what is left: a pause, a blacklist, a token that changed its mind.

A yes is worth what the node is worth, and only for now: what was verified can still fail. A no keeps nothing.
Sources: x402-specification-v2.md section 6.1.2 and 9, specs/schemes/exact/scheme_exact_evm.md, x402 2.25.0
mechanisms/evm/constants.py (the words), https://eips.ethereum.org/EIPS/eip-6492 (wallets that are not there yet).
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from rails.evm import calls, eip3009
from rails.evm.calls import Call
from rails.evm.chain import Chain
from rails.evm.networks import Network
from rails.x402.terms import NONCE_USED, NotPayable, Requirement, SignedPayment

CLOCKS_S: Final = 600
"""How far a payer's clock may be ahead of ours. A signature that is good for longer than that and the requirement's own
time is refused: its settlement would stay open for as long."""
LAG_BLOCKS: Final = 60
"""Two minutes of Base, more than the answers of one check can be apart: a provider is many nodes, some behind."""

_SIGNATURE: Final = "invalid_exact_evm_payload_signature"
_NOT_OURS: Final = "invalid_payment_requirements"
_WINDOW: Final = "invalid_exact_evm_payload_authorization_valid_before"
_FIELDS: Final = {
    "scheme": "unsupported_scheme",
    "network": "network_mismatch",
    "asset": _NOT_OURS,
    "amount": "invalid_exact_evm_payload_authorization_value_mismatch",
    "payTo": "invalid_exact_evm_payload_recipient_mismatch",
    "maxTimeoutSeconds": _NOT_OURS,
}
"""The fields that `accepted` must repeat, and the word for one that it does not."""
_EXTRA: Final = {
    "name": "invalid_exact_evm_token_name_mismatch",
    "version": "invalid_exact_evm_token_version_mismatch",
}
_ADDRESSES: Final = ("asset", "payTo")
_UNDEPLOYED: Final = bytes.fromhex("6492" * 16)
"""How a signature ends of a wallet whose contract is not there yet (EIP-6492)."""

_IN_WORDS: Final[Mapping[eip3009.Disagreement, str]] = {
    "invalid_exact_evm_payload_recipient_mismatch": "the authorization pays somebody else",
    "invalid_exact_evm_payload_authorization_value_mismatch": "the authorization is not for the amount asked for",
    "invalid_exact_evm_payload_authorization_valid_before": "the authorization has expired, or is just about to",
    "invalid_exact_evm_payload_authorization_valid_after": "the authorization is not valid yet",
}


@dataclass(frozen=True, slots=True)
class Verified:
    """A payment that would settle now, by `call`.

    In `head_block` and before, the chain had not done with the nonce: a search for the payment begins there. It is
    `LAG_BLOCKS` behind the head that the node told. `balance` is the payer's, in atomic units.
    """

    head_block: int
    balance: int
    call: Call


@dataclass(frozen=True, slots=True)
class _Seen:
    """What the chain says of a payer and a nonce. `balance` is in atomic units."""

    code: bytes
    done_with: bool
    balance: int
    head: int


def disagreement(payment: SignedPayment, requirement: Requirement, *, now: datetime) -> NotPayable | None:
    """Why `payment` is not for `requirement`, or not for now; None when it is. Pure: who signed is not asked here."""
    refused = _other_offer(payment.accepted, requirement)
    if refused is not None:
        return refused
    authorization = payment.authorization
    word = eip3009.disagreement(authorization, payee=requirement.pay_to, amount=requirement.amount_atomic, now=now)
    if word is not None:
        return NotPayable(word, _IN_WORDS[word])
    if authorization.valid_before > now.timestamp() + requirement.timeout_s + CLOCKS_S:
        return NotPayable(_WINDOW, f"the authorization is valid for more than the {requirement.timeout_s} s asked for")
    return None


def call_for(
    payment: SignedPayment, requirement: Requirement, *, network: Network, sender: str, has_code: bool
) -> Call:
    """The call that carries `payment` out, sent by `sender`. Pure.

    `ValueError` for a requirement of another network or token, and, of a payer without code, for no key's signature.
    """
    if not _is_on(requirement, network):
        raise ValueError(f"a payment on {requirement.network} is not carried out on {network.caip2}")
    encoded = calls.transfer_by_bytes if has_code else calls.transfer_by_parts
    return Call(sender=sender, to=network.token_address, data=encoded(payment.authorization, payment.signature))


class Verifier:
    """Judges payments on one chain. Safe to share between tasks."""

    def __init__(self, chain: Chain, *, sender: str) -> None:
        """`sender` would send the transfer: the gas wallet's address, or any that exists when others send it."""
        self._chain = chain
        self._sender = sender

    async def check(self, payment: SignedPayment, requirement: Requirement, *, now: datetime) -> Verified:
        """Raises `NotPayable` when the payment would not settle, `RailUnavailable` when the node does not say."""
        network = self._chain.network
        if not _is_on(requirement, network):
            raise NotPayable("network_mismatch", f"payments are taken on {network.caip2} only")
        refused = disagreement(payment, requirement, now=now)
        if refused is not None:
            raise refused
        is_signer = eip3009.signer(payment.authorization, payment.signature, network) == payment.authorization.from_
        if not is_signer and not await self._chain.code_of(payment.authorization.from_):
            raise _not_signed(payment)  # junk costs us one question
        seen = await self._see(payment)
        if seen.code:
            await self._check_contract_signature(payment)
        elif not is_signer:
            raise _not_signed(payment)
        if seen.done_with:
            raise NotPayable(NONCE_USED, "the authorization was used or cancelled already")
        if seen.balance < payment.authorization.value:
            raise NotPayable("invalid_exact_evm_insufficient_balance", "the payer has not enough of the token")
        call = call_for(payment, requirement, network=network, sender=self._sender, has_code=bool(seen.code))
        failure = await self._chain.simulate(call)
        if failure is not None:
            word = "invalid_exact_evm_transaction_simulation_failed"
            raise NotPayable(word, f"the transfer would fail: {failure}")
        return Verified(head_block=max(0, seen.head - LAG_BLOCKS), balance=seen.balance, call=call)

    async def _see(self, payment: SignedPayment) -> _Seen:
        """Four questions at once. When one is not answered the others are given up, and its error is raised."""
        payer, nonce = payment.authorization.from_, payment.authorization.nonce
        failure: Exception
        try:
            async with asyncio.TaskGroup() as group:
                code = group.create_task(self._chain.code_of(payer))
                done_with = group.create_task(self._chain.authorization_state(payer, nonce))
                balance = group.create_task(self._chain.balance_of(payer))
                head = group.create_task(self._chain.head())
        except ExceptionGroup as failures:
            failure = failures.exceptions[0]
        else:
            return _Seen(code.result(), done_with.result(), balance.result(), head.result())
        raise failure

    async def _check_contract_signature(self, payment: SignedPayment) -> None:
        authorization = payment.authorization
        digest = eip3009.digest(authorization, self._chain.network)
        if not await self._chain.is_valid_signature(authorization.from_, digest, payment.signature):
            raise NotPayable(_SIGNATURE, "the payer's contract does not accept the signature (EIP-1271)")


def _not_signed(payment: SignedPayment) -> NotPayable:
    """Why a payer without code has not signed this."""
    if payment.signature.endswith(_UNDEPLOYED):
        word = "invalid_exact_evm_payload_undeployed_smart_wallet"
        return NotPayable(word, "the payer's contract is not deployed: deploy it first, and sign again")
    return NotPayable(_SIGNATURE, "the signature is not the payer's")


def _other_offer(accepted: Mapping[str, Any], requirement: Requirement) -> NotPayable | None:
    """Why `accepted` is not our offer. What it says besides is left alone, as the client may add to `extra`."""
    wanted = requirement.wire()
    extra = accepted.get("extra")
    for field, word in _FIELDS.items():
        if not _same(wanted[field], accepted.get(field), is_address=field in _ADDRESSES):
            return NotPayable(word, f"what was accepted has another {field} than what is asked for")
    for field, value in wanted["extra"].items():
        if not isinstance(extra, dict) or not _same(value, extra.get(field)):
            return NotPayable(_EXTRA.get(field, _NOT_OURS), f"what was accepted has another extra.{field}")
    return None


def _same(ours: object, theirs: object, *, is_address: bool = False) -> bool:
    """Equal and of the same type, as in JSON: `true` is not 1. The letters of an address may be of either case."""
    if is_address and isinstance(ours, str) and isinstance(theirs, str):
        return ours.lower() == theirs.lower()
    return type(ours) is type(theirs) and ours == theirs


def _is_on(requirement: Requirement, network: Network) -> bool:
    same_token = _same(requirement.asset, network.token_address, is_address=True)
    return same_token and requirement.network == network.caip2
