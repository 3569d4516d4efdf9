"""What others do and say: Stripe's payouts and report, banks, card holders, and who sends USDC on the chain.

The report and the bank's statement are written from what the pretend Stripe really has, with the faults that the demo
is about: a line that only the report knows, a payout that is short at the bank, and one that never came.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

from api.demo.finance.customers import People
from api.demo.finance.world import World
from api.demo.telling import Failed
from api.postgres.connection import ask
from api.wiring import House
from billing.operator_actions import COMMAND_LINE
from finance.periods import midnight
from finance.treasury import booking
from finance.treasury.booking import Purchase, Sale

CENT: Final = 10_000
"""Atomic units of USDC."""
STRANGE_CENTS: Final = 123
FEE_LINE: Final = "txn_card_updates"
FEE_CENTS: Final = 25
SHORT_CENTS: Final = 30
SHORT, MISSING = 1, 2
"""Which of the payouts is short at the bank, and which never came, from 0."""
LATE_HOUR: Final = 23
LATE_CENTS: Final = 100
BANK_DAYS: Final = timedelta(days=1)
_EXCHANGE: Final = "0x" + "e1" * 20
_SOLD_CENTS: Final = 30_00
_RECEIVED_CENTS: Final = 29_87
_EXCHANGE_FEE_CENTS: Final = 10
_ETHER_GWEI: Final = 10_000_000
_ETHER_CENTS: Final = 25_00
_ETHER_WEI: Final = 10**18
_LINES_MAX: Final = 100
_BOOKED: Final = "SELECT FROM billing.payouts WHERE id = $1 AND complete"


@dataclass(frozen=True)
class Payout:
    """A payout as Stripe tells it."""

    name: str
    cents: int
    lines: int
    arrives_on: date


def dollars(cents: int) -> str:
    """As files and people write it: 12.30."""
    return f"{'-' if cents < 0 else ''}{abs(cents) // 100}.{abs(cents) % 100:02d}"


def paid_out(world: World) -> Payout:
    """Stripe pays out all it has, and tells what it was made of."""
    payout = world.control("POST", "payouts")
    world.quiet()
    world.until(lambda: bool(ask(world.clocks.owner_url, _BOOKED, payout["id"])), f"{payout['id']} is booked")
    lines = [line for line in _lines(world, payout=payout["id"]) if line["reporting_category"] != "payout"]
    return Payout(payout["id"], payout["amount"], len(lines), _at(payout["arrival_date"]).date())


def disputed(people: People, name: str, called: str) -> None:
    """The bank of whoever paid takes the money back, and Stripe its fee."""
    people.world.control("POST", "disputes", payment_intent=people.intent(name, called))
    people.world.quiet()


def decided(people: People, name: str, called: str, how: str) -> None:
    """The dispute of a payment ends: `win` or `lose`."""
    [dispute] = people.world.at_stripe("disputes", payment_intent=people.intent(name, called))["data"]
    people.world.control("POST", f"disputes/{dispute['id']}/{how}")
    people.world.quiet()


def refunded_late(people: People, name: str, called: str) -> str:
    """Somebody refunds a dollar in Stripe's Dashboard late on the last day, and no letter about it arrives.

    Stripe's line of it.
    """
    world = people.world
    world.go_to(world.period.last_day.day, hour=LATE_HOUR)
    world.control("PUT", "deliveries", mode="never")
    refund = world.control("POST", "refunds", payment_intent=people.intent(name, called), amount=LATE_CENTS)
    world.quiet()
    return str(refund["balance_transaction"])


def letters_come(world: World) -> None:
    """The letters about it arrive after all."""
    world.control("PUT", "deliveries", mode="normal")
    events = world.at_stripe("events", limit=_LINES_MAX)["data"]
    since = midnight(world.period.last_day) + timedelta(hours=LATE_HOUR)
    for event in reversed([one for one in events if _at(one["created"]) >= since]):
        world.control("POST", f"events/{event['id']}/deliver")
    world.quiet()


def stripe_report(world: World) -> bytes:
    """The itemized report of all lines, and of one more: a fee that was never booked here."""
    payout_of = {
        line["id"]: payout["id"]
        for payout in world.at_stripe("payouts", limit=_LINES_MAX)["data"]
        for line in _lines(world, payout=payout["id"])
    }
    rows = [
        (
            line["id"],
            f"{_at(line['created']):%Y-%m-%d %H:%M:%S}",
            line["currency"],
            *(dollars(line[name]) for name in ("amount", "fee", "net")),
            line["reporting_category"],
            line["source"] or "",
            payout_of.get(line["id"], ""),
        )
        for line in reversed(_lines(world))
    ]
    fee = dollars(-FEE_CENTS)
    rows.append((FEE_LINE, f"{world.now:%Y-%m-%d %H:%M:%S}", "usd", fee, "0.00", fee, "fee", "", ""))
    header = (
        "balance_transaction_id", "created_utc", "currency", "gross", "fee", "net", "reporting_category", "source_id",
        "automatic_payout_id",
    )  # fmt: skip
    return _csv([header, *rows])


def bank_statement(world: World, payouts: Sequence[Payout]) -> bytes:
    """What the bank says: each payout a day later, the second short, the third not at all; and business of its own."""
    rows = [(date.isoformat(world.period.first_day), "-49.00", "USD", "OFFICE RENT", "")]
    for n, payout in enumerate(payouts):
        if n != MISSING:
            cents = payout.cents - (SHORT_CENTS if n == SHORT else 0)
            day = (payout.arrives_on + BANK_DAYS).isoformat()
            rows.append((day, dollars(cents), "USD", "STRIPE TRANSFER", payout.name))
    if world.chain is not None:
        day = world.period.first_day.replace(day=25).isoformat()
        rows += [
            (day, dollars(_RECEIVED_CENTS), "USD", "EXCHANGE USDC-1", ""),
            (day, dollars(-_ETHER_CENTS), "USD", "EXCHANGE ETH-1", ""),
        ]
    return _csv([("Date", "Amount", "Currency", "Description", "Reference"), *sorted(rows)])


def stranger_sends(world: World) -> str:
    """Somebody sends USDC to the treasury for nothing; the transaction."""
    chain = _chain(world)
    return _send_usdc(world, sender=chain.wallet, to=chain.treasury, cents=STRANGE_CENTS)


def usdc_sold(world: World) -> str:
    """The treasury sells USDC and buys ether, and an operator books both; the transaction of the sale."""
    chain = _chain(world)
    sent = _send_usdc(world, sender=chain.treasury, to=_EXCHANGE, cents=_SOLD_CENTS)

    async def booked(house: House) -> None:
        now = house.clock()
        sale = Sale(chain.network, "USDC-1", _SOLD_CENTS * CENT, _RECEIVED_CENTS, _EXCHANGE_FEE_CENTS, sent, now)
        await booking.sold_usdc(house.sessions, sale, by=COMMAND_LINE, reason="monthly sale", now=now)
        ether = Purchase(chain.network, "ETH-1", _ETHER_GWEI, _ETHER_CENTS, now)
        await booking.bought_ether(house.sessions, ether, by=COMMAND_LINE, reason="gas", now=now)

    world.service.do(booked)
    return sent


def _chain(world: World) -> Any:
    if world.chain is None:
        raise Failed("there is no chain")
    return world.chain


def _send_usdc(world: World, *, sender: str, to: str, cents: int) -> str:
    """A transfer on the pretend chain by whomever: it lets everybody act as anybody, and gives ether for the gas."""
    clocks = world.clocks
    clocks.rpc("anvil_impersonateAccount", sender)
    clocks.rpc("anvil_setBalance", sender, hex(_ETHER_WEI))
    data = f"0xa9059cbb{to[2:].lower():0>64}{cents * CENT:064x}"  # transfer(address,uint256)
    sent = clocks.rpc("eth_sendTransaction", {"from": sender, "to": _chain(world).token, "data": data})
    clocks.rpc("anvil_stopImpersonatingAccount", sender)
    clocks.mine()
    if clocks.rpc("eth_getTransactionReceipt", sent)["status"] != "0x1":
        raise Failed(f"the token refused {sent}")
    return str(sent)


def _lines(world: World, **query: Any) -> list[Any]:
    """Lines of Stripe's balance, the newest first. Raises `Failed` when there are more than one page."""
    page = world.at_stripe("balance_transactions", limit=_LINES_MAX, **query)
    if page["has_more"]:
        raise Failed(f"the month has more than {_LINES_MAX} lines")
    return list(page["data"])


def _at(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _csv(rows: Sequence[Sequence[str]]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue().encode()
