"""We carry out a signed payment ourselves, from a wallet that holds nothing but ether for gas.

Theory of operation
-------------------
A try makes one step and can be repeated at any point: take the wallet's nonce and store a signed transaction; send it;
send it again (the node knows it, or has lost it); replace it by one with higher fees when it is not carried out; give
the nonce back once the chain has used it up. What is sent is always read from the rows. When a payment can no longer be
made while its transaction is still under way, that is replaced by an empty one, so that no nonce is left behind.

Whether the payment was made is not decided here: `sighting` looks at the chain, and does not care who carried it out.
Sources: EIP-1559 (fees; nodes take a replacement from 10 % more on), https://geth.ethereum.org/docs (transaction pool).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import structlog
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from billing.database import Sessions
from billing.settlement_states import SettlementState as S
from billing.settlement_states import Turn
from billing.settling import nonces, records
from billing.settling.records import Key, authorization, key_of
from billing.settling.submitting import Progress, Submission
from billing.settling_tables import GasPurpose, GasTransaction, GasWallet, Settlement
from rails.evm import calls
from rails.evm.answers import Receipt
from rails.evm.calls import Call
from rails.evm.chain import Chain
from rails.evm.gas import GasTerms
from rails.evm.gas import GasWallet as GasKey
from rails.rail import ProviderRefused, RailUnavailable

SEND_AGAIN_AFTER: Final = timedelta(seconds=4)
"""Two blocks of Base: a node that was given a transaction and is asked again has either carried it out or lost it."""
RECEIPT_LATEST: Final = timedelta(minutes=2)
"""When a nonce that was used up is given back although no receipt of ours was found: the key was used elsewhere."""
STEP_BACK_AFTER: Final = timedelta(minutes=1)
"""How long a transaction waits for nonces before its own that we did not use: its node may just be behind."""
GAS_MARGIN_PERCENT: Final = 25
GAS_MAX: Final = 500_000
"""Several times what a passkey's wallet takes: the payer's own code runs in the transfer, and we pay for it."""
CONTRACTS_SHARE: Final = 3
"""Of the hour's gas, payers with code may use one such part together."""
SENDS_MAX: Final = 3
"""How often a payment that failed on the chain is sent: its token was paused, say, or its payer's balance away."""
SENT_FROM: Final = frozenset({S.CLAIMED, S.SETTLING, S.UNKNOWN, S.VANISHED})
CLEARING_GAS: Final = 21_000
RESEND_MAX: Final = 20

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class GasLimits:
    """What may be spent on gas: in any hour, and per unit of gas; and how long a transaction may wait for its block."""

    wei_per_hour: int
    max_fee_wei: int
    bump_after: timedelta = timedelta(seconds=20)


@dataclass(frozen=True, slots=True)
class _Bid:
    """What is offered for a unit of gas: the most in all, and of that the tip."""

    max_fee_wei: int
    tip_wei: int


