"""The commands about the treasury on chain: read what the chain says, show it, book sold USDC and bought ether."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated, Final

import typer

from api.command_line.attached import DataDir, in_house
from api.command_line.console import console
from api.command_line.operators import Reason
from api.command_line.tables import instant
from api.native import Native
from api.reasons import CannotGoOn
from api.wiring import House
from billing.database import snapshot
from billing.operator_actions import COMMAND_LINE
from finance.treasury import booked, booking, reading
from finance.treasury.booked import Position
from finance.treasury.booking import Booked
from finance.treasury.reading import Read
from ledger.money import Currency, usdc
from rails.rail import RailUnavailable

Reference = Annotated[str, typer.Argument(help="Your own name for it, as the number of the trade: booked once.")]
Day = Annotated[datetime | None, typer.Option("--at", help="When, in UTC; now when left out.")]

DIGITS_MAX: Final = 18
"""Of an amount in minor units: what fits into the books."""

treasury_app = typer.Typer(name="treasury", help="The USDC that wallets paid into the treasury.", no_args_is_help=True)


def add_to(app: typer.Typer) -> None:
    """Make the commands known to `purser`."""
    app.add_typer(treasury_app)


@treasury_app.command("read")
def read(
    from_block: Annotated[
        int | None, typer.Option(min=0, help="The first time: where to begin. Later: from where to read again.")
    ] = None,
    data_dir: DataDir = None,
) -> None:
    """Read the treasury's transfers and balance from the chain, up to the newest block that is final."""
    done = in_house(data_dir, lambda house: read_chain(house, from_block))
    at = done.reading
    console().print(
        f"{at.network}: {usdc(at.balance).decimal()} USDC in {at.treasury} at block {at.block_number} "
        f"({instant(at.block_at)}); {done.new_transfers} new transfers.",
        soft_wrap=True,
    )
    if done.blocks_left:
        console().print(f"{done.blocks_left} blocks are left: read again.")


@treasury_app.command("show")
def show(data_dir: DataDir = None) -> None:
    """Show what the treasuries hold as far as they were read, and whether their transfers say the same."""
    out, found = console(), in_house(data_dir, _shown)
    for one in found:
        out.print(f"[bold]{one.network} {one.treasury}[/]", soft_wrap=True)
        for what, said in _lines(one):
            out.print(f"  {what:<12} {said}")
    if not found:
        out.print("no treasury was read")


@treasury_app.command("sold")
def sold(
    reference: Reference,
    *,
    amount: Annotated[str, typer.Option("--usdc", help="How much was sold, as in 1000.00.")],
    received: Annotated[str, typer.Option(help="US dollars that came to the bank.")],
    fee: Annotated[str, typer.Option(help="US dollars of the price that the buyer kept.")] = "0",
    transaction: Annotated[str | None, typer.Option(help="The transaction in which it left the treasury.")] = None,
    reason: Reason,
    at: Day = None,
    data_dir: DataDir = None,
) -> None:
    """Book that USDC was sold for dollars."""

    async def act(house: House) -> Booked:
        sale = booking.Sale(
            network=_native(house).network.caip2,
            reference=reference,
            usdc_atomic=_minor("--usdc", amount, Currency.USDC),
            received_cents=_minor("--received", received, Currency.USD),
            fee_cents=_minor("--fee", fee, Currency.USD),
            transaction_hash=transaction.lower() if transaction is not None else None,
            sold_at=_when(at),
        )
        return await booking.sold_usdc(house.sessions, sale, by=COMMAND_LINE, reason=reason, now=house.clock())

    _tell(reference, in_house(data_dir, act))


@treasury_app.command("bought-ether")
def bought_ether(
    reference: Reference,
    *,
    amount: Annotated[str, typer.Option("--ether", help="How much was bought, as in 0.25.")],
    paid: Annotated[str, typer.Option(help="US dollars that the bank paid for it.")],
    reason: Reason,
    at: Day = None,
    data_dir: DataDir = None,
) -> None:
    """Book that ether was bought to pay for gas."""

    async def act(house: House) -> Booked:
        purchase = booking.Purchase(
            network=_native(house).network.caip2,
            reference=reference,
            gwei=_minor("--ether", amount, Currency.ETH),
            paid_cents=_minor("--paid", paid, Currency.USD),
            bought_at=_when(at),
        )
        return await booking.bought_ether(house.sessions, purchase, by=COMMAND_LINE, reason=reason, now=house.clock())

    _tell(reference, in_house(data_dir, act))


def _tell(reference: str, done: Booked) -> None:
    how = "stood in the platform's book already" if done.replayed else "is in the platform's book"
    console().print(f"{reference} {how}, as operation {done.operation_id}.", soft_wrap=True)


async def read_chain(house: House, from_block: int | None) -> Read:
    """Read the treasury of the settings. Raises `CannotGoOn` with what is missing, or with what the node said."""
    native = _native(house)
    if native.chain is None:
        raise CannotGoOn("No node of the chain is named: set PURSER_X402_RPC_URL.", exit_code=2)
    try:
        return await reading.read(
            house.sessions, native.chain, treasury=native.pay_to, from_block=from_block, now=house.clock()
        )
    except RailUnavailable as why:
        raise CannotGoOn(f"The chain cannot be read now: {why}. What was read before stays.") from None


async def _shown(house: House) -> list[Position]:
    async with snapshot(house.sessions) as session:
        return await booked.positions(session)


def _lines(one: Position) -> list[tuple[str, str]]:
    """What is known of a treasury: what a line is of, and what it says."""
    if one.balance is None or one.opening is None:
        return [("read", "never"), ("booked", f"{one.unread} payments and refunds")]
    return [
        ("read to", f"{instant(one.read_to)}, block {one.block_number}"),
        ("opening", f"{usdc(one.opening).decimal()} at {instant(one.opened_at)}"),
        ("came in", usdc(one.came_in).decimal()),
        ("went out", usdc(one.went_out).decimal()),
        ("balance", usdc(one.balance).decimal()),
        ("unexplained", usdc(one.unexplained).decimal()),
        ("booked", f"{one.matched} of {one.transfers} transfers as payments and refunds"),
    ]


def _native(house: House) -> Native:
    if house.native is None:
        raise CannotGoOn("There is no treasury: set PURSER_X402_NETWORK and PURSER_X402_TREASURY.", exit_code=2)
    return house.native


def _when(at: datetime | None) -> datetime | None:
    return at.replace(tzinfo=UTC) if at is not None else None


def _minor(option: str, amount: str, currency: Currency) -> int:
    """An amount as a person types it, in minor units. Raises `CannotGoOn`."""
    pattern = rf"([0-9]{{1,{DIGITS_MAX - currency.scale}}})(?:\.([0-9]{{1,{currency.scale}}}))?"
    found = re.fullmatch(pattern, amount)
    if found is None:
        raise CannotGoOn(f"{option} is an amount with at most {currency.scale} decimals, as in 5.00.", exit_code=2)
    whole, rest = found.groups(default="")
    return int(whole + rest.ljust(currency.scale, "0"))
