"""The business of the month, day by day: fixed amounts, one customer for each thing that can become of a payment.

    Aurora     pays by card: credits used, credits expired, a whole refund, a dispute that is won
    Borealis   pays USDC into deposits of Stripe; gets a gift, uses much, lets the rest expire
    Cassini    pays by card: a hold, a refund in part, a dispute that is open when the month ends
    Draco      pays by card, uses it at once and disputes it: it is lost, what is owed is written off
    Eridani    a wallet that pays over x402, where there is a chain

One credit costs a cent, and lives for 20 days. So nothing that is left when the month ends was bought before its 9th
day, and the figures are the same in a month of 28 days and in one of 31.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import httpx

from api.demo.agent import expect
from api.demo.finance import outsiders
from api.demo.finance.customers import DEPOSIT, People, sign_up, wallet_pays
from api.demo.telling import Step

NAMES: Final = ("Aurora", "Borealis", "Cassini", "Draco", "Eridani")


@dataclass
class Scene:
    """Who is there, and what was kept for later: payouts, the stranger's transaction, the line of the late refund."""

    people: People
    connections: dict[str, httpx.Client]
    payouts: list[outsiders.Payout]
    stranger: str = ""
    late: str = ""


@dataclass(frozen=True)
class Day:
    """What happens on a day. `on_chain`: only where there is a chain."""

    day: int
    title: str
    act: Callable[[Scene, Step], None]
    on_chain: bool = False


def _first(scene: Scene, step: Step) -> None:
    people = scene.people
    for name in NAMES[:4]:
        made = sign_up(people, scene.connections[name], name)
        step.say(name, made.organization_id)
    people.buy("Aurora", 2500, called="first")
    people.buy("Cassini", 1000, called="first", tax=80)
    gift = {"cause": "promotional", "credits": 300, "expires_in_days": 10}
    people.ada.do("grants", reason="welcome", organization_id=people["Borealis"].organization_id, **gift)
    step.say("Aurora, by card", "2500 credits for 25.00")
    step.say("Cassini, by card", "1000 credits for 10.00, and 0.80 of sales tax")
    step.say("Borealis", "300 credits as a gift, for 10 days")


def _deposit(scene: Scene, step: Step) -> None:
    scene.people.buy("Borealis", 5000, called="first", method=DEPOSIT)
    step.say("Borealis, USDC deposit", "5000 credits for 50.00")


def _wallet(scene: Scene, step: Step) -> None:
    settled = wallet_pays(scene.people, scene.connections["Eridani"], "Eridani", "studio-5000")
    scene.people["Eridani"].spend(1700)
    step.say("Eridani, over x402", "5000 credits for 50.00 USDC, straight to the treasury")
    step.say("transaction", settled["transaction"])
    step.say("Eridani uses", "1700 credits")


def _used(scene: Scene, step: Step) -> None:
    scene.people["Aurora"].spend(700)
    scene.people["Cassini"].hold_and_capture(300, 180)
    step.say("Aurora uses", "700 credits")
    step.say("Cassini holds", "300 credits; the work costs 180")


def _bought_in_error(scene: Scene, step: Step) -> None:
    scene.people.buy("Aurora", 1000, called="in error")
    step.say("Aurora, by card", "1000 credits for 10.00")


def _refunded(scene: Scene, step: Step) -> None:
    attempt = scene.people["Aurora"].payments["in error"]["payment_attempt_id"]
    scene.people.ada.do("operator/refunds", reason="bought in error", payment_attempt_id=attempt)
    scene.people.world.quiet()
    step.say("refunded", "10.00, all of it; Stripe keeps its fee")


def _paid_out(scene: Scene, step: Step) -> None:
    found = outsiders.paid_out(scene.people.world)
    scene.payouts.append(found)
    step.say(found.name, f"{outsiders.dollars(found.cents)} leave Stripe, made of {found.lines} lines")


def _much_used(scene: Scene, step: Step) -> None:
    scene.people["Borealis"].spend(1234)
    step.say("Borealis uses", "1234 credits, first the 300 that were given")


def _bought_more(scene: Scene, step: Step) -> None:
    scene.people.buy("Cassini", 2000, called="more")
    step.say("Cassini, by card", "2000 credits for 20.00")


def _refunded_in_part(scene: Scene, step: Step) -> None:
    attempt = scene.people["Cassini"].payments["more"]["payment_attempt_id"]
    scene.people.ada.do("operator/refunds", reason="goodwill", payment_attempt_id=attempt, amount_cents=500)
    scene.people.world.quiet()
    step.say("refunded", "5.00 of 20.00, and 500 of the 2000 credits are taken back")


def _draco_buys(scene: Scene, step: Step) -> None:
    scene.people.buy("Draco", 500, called="stolen")
    scene.people["Draco"].spend(400)
    step.say("Draco, by card", "500 credits for 5.00, and uses 400 at once")


def _draco_disputes(scene: Scene, step: Step) -> None:
    outsiders.disputed(scene.people, "Draco", "stolen")
    step.say("withdrawn by the bank", "5.00, and a fee of 15.00")
    step.say("taken from Draco", "100 credits that it had; 400 are owed")


def _aurora_buys(scene: Scene, step: Step) -> None:
    scene.people.buy("Aurora", 3000, called="third")
    step.say("Aurora, by card", "3000 credits for 30.00")


