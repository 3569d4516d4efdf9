"""An imagined chain, in memory: blocks, a pool, reorganizations, and a node that fails when told.

It answers what `rails.evm.chain.Chain` answers, as far as settlements ask, and follows the rules that matter: a nonce
of the gas wallet counts once and in order, an authorization is carried out once and only inside its window, and what is
final stays. Nothing here looks at a clock: blocks have the time that they are mined at.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from eth_utils.crypto import keccak
from hexbytes import HexBytes

from rails.evm import recursion

with recursion.limit_kept():
    from eth_account.typed_transactions.typed_transaction import TypedTransaction

from rails.evm.answers import Block, Log, Receipt
from rails.evm.calls import Call
from rails.evm.chain import At, Fees
from rails.evm.eip3009 import AUTHORIZATION_CANCELED, AUTHORIZATION_USED, TRANSFER, Authorization, address_word
from rails.evm.networks import BASE_SEPOLIA, Confirmations
from rails.rail import OutcomeUnknown, ProviderRefused, RailUnavailable
from rails.x402.facilitator import Settled
from rails.x402.terms import NotPayable, Requirement
from tests.crash.plan import Plan

NETWORK = replace(BASE_SEPOLIA, finality=((None, Confirmations(2)),))
FINALIZED_BEHIND = 6
GAS, PRICE_WEI = 60_000, 10**9
_NONCE_AT = 4 + 5 * 32
_STRANGER = "0x" + "77" * 20

Act = Literal["pays", "pays somebody else", "cancels", "nothing"]
Sending = Literal["taken", "taken, and no answer", "swallowed, and no answer", "unreachable", "no ether"]
SENDINGS: tuple[Sending, ...] = ("taken, and no answer", "swallowed, and no answer", "unreachable", "no ether")


class Killed(BaseException):
    """The worker dies here: nothing of it catches this."""


class Dying(Plan):
    """A plan that ends a turn instead of the process, at one of the points, by death or by a node that fails."""

    def __init__(self) -> None:
        super().__init__(None)
        self._node_fails = False

    def arm(self, at: int | None, *, node_fails: bool) -> None:
        """Count from here; at this point it ends. With `node_fails` at the first call to the node from there on."""
        self.points, self.names, self._die_at, self._node_fails = 0, [], at, node_fails

    def disarm(self) -> None:
        """Nothing ends any more; what was passed is still known."""
        self._die_at = None

    def point(self, name: str) -> None:
        self.points += 1
        self.names.append(name)
        if self._die_at is None or self.points < self._die_at:
            return
        if self._node_fails and name.startswith("before the node"):
            self._die_at = None
            raise RailUnavailable("the imagined node is gone")
        if not self._node_fails:
            self._die_at = None
            raise Killed(name)


@dataclass(frozen=True)
class Transaction:
    """What somebody sends: the gas wallet (then with its `gas_nonce` and fee), or anybody else."""

    hash: str
    act: Act
    nonce: bytes = b""
    gas_nonce: int | None = None
    fee_wei: int = 0


@dataclass(frozen=True)
class Mined:
    """A block, and what was in it with whether it succeeded."""

    head: Block
    did: tuple[tuple[Transaction, bool], ...] = ()


@dataclass
class ImaginedChain:
    """`signed`: what can be carried out, by its nonce. `broke`: payers who just then cannot pay."""

    plan: Dying
    now: int
    network: Any = NETWORK
    signed: dict[bytes, Authorization] = field(default_factory=dict)
    broke: set[str] = field(default_factory=set)
    blocks: list[Mined] = field(default_factory=list)
    pool: list[Transaction] = field(default_factory=list)
    sending: Sending = "taken"
    _finalized: int = 0

    def __post_init__(self) -> None:
        self.mine()

    # What happens on it

    def mine(self, blocks: int = 1) -> None:
        """Blocks of now; the first has what waits in the pool and can be carried out."""
        for _ in range(blocks):
            parent = self.blocks[-1].head if self.blocks else Block(-1, "", "", 0, 0)
            number, at = parent.number + 1, max(self.now, parent.timestamp)
            self.blocks.append(Mined(Block(number, _hash(), parent.hash, at, PRICE_WEI)))
            for one in sorted(self.pool, key=lambda one: (one.gas_nonce is not None, one.gas_nonce or 0, -one.fee_wei)):
                if one.gas_nonce in {None, self.gas_nonces()}:
                    self._carry_out(one)
            self.pool = [one for one in self.pool if one.gas_nonce is not None and one.gas_nonce >= self.gas_nonces()]
        self._finalized = max(self._finalized, self.blocks[-1].head.number - FINALIZED_BEHIND)

    def _carry_out(self, one: Transaction) -> None:
        last = self.blocks[-1]
        succeeds = one.act == "nothing" or self.would_fail(one.nonce, last.head.timestamp) is None
        self.blocks[-1] = replace(last, did=(*last.did, (one, succeeds)))

    def stranger(self, act: Act, nonce: bytes) -> str:
        """Somebody else sends something about a signed payment, which waits for the next block; its hash."""
        sent = Transaction(_hash(), act, nonce)
        self.pool.append(sent)
        return sent.hash

    def reorganize(self, depth: int, *, shorter: int, comes_back: bool) -> None:
        """The newest blocks, never one that is final, are replaced by empty ones, `shorter` fewer of them.

        What was in them waits in the pool again (`comes_back`), or nobody has it any more.
        """
        depth = min(depth, len(self.blocks) - 1 - max(self._finalized, 0))
        gone = self.blocks[len(self.blocks) - depth :]
        del self.blocks[len(self.blocks) - depth :]
        waiting, self.pool = self.pool, []
        self.mine(max(depth - shorter, 0))
        self.pool = waiting + [one for block in gone for one, _ in block.did if comes_back]

    # What is so

    def done_with(self, nonce: bytes, *, at: int | None = None) -> Act | None:
        """What became of a signed payment up to a block."""
        upto = self.blocks if at is None else self.blocks[: at + 1]
        return next((one.act for block in upto for one, ok in block.did if ok and one.nonce == nonce != b""), None)

    def gas_nonces(self) -> int:
        """How many transactions of the gas wallet are in blocks."""
        return sum(one.gas_nonce is not None for block in self.blocks for one, _ in block.did)

    def would_fail(self, nonce: bytes, at: int | None = None) -> str | None:
        """Why a transfer would fail in a block of `at` (now), in the token's words; none when it would not."""
        signed = self.signed[nonce]
        if self.done_with(nonce) is not None:
            return "FiatTokenV2: authorization is used or canceled"
        if (self.now if at is None else at) >= signed.valid_before:
            return "FiatTokenV2: authorization is expired"
        return "ERC20: transfer amount exceeds balance" if signed.from_ in self.broke else None

    # What is asked of it

    def _asked(self) -> None:
        self.plan.point("before the node is asked")

    async def block(self, at: At) -> Block | None:
        self._asked()
        if at == "finalized" and self._finalized < 0:
            return None
        number = len(self.blocks) - 1 if at == "latest" else self._finalized if isinstance(at, str) else at
        return self.blocks[number].head if number < len(self.blocks) else None

    async def head(self) -> int:
        self._asked()
        return len(self.blocks) - 1

    async def receipt(self, transaction_hash: str) -> Receipt | None:
        self._asked()
        for block in self.blocks:
            for place, (one, ok) in enumerate(block.did):
                if one.hash == transaction_hash:
                    logs = self._logs(block, one, place) if ok else ()
                    return Receipt(one.hash, block.head.number, block.head.hash, ok, logs, GAS, PRICE_WEI)
        return None

    def _logs(self, block: Mined, one: Transaction, place: int) -> tuple[Log, ...]:
        if one.act == "nothing":
            return ()
        signed, where = self.signed[one.nonce], (one.hash, block.head.number, block.head.hash, False)
        payer, token = address_word(signed.from_), self.network.token_address
        if one.act == "cancels":
            return (Log(token, (AUTHORIZATION_CANCELED, payer, one.nonce), b"", 2 * place, *where),)
        paid = address_word(signed.to if one.act == "pays" else _STRANGER)
        used = Log(token, (AUTHORIZATION_USED, payer, one.nonce), b"", 2 * place, *where)
        return used, Log(token, (TRANSFER, payer, paid), signed.value.to_bytes(32, "big"), 2 * place + 1, *where)

    async def authorization_state(self, payer: str, nonce: bytes, *, at: At = "latest") -> bool:
        self._asked()
        del payer
        return self.done_with(nonce, at=at if isinstance(at, int) else None) is not None

    async def find_authorization_used(self, payer: str, nonce: bytes, *, from_block: int) -> Log | None:
        return self._find(AUTHORIZATION_USED, payer, nonce, from_block)

    async def find_authorization_canceled(self, payer: str, nonce: bytes, *, from_block: int) -> Log | None:
        return self._find(AUTHORIZATION_CANCELED, payer, nonce, from_block)

    def _find(self, topic: bytes, payer: str, nonce: bytes, from_block: int) -> Log | None:
        self._asked()
        wanted = (topic, address_word(payer), nonce)
        for block in self.blocks[from_block:]:
            for place, (one, ok) in enumerate(block.did):
                logs = self._logs(block, one, place) if ok else ()
                if logs and logs[0].topics == wanted:
                    return logs[0]
        return None

    async def code_of(self, address: str) -> bytes:
        self._asked()
        del address
        return b""

    async def estimate_gas(self, call: Call) -> int | str:
        self._asked()
        return self.would_fail(_nonce_in(call.data)) or GAS

    async def nonce_of(self, address: str, *, pending: bool) -> int:
        self._asked()
        del address, pending
        return self.gas_nonces()

    async def fees(self) -> Fees:
        self._asked()
        return Fees(PRICE_WEI, 1)

    async def send_raw(self, signed: bytes) -> str:
        """Raises as the real one does, or as `sending` says."""
        self._asked()
        fields, found = TypedTransaction.from_bytes(HexBytes(signed)).as_dict(), "0x" + keccak(signed).hex()
        nonce = _nonce_in(bytes(fields["data"]))
        sent = Transaction(
            found, "pays" if nonce else "nothing", nonce, int(fields["nonce"]), int(fields["maxFeePerGas"])
        )
        self._take(sent)
        self.plan.point("after the node was given a transaction")
        return found

    def _take(self, sent: Transaction) -> None:
        if self.sending == "unreachable":
            raise RailUnavailable("the imagined node is gone")
        if self.sending == "no ether":
            raise ProviderRefused(code="insufficient_funds", message="no ether")
        if (sent.gas_nonce or 0) < self.gas_nonces():
            raise ProviderRefused(code="nonce_too_low", message="nonce too low")
        rivals = [one for one in self.pool if one.gas_nonce == sent.gas_nonce]
        if any(one.hash != sent.hash and sent.fee_wei * 10 < one.fee_wei * 11 for one in rivals):
            raise ProviderRefused(code="underpriced", message="replacement transaction underpriced")
        if self.sending != "swallowed, and no answer":
            self.pool = [one for one in self.pool if one not in rivals] + [sent]
        if self.sending != "taken":
            raise OutcomeUnknown("the imagined node said nothing")