class OwnSubmitter:
    """Fulfils `submitting.Submitter` with a chain and a key."""

    name: Final = "own"

    def __init__(self, sessions: Sessions, chain: Chain, key: GasKey, *, limits: GasLimits) -> None:
        self._sessions = sessions
        self._chain = chain
        self._key = key
        self._limits = limits

    async def submit(self, row: Settlement, *, now: datetime) -> Submission:
        """One step. See `submitting.Submitter`."""
        wallet = await self._wallet()
        if wallet is not None and wallet.settlement_id not in {None, row.id}:
            # Nobody may look after that payment any more: it is done, or its process has died.
            await self._push_what_is_under_way(wallet, now)
            wallet = await self._wallet()
        if wallet is None or wallet.settlement_id is None:
            return await self._begin(row, now)
        if wallet.settlement_id == row.id:
            return await self._push(wallet, row, now)
        return Submission(Progress.WAITING, "another payment is being carried out")

    async def hashes(self, row: Settlement) -> list[str]:
        """What was signed for the payment, newest first."""
        async with self._sessions() as session:
            signed = await nonces.of_settlement(session, key_of(row))
        return [one.hash for one in signed if one.purpose == GasPurpose.SETTLEMENT]

    async def sends_again(self, row: Settlement) -> bool:
        """`tend` sends what was signed and not withdrawn."""
        async with self._sessions() as session:
            signed = await nonces.of_settlement(session, key_of(row))
        return any(one.refused_at is None for one in signed)

    async def tend(self, *, now: datetime) -> None:
        """Send again what a reorganization threw out, and free a nonce whose settlement does not need it any more."""
        wallet = await self._wallet()
        if wallet is None:
            return
        chain_nonce = await self._chain.nonce_of(self._key.address, pending=False)
        if chain_nonce < wallet.next_nonce:
            await self._send_those_between(chain_nonce, wallet.next_nonce)
        await self._push_what_is_under_way(wallet, now)

    async def _push_what_is_under_way(self, wallet: GasWallet, now: datetime) -> None:
        if wallet.organization_id is not None and wallet.settlement_id is not None:
            row = await records.read(self._sessions, Key(wallet.organization_id, wallet.settlement_id))
            await self._push(wallet, row, now)

    async def _wallet(self) -> GasWallet | None:
        async with self._sessions() as session:
            return await session.get(GasWallet, (self._chain.network.caip2, self._key.address))

    async def _was_tried_enough(self, row: Settlement, *, by_contract: bool) -> bool:
        """Whether it failed in a block as often as it is tried: what fails again costs gas again.

        A payer's code can fail in a transaction and nowhere else, so that is tried once.
        """
        async with self._sessions() as session:
            signed = await nonces.of_settlement(session, key_of(row))
        failed = {one.nonce for one in signed if one.purpose == GasPurpose.SETTLEMENT and one.block_number is not None}
        return len(failed) >= (1 if by_contract else SENDS_MAX)

    def _call(self, row: Settlement, *, by_contract: bool) -> Call | None:
        """The transfer, in the form that the payer's kind of account asks for.

        None when its signature has not that form: an account may have lost its code since it was checked (EIP-7702).
        """
        encoded = calls.transfer_by_bytes if by_contract else calls.transfer_by_parts
        try:
            return Call(sender=self._key.address, to=row.asset, data=encoded(authorization(row), row.signature))
        except ValueError:
            return None

    async def _begin(self, row: Settlement, now: datetime) -> Submission:
        """Take the wallet and store the first transaction, then send it."""
        by_contract = bool(await self._chain.code_of(row.payer))
        if await self._was_tried_enough(row, by_contract=by_contract):
            return Submission(Progress.DOUBTFUL, "it failed on the chain too often to be sent again")
        call = self._call(row, by_contract=by_contract)
        gas = await self._chain.estimate_gas(call) if call is not None else "the payer's account has changed its kind"
        if isinstance(gas, int) and gas > GAS_MAX:
            gas = f"the payer's account takes more than {GAS_MAX} gas to check its signature"
        if call is None or isinstance(gas, str):
            return await self._would_fail(row, str(gas))
        bid = await self._bid(None)
        if bid is None:
            return Submission(Progress.WAITING, "gas costs more than is allowed")
        chain_nonce = await self._chain.nonce_of(self._key.address, pending=False)
        gas_limit = gas * (100 + GAS_MARGIN_PERCENT) // 100
        async with self._sessions() as session, session.begin():
            current = await records.locked(session, key_of(row))
            wallet = await nonces.locked(session, self._chain.network.caip2, self._key.address, now=now)
            if current.state not in SENT_FROM or wallet.settlement_id is not None:
                return Submission(Progress.WAITING, "another process was faster")
            cost_wei = gas_limit * bid.max_fee_wei
            if not await self._may_spend(session, wallet, cost_wei, by_contract=by_contract, now=now):
                return Submission(Progress.WAITING, "the gas for this hour is used up")
            nonce = nonces.take(wallet, key_of(row), chain_nonce=chain_nonce, now=now)
            terms = self._terms(call, nonce, gas_limit, bid)
            transaction = await nonces.store(
                session, wallet, key_of(row), terms, self._key.sign(terms), purpose=GasPurpose.SETTLEMENT,
                by_contract=by_contract, now=now,
            )  # fmt: skip
            records.move(current, Turn.SUBMITTED, now)
        return await self._send(transaction, now)

    async def _may_spend(
        self, session: AsyncSession, wallet: GasWallet, cost_wei: int, *, by_contract: bool, now: datetime
    ) -> bool:
        """Whether the hour's gas allows it. Payers with code have a share of it: their code says what is burnt."""
        most = self._limits.wei_per_hour
        spent = await nonces.spent_in_the_last_hour(session, wallet, by_contracts=False, now=now)
        if spent + cost_wei > most or not by_contract:
            return spent + cost_wei <= most
        spent = await nonces.spent_in_the_last_hour(session, wallet, by_contracts=True, now=now)
        return spent + cost_wei <= most // CONTRACTS_SHARE

    async def _would_fail(self, row: Settlement, reason: str) -> Submission:
        """Refused only if nothing was sent and nobody else has carried it out meanwhile: that may be why."""
        if row.state != S.CLAIMED or await self.hashes(row):
            return Submission(Progress.DOUBTFUL, reason)
        if await self._chain.authorization_state(row.payer, row.nonce):
            return Submission(Progress.WAITING, "the authorization was used or cancelled, and that is not found yet")
        return Submission(Progress.REFUSED, reason)

    async def _push(self, wallet: GasWallet, row: Settlement, now: datetime) -> Submission:
        """Whatever the wallet's transactions under way need next: the nonce given back, sent again, or replaced."""
        async with self._sessions() as session:
            signed = await nonces.sent_with(session, wallet)
        chain_nonce = await self._chain.nonce_of(self._key.address, pending=False)
        if chain_nonce > wallet.next_nonce:
            return await self._used_up(wallet, row, signed, now)
        if not signed:  # withdrawn, by a process that died before it gave the nonce back
            await self._give_back(wallet, row, used=False, now=now)
            return Submission(Progress.WAITING, "the next try takes the nonce again")
        if now - signed[0].created_at >= STEP_BACK_AFTER and await self._step_back(wallet, row, chain_nonce, now):
            return Submission(Progress.WAITING, "the next try takes a nonce that was passed over")
        last = signed[-1]
        # What had arrived is not cleared: a reorganization took it out, or the node that says so is behind.
        is_over = row.valid_before <= now.timestamp() or row.state == S.FAILED
        if is_over and last.purpose != GasPurpose.CLEARING:
            return await self._replace(wallet, row, last, GasPurpose.CLEARING, now)
        if now - last.created_at >= self._limits.bump_after:
            return await self._replace(wallet, row, last, GasPurpose(last.purpose), now)
        if last.sent_at is None or now - last.sent_at >= SEND_AGAIN_AFTER:
            return await self._send(last, now)
        return Submission(Progress.SENT)

    async def _step_back(self, wallet: GasWallet, row: Settlement, chain_nonce: int, now: datetime) -> bool:
        """Give the wallet back at a nonce that nothing was signed with. Whether there was one.

        A node once said that the chain was further than it is. What was signed since waits for the nonces in between,
        and counts like all others when it is carried out after all.
        """
        async with self._sessions() as session, session.begin():
            current = await nonces.locked(session, wallet.network, wallet.address, now=now)
            if (current.settlement_id, current.next_nonce) != (row.id, wallet.next_nonce):
                return False
            passed_over = await nonces.passed_over(session, current, chain_nonce)
            if passed_over is None:
                return False
            log.error("gas_nonce_passed_over", nonce=passed_over, taken=current.next_nonce)
            nonces.give_back(current, used=False, now=now)
            current.next_nonce = passed_over
        return True

    async def _replace(
        self, wallet: GasWallet, row: Settlement, last: GasTransaction, purpose: GasPurpose, now: datetime
    ) -> Submission:
        """The same nonce with higher fees: the payment again, or nothing at all to use the nonce up."""
        bid = await self._bid(last)
        if bid is None:
            log.warning("gas_too_dear", settlement=str(row.id), max_fee_wei=last.max_fee_wei)
            return await self._send(last, now)
        if purpose is GasPurpose.CLEARING:
            terms = GasTerms(
                chain_id=self._chain.network.chain_id, nonce=last.nonce, to=self._key.address, data=b"", value_wei=0,
                gas_limit=CLEARING_GAS, max_fee_wei=bid.max_fee_wei, tip_wei=bid.tip_wei,
            )  # fmt: skip
        else:
            call = self._call(row, by_contract=last.by_contract)
            if call is None:
                return await self._send(last, now)
            terms = self._terms(call, last.nonce, last.gas_limit, bid)
        key = key_of(row)
        async with self._sessions() as session, session.begin():
            current = await nonces.locked(session, wallet.network, wallet.address, now=now)
            if (current.settlement_id, current.next_nonce) != (row.id, last.nonce):
                return Submission(Progress.WAITING, "another process was faster")
            signed = await nonces.sent_with(session, current)
            if signed and signed[-1].hash != last.hash:
                return Submission(Progress.SENT)
            transaction = await nonces.store(
                session, current, key, terms, self._key.sign(terms), purpose=purpose, by_contract=last.by_contract,
                now=now,
            )  # fmt: skip
        log.info("gas_raised", settlement=str(row.id), nonce=last.nonce, max_fee_wei=terms.max_fee_wei, purpose=purpose)
        return await self._send(transaction, now)

    async def _send(self, transaction: GasTransaction, now: datetime) -> Submission:
        """Give a stored transaction to the node. Raises `RailUnavailable` or `OutcomeUnknown`."""
        was_given = await self._mark_sent(transaction, now)
        if was_given is None:
            return Submission(Progress.WAITING, "the transaction was withdrawn meanwhile")
        try:
            await self._chain.send_raw(transaction.raw)
        except ProviderRefused as refused:
            if refused.code == "nonce_too_low":
                return Submission(Progress.SENT, "carried out already, or replaced")
            log.warning("gas_transaction_refused", hash=transaction.hash, code=refused.code)
            if not was_given:
                await self._withdraw(transaction, now)
            return Submission(Progress.WAITING, f"the chain did not take the transaction: {refused.code}")
        except RailUnavailable:
            if not was_given:
                await self._unmark(transaction, now)
            raise
        return Submission(Progress.SENT)

    async def _unmark(self, transaction: GasTransaction, now: datetime) -> None:
        """It certainly did not leave, so that it is as it was: given to nobody."""
        async with self._sessions() as session, session.begin():
            row = await session.get_one(
                GasTransaction, transaction.hash, with_for_update={"key_share": True}, populate_existing=True
            )
            if row.sent_at == now:
                row.sent_at = None

    async def _mark_sent(self, transaction: GasTransaction, now: datetime) -> bool | None:
        """Remember, before it leaves, that it may have been given away. Whether it may have been before.

        None when it was withdrawn: its nonce may be another's now.
        """
        async with self._sessions() as session, session.begin():
            row = await session.get_one(
                GasTransaction, transaction.hash, with_for_update={"key_share": True}, populate_existing=True
            )
            if row.refused_at is not None:
                return None
            was_given, row.sent_at = row.sent_at is not None, now
        return was_given

    async def _withdraw(self, transaction: GasTransaction, now: datetime) -> None:
        """The node has certainly refused what nobody else was ever given: its nonce is free for the next."""
        async with self._sessions() as session, session.begin():
            wallet = await nonces.locked(session, transaction.network, transaction.wallet, now=now)
            row = await session.get_one(
                GasTransaction, transaction.hash, with_for_update={"key_share": True}, populate_existing=True
            )
            if row.sent_at != now:
                return  # another process has given it away meanwhile
            row.refused_at = now
            if (wallet.settlement_id, wallet.next_nonce) == (transaction.settlement_id, transaction.nonce):
                await session.flush()
                if not await nonces.sent_with(session, wallet):
                    nonces.give_back(wallet, used=False, now=now)

    async def _used_up(
        self, wallet: GasWallet, row: Settlement, signed: Sequence[GasTransaction], now: datetime
    ) -> Submission:
        """The chain has used up the nonce: note what it cost, and give the wallet back."""
        receipts = [found for one in signed if (found := await self._chain.receipt(one.hash)) is not None]
        if not receipts and signed and now - signed[-1].created_at < RECEIPT_LATEST:
            return Submission(Progress.SENT, "carried out, and its receipt is not known yet")
        await self._give_back(wallet, row, used=True, now=now, receipts=receipts)
        if any(not one.succeeded for one in receipts):
            return Submission(Progress.DOUBTFUL, "the transaction failed on the chain")
        return Submission(Progress.SENT)

    async def _give_back(
        self, wallet: GasWallet, row: Settlement, *, used: bool, now: datetime, receipts: Sequence[Receipt] = ()
    ) -> None:
        async with self._sessions() as session, session.begin():
            current = await nonces.locked(session, wallet.network, wallet.address, now=now)
            if (current.settlement_id, current.next_nonce) != (row.id, wallet.next_nonce):
                return
            if not used and await nonces.sent_with(session, current):
                return  # taken again meanwhile
            for receipt in receipts:
                transaction = await session.get_one(GasTransaction, receipt.transaction_hash)
                transaction.block_number = receipt.block_number
                transaction.cost_wei = receipt.cost_wei
            nonces.give_back(current, used=used, now=now)

    async def _send_those_between(self, first: int, end: int) -> None:
        query = (
            select(GasTransaction)
            .where(
                col(GasTransaction.network) == self._chain.network.caip2,
                col(GasTransaction.wallet) == self._key.address,
                col(GasTransaction.nonce) >= first,
                col(GasTransaction.nonce) < end,
                col(GasTransaction.refused_at).is_(None),
            )
            .order_by(col(GasTransaction.nonce), col(GasTransaction.max_fee_wei).desc())
            .limit(RESEND_MAX)
        )
        async with self._sessions() as session:
            thrown_out = (await session.exec(query)).all()
        for one in thrown_out:
            try:
                await self._chain.send_raw(one.raw)
            except ProviderRefused as refused:
                log.warning("gas_transaction_refused", hash=one.hash, code=refused.code)

    async def _bid(self, last: GasTransaction | None) -> _Bid | None:
        """What to offer, enough more than `last` to replace it; none when the limit does not allow what it takes."""
        fees, limit = await self._chain.fees(), self._limits.max_fee_wei
        if last is None:
            most, tip = min(2 * fees.base_fee_wei + fees.tip_wei, limit), fees.tip_wei
        else:
            tip = max(fees.tip_wei, last.tip_wei * 9 // 8 + 1)
            most = max(min(2 * fees.base_fee_wei + tip, limit), last.max_fee_wei * 9 // 8 + 1)
        return _Bid(most, min(tip, most)) if fees.base_fee_wei < most <= limit else None

    def _terms(self, call: Call, nonce: int, gas_limit: int, bid: _Bid) -> GasTerms:
        return GasTerms(
            chain_id=self._chain.network.chain_id, nonce=nonce, to=call.to, data=call.data, value_wei=0,
            gas_limit=gas_limit, max_fee_wei=bid.max_fee_wei, tip_wei=bid.tip_wei,
        )  # fmt: skip
