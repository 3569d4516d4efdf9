"""The native x402 rail of this process: its chain, who carries payments out, and whether it can be offered now.

It is offered only while what it needs has been seen to be there: the chain and the token as we know them, and ether for
gas or a facilitator that takes our network. Nobody is asked to sign a payment that could not be carried out.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final

import structlog

from api.reasons import UNUSABLE_SETTINGS, CannotGoOn
from api.screening import DenyList
from api.settings import Settings
from billing.database import Sessions
from billing.packs import NativeTerms, Pack
from billing.requests import Clock
from billing.settling import claiming, gas_costs
from billing.settling.advancing import Desk
from billing.settling.delegating import FacilitatorSubmitter
from billing.settling.own import GasLimits, OwnSubmitter
from billing.settling.screening import Everybody
from billing.settling.submitting import Submitter
from ledger.money import usd
from rails.evm import eip3009
from rails.evm.chain import Chain, WrongChain
from rails.evm.gas import GasWallet
from rails.evm.networks import BASE, NETWORKS, Confirmations, Finality, Network
from rails.rail import RailUnavailable
from rails.x402 import messages
from rails.x402.facilitator import Facilitator, WrongFacilitator, payment_wire
from rails.x402.rail import X402
from rails.x402.terms import Requirement, SignedPayment
from rails.x402.treasury import TreasuryRefunds
from rails.x402.verifying import Verifier, disagreement

GWEI: Final = 10**9
USDC: Final = 10**6
GAS_OF_A_PAYMENT: Final = 150_000
"""Gas that one payment takes at most, for judging whether the gas wallet can still pay for one."""
FIRST_CHECK_S: Final = 5.0
CHECK_AGAIN_S: Final = 30.0
CHECK_SOON_S: Final = 2.0
VERIFYING_AT_ONCE: Final = 8
VERIFYING_WAIT_S: Final = 20.0
LEASE_BEYOND: Final = timedelta(seconds=5)
NOT_CHECKED: Final = "its chain has not been checked yet"

log = structlog.get_logger()


@dataclass
class Standing:
    """Whether the rail can be offered. `reason` says why not, in words for everybody; none when it can."""

    reason: str | None = NOT_CHECKED
    checked: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(frozen=True)
class Native:
    """The rail of this process. `chain`, `treasury` and `gas` are none where a facilitator does without them."""

    network: Network
    pay_to: str
    timeout_s: int
    wait_s: float
    livemode: bool
    rail: X402
    desk: Desk
    chain: Chain | None = field(repr=False)
    chain_for_checks: Chain | None = field(repr=False)
    """The same node over connections of its own: whoever presents payments must not keep those from settling."""
    treasury: TreasuryRefunds | None = field(repr=False)
    """Prepares what goes back to payers, and sees it on the chain."""
    gas: GasWallet | None = field(repr=False)
    facilitator: Facilitator | None = field(repr=False)
    gas_fee_wei_max: int
    standing: Standing = field(default_factory=Standing)
    verifying: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(VERIFYING_AT_ONCE), repr=False)

    @property
    def terms(self) -> NativeTerms:
        """What the catalog says of it."""
        return NativeTerms(self.network.caip2, self.network.token_address, self.pay_to, self.timeout_s)

    @property
    def request(self) -> claiming.Request:
        """How a top-up becomes an order."""
        return claiming.Request(self.rail.prepare, self.rail.start)

    @property
    def lease(self) -> timedelta:
        """For how long the worker leaves a payment alone: as long as its request looks after it, and a bit longer."""
        return timedelta(seconds=self.wait_s) + LEASE_BEYOND

    def requirement(self, pack: Pack) -> Requirement:
        """What a pack is to be paid with."""
        return messages.requirement_for(
            self.network, pay_to=self.pay_to, price=usd(pack.price_cents), timeout_s=self.timeout_s
        )

    async def verified(self, payment: SignedPayment, requirement: Requirement, *, now: datetime) -> claiming.Payable:
        """The payment, if it would settle now. Raises `NotPayable` or `RailUnavailable`."""
        try:
            async with asyncio.timeout(VERIFYING_WAIT_S), self.verifying:
                head_block, balance = await self._checked(payment, requirement, now=now)
        except TimeoutError:
            raise RailUnavailable("too many payments are being checked") from None
        digest = eip3009.digest(payment.authorization, self.network)
        return claiming.Payable(payment, requirement, digest, head_block, balance, self.desk.submitter.name)

    async def _checked(
        self, payment: SignedPayment, requirement: Requirement, *, now: datetime
    ) -> tuple[int, int | None]:
        """From which block on the payment is looked for, and what its payer has, if that is known."""
        if self.chain_for_checks is not None:
            sender = self.gas.address if self.gas is not None else self.pay_to
            verified = await Verifier(self.chain_for_checks, sender=sender).check(payment, requirement, now=now)
            return verified.head_block, verified.balance
        if self.facilitator is not None:
            refused = disagreement(payment, requirement, now=now)
            if refused is not None:
                raise refused
            wire = payment_wire(requirement, payment.authorization, payment.signature, None)
            await self.facilitator.verify(wire, requirement)
        return 0, None

    async def check(self) -> None:
        """Look whether the rail can be offered, and remember it. Raises `WrongChain` or `WrongFacilitator`.

        Those two do not mend themselves; what may be over soon only stands in `standing`.
        """
        try:
            self.standing.reason = await self._reason()
        except (WrongChain, WrongFacilitator) as wrong:
            self.standing.reason = str(wrong)
            raise
        except RailUnavailable as error:
            self.standing.reason = str(error)

    async def _reason(self) -> str | None:
        if self.chain is not None:
            await self.chain.check()
        if self.facilitator is not None:
            await self.facilitator.supported(self.network.caip2)
        if self.chain is not None and self.gas is not None:
            fees = await self.chain.fees()
            if fees.base_fee_wei > self.gas_fee_wei_max:
                return "gas costs more than this service pays"
            # A node takes no transaction that the wallet could not pay at the most that is offered for it.
            most_wei = min(2 * fees.base_fee_wei + fees.tip_wei, self.gas_fee_wei_max)
            if await self.chain.ether_of(self.gas.address) < GAS_OF_A_PAYMENT * most_wei:
                return "the wallet that pays gas is empty"
        return None

    async def book_gas(self, *, now: datetime) -> int:
        """Put into the books what gas has cost. Raises `RailUnavailable`."""
        if self.chain is None:
            return 0
        return await gas_costs.book(self.desk.sessions, self.chain, now=now)

    async def close(self) -> None:
        """Cut off the turns that nobody waits for, and give the connections back."""
        turns = [*self.desk.turns]
        for turning in turns:
            turning.cancel()
        await asyncio.gather(*turns, return_exceptions=True)
        for chain in (self.chain, self.chain_for_checks):
            if chain is not None:
                await chain.aclose()
        if self.facilitator is not None:
            await self.facilitator.aclose()


@asynccontextmanager
async def checked(native: Native | None) -> AsyncIterator[None]:
    """While this lasts, the rail is checked again and again; once before it begins, unless that takes too long."""
    if native is None:
        yield
        return
    checking = asyncio.create_task(_keep_checking(native), name="native-checks")
    try:
        await _first(native)
        yield
    finally:
        checking.cancel()
        await asyncio.gather(checking, return_exceptions=True)


async def _first(native: Native) -> None:
    try:
        async with asyncio.timeout(FIRST_CHECK_S):
            await native.standing.checked.wait()
    except TimeoutError:
        log.warning("native_rail_unavailable", reason=NOT_CHECKED)


async def _keep_checking(native: Native) -> None:
    while True:
        before = native.standing.reason
        try:
            await native.check()
        except (WrongChain, WrongFacilitator) as wrong:
            log.error("native_rail_misconfigured", reason=str(wrong))  # noqa: TRY400 - the sentence says it all
        except Exception:
            native.standing.reason = "its chain cannot be checked"
            log.exception("native_rail_unchecked")
        native.standing.checked.set()
        reason = native.standing.reason
        if reason != before:
            log.info("native_rail", available=reason is None, reason=reason)
        await asyncio.sleep(CHECK_AGAIN_S if reason is None else CHECK_SOON_S)


def build(settings: Settings, sessions: Sessions, *, clock: Clock) -> Native | None:
    """The rail as the settings say; none when they name no chain. Opens no connection. Raises `CannotGoOn`."""
    if settings.x402_network is None or settings.x402_treasury is None:
        return None
    network = _network(settings, NETWORKS[settings.x402_network])
    chain = _chain(settings, network)
    gas, facilitator = _gas_wallet(settings), _facilitator(settings)
    livemode = network.caip2 == BASE.caip2
    treasury = None
    if chain is not None:
        treasury = TreasuryRefunds(chain, treasury=settings.x402_treasury, livemode=livemode, clock=clock)
    rail = X402(
        network, pay_to=settings.x402_treasury, timeout_s=settings.x402_timeout_s, livemode=livemode, clock=clock
    )
    submitter = _submitter(settings, sessions, network, chain=chain, gas=gas, facilitator=facilitator)
    deny_list = settings.x402_deny_list
    desk = Desk(
        sessions=sessions,
        network=network.caip2,
        chain=chain,
        submitter=submitter,
        screening=DenyList(deny_list) if deny_list is not None else Everybody(),
        livemode=livemode,
        clock=clock,
    )
    return Native(
        network=network,
        pay_to=settings.x402_treasury,
        timeout_s=settings.x402_timeout_s,
        wait_s=settings.x402_wait_s,
        livemode=livemode,
        rail=rail,
        desk=desk,
        chain=chain,
        chain_for_checks=_chain(settings, network),
        treasury=treasury,
        gas=gas,
        facilitator=facilitator,
        gas_fee_wei_max=_gas_limits(settings).max_fee_wei,
    )


def _chain(settings: Settings, network: Network) -> Chain | None:
    if settings.x402_rpc_url is None:
        return None
    return Chain(network, settings.x402_rpc_url.get_secret_value(), timeout_s=settings.x402_rpc_timeout_s)


def _network(settings: Settings, network: Network) -> Network:
    if settings.x402_finality is None:
        return network
    try:
        lines = [
            (up_to * USDC if up_to is not None else None, _finality(said)) for up_to, said in settings.x402_finality
        ]
        return replace(network, finality=tuple(lines))
    except ValueError as error:
        raise CannotGoOn(f"PURSER_X402_FINALITY: {error}.", exit_code=UNUSABLE_SETTINGS) from None


def _finality(said: int | str) -> Finality:
    if isinstance(said, int):
        return Confirmations(said)
    return "safe" if said == "safe" else "finalized"


def _gas_wallet(settings: Settings) -> GasWallet | None:
    key = settings.x402_gas_key.get_secret_value() if settings.x402_gas_key is not None else None
    name = "PURSER_X402_GAS_KEY"
    if settings.x402_gas_key_file is not None:
        name = "PURSER_X402_GAS_KEY_FILE"
        try:
            key = settings.x402_gas_key_file.read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise CannotGoOn(
                f"{name} names a file that cannot be read ({type(error).__name__}).", exit_code=UNUSABLE_SETTINGS
            ) from None
    if key is None:
        return None
    try:
        return GasWallet(key.strip())
    except ValueError as error:
        raise CannotGoOn(f"{name}: {error}.", exit_code=UNUSABLE_SETTINGS) from None


def _facilitator(settings: Settings) -> Facilitator | None:
    if settings.x402_facilitator_url is None:
        return None
    token = settings.x402_facilitator_token.get_secret_value() if settings.x402_facilitator_token else None
    try:
        return Facilitator(settings.x402_facilitator_url.get_secret_value(), token=token)
    except ValueError as error:
        raise CannotGoOn(f"PURSER_X402_FACILITATOR_URL: {error}.", exit_code=UNUSABLE_SETTINGS) from None


def _gas_limits(settings: Settings) -> GasLimits:
    return GasLimits(
        wei_per_hour=settings.x402_gas_gwei_per_hour * GWEI,
        max_fee_wei=int(settings.x402_gas_fee_gwei_max * GWEI),
        bump_after=timedelta(seconds=settings.x402_gas_bump_after_s),
    )


def _submitter(
    settings: Settings,
    sessions: Sessions,
    network: Network,
    *,
    chain: Chain | None,
    gas: GasWallet | None,
    facilitator: Facilitator | None,
) -> Submitter:
    if chain is not None and gas is not None:
        return OwnSubmitter(sessions, chain, gas, limits=_gas_limits(settings))
    if facilitator is None:
        raise LookupError("neither a gas wallet nor a facilitator is set")
    return FacilitatorSubmitter(
        sessions, facilitator, network, timeout_s=settings.x402_timeout_s, is_checked=chain is not None
    )