class ImaginedFacilitator:
    """Carries payments out on the imagined chain, pays the gas, and fails as the chain's `sending` says."""

    def __init__(self, chain: ImaginedChain) -> None:
        self._chain = chain

    async def settle(self, payment: Mapping[str, Any], requirement: Requirement) -> Settled:
        """As the real one; where the chain would say that there is no ether, this one lies."""
        del requirement
        chain = self._chain
        chain.plan.point("before the facilitator is asked")
        nonce = bytes.fromhex(payment["payload"]["authorization"]["nonce"][2:])
        if chain.sending == "unreachable":
            raise RailUnavailable("the imagined facilitator is gone")
        if chain.sending == "no ether":
            return Settled(_hash())
        if chain.would_fail(nonce) is not None:
            raise NotPayable("invalid_exact_evm_transaction_simulation_failed", "it would fail")
        if chain.sending == "swallowed, and no answer":
            raise OutcomeUnknown("the imagined facilitator said nothing")
        transaction_hash = chain.stranger("pays", nonce)
        chain.plan.point("after the facilitator has sent it")
        if chain.sending == "taken, and no answer":
            raise OutcomeUnknown("the imagined facilitator said nothing")
        chain.mine()
        return Settled(transaction_hash)


def _nonce_in(data: bytes) -> bytes:
    return data[_NONCE_AT : _NONCE_AT + 32]


def _hash() -> str:
    return "0x" + secrets.token_hex(32)