def _aurora_disputes(scene: Scene, step: Step) -> None:
    outsiders.disputed(scene.people, "Aurora", "third")
    step.say("withdrawn by the bank", "30.00, and a fee of 15.00; 3000 credits are taken for as long as it lasts")


def _deposit_again(scene: Scene, step: Step) -> None:
    scene.people.buy("Borealis", 4000, called="second", method=DEPOSIT)
    step.say("Borealis, USDC deposit", "4000 credits for 40.00")


def _used_again(scene: Scene, step: Step) -> None:
    scene.people["Aurora"].spend(600)
    scene.people["Cassini"].spend(500)
    step.say("used", "600 credits by Aurora, 500 by Cassini")


def _draco_loses(scene: Scene, step: Step) -> None:
    outsiders.decided(scene.people, "Draco", "stolen", "lose")
    scene.people["Borealis"].spend(3000)
    step.say("Draco's dispute", "is lost")
    step.say("Borealis uses", "3000 credits")


def _cassini_buys(scene: Scene, step: Step) -> None:
    scene.people.buy("Cassini", 1500, called="late")
    step.say("Cassini, by card", "1500 credits for 15.00")


def _aurora_wins(scene: Scene, step: Step) -> None:
    outsiders.decided(scene.people, "Aurora", "third", "win")
    step.say("Aurora's dispute", "is won: 30.00 and the 3000 credits are back, the fee is not")


def _stranger_sends(scene: Scene, step: Step) -> None:
    scene.stranger = outsiders.stranger_sends(scene.people.world)
    step.say("a stranger sends", "1.23 USDC to the treasury, for nothing (fault 4)")
    step.say("transaction", scene.stranger)


def _expired(scene: Scene, step: Step) -> None:
    people, left = scene.people, {"Aurora": 3000, "Borealis": 4000, "Cassini": 3000, "Draco": 0}
    for name, credits_ in left.items():
        step.say(f"left to {name}", expect(people[name].agent.credits(), credits_, f"credits of {name}"))


def _written_off(scene: Scene, step: Step) -> None:
    attempt = scene.people["Draco"].payments["stolen"]["payment_attempt_id"]
    scene.people.ada.do(f"operator/owed/{attempt}/write-off", reason="stolen card, nobody to ask")
    step.say("written off", "400 credits that Draco owes, 4.00")


def _usdc_sold(scene: Scene, step: Step) -> None:
    sent = outsiders.usdc_sold(scene.people.world)
    step.say("sold", "30.00 USDC; the bank gets 29.87, the exchange keeps 0.10")
    step.say("transaction", sent)
    step.say("bought", "0.01 ether for gas, for 25.00")


def _bought_twice(scene: Scene, step: Step) -> None:
    scene.people.buy("Aurora", 2500, called="fourth")
    scene.people.buy("Borealis", 2000, called="third", method=DEPOSIT)
    step.say("Aurora, by card", "2500 credits for 25.00")
    step.say("Borealis, USDC deposit", "2000 credits for 20.00")


def _cassini_disputes(scene: Scene, step: Step) -> None:
    outsiders.disputed(scene.people, "Cassini", "late")
    step.say("withdrawn by the bank", "15.00, and a fee of 15.00; nothing is decided when the month ends")


def _last(scene: Scene, step: Step) -> None:
    scene.people.buy("Aurora", 500, called="last")
    scene.people["Aurora"].spend(900)
    scene.people["Borealis"].spend(1250)
    step.say("Aurora, by card", "500 credits for 5.00, which no payout takes this month")
    step.say("used", "900 credits by Aurora, 1250 by Borealis")


CALENDAR: Final = (
    Day(1, "Customers sign up, buy and are given", _first),
    Day(2, "A wallet pays Stripe's deposit address", _deposit),
    Day(3, "A wallet pays by itself, over x402", _wallet, on_chain=True),
    Day(4, "Credits are used; a hold is captured", _used),
    Day(5, "A purchase in error …", _bought_in_error),
    Day(6, "… is refunded in full", _refunded),
    Day(7, "The first payout", _paid_out),
    Day(8, "A larger purchase …", _bought_more),
    Day(9, "… is refunded in part", _refunded_in_part),
    Day(10, "Much is used", _much_used),
    Day(11, "A stolen card buys, and uses at once", _draco_buys),
    Day(12, "Its holder disputes it", _draco_disputes),
    Day(13, "Aurora buys again", _aurora_buys),
    Day(14, "The second payout", _paid_out),
    Day(15, "Aurora's bank disputes too", _aurora_disputes),
    Day(16, "Another deposit", _deposit_again),
    Day(17, "Credits are used", _used_again),
    Day(18, "The first dispute is lost", _draco_loses),
    Day(19, "Cassini buys again", _cassini_buys),
    Day(20, "The second dispute is won", _aurora_wins),
    Day(20, "A stranger sends USDC", _stranger_sends, on_chain=True),
    Day(21, "The third payout", _paid_out),
    Day(23, "What was bought first has expired", _expired),
    Day(23, "What Draco owes is written off", _written_off),
    Day(24, "USDC is sold, ether is bought", _usdc_sold, on_chain=True),
    Day(25, "Two more purchases", _bought_twice),
    Day(26, "Cassini's bank disputes", _cassini_disputes),
    Day(27, "The fourth payout", _paid_out),
    Day(28, "The last business of the month", _last),
)
