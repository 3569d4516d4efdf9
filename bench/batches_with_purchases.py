"""Batches of spends while purchases are granted to the same books: `python -m bench.batches_with_purchases`.

A purchase is posted as billing does it: through a session, in a transaction of its own, open loop at a fixed rate.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from bench.contenders.ours import AMOUNT_MAX, Ours
from bench.measuring import books
from bench.measuring.claims import ratio
from bench.measuring.load import Pick, amounts, hot, uniform
from bench.measuring.race import race, settle, turn
from bench.measuring.report import Findings
from bench.measuring.running import Options, Row, main
from bench.measuring.stage import Stage
from bench.rounds import Latencies, Measured, Turn, Work, no_latencies

BOOKS: Final = 1_000
ITEMS: Final = 1_000
IN_FLIGHT: Final = 2
PURCHASES_PER_S: Final = 20
PURCHASES_AT_ONCE_MAX: Final = 16
"""A purchase that is not granted in time holds back the next ones."""


@dataclass(frozen=True, slots=True)
class Purchases:
    """Purchases by some of the books, `per_s` a second; `granted` collects how long each one took."""

    ours: Ours
    pick: Pick
    per_s: int
    granted: Latencies[float] = field(repr=False)

    async def beside(self, work: Work, latencies: Latencies[float]) -> int:
        """Do `work` while purchases are granted, and wait for those that have begun."""
        ended = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._buy(ended))
            try:
                return await work(latencies)
            finally:
                ended.set()

    async def _buy(self, ended: asyncio.Event) -> None:
        room = asyncio.Semaphore(PURCHASES_AT_ONCE_MAX)
        async with asyncio.TaskGroup() as group:
            while not ended.is_set():
                await room.acquire()
                group.create_task(self._one(room))
                with suppress(TimeoutError):  # the pause until the next one; the end does not wait for it
                    await asyncio.wait_for(ended.wait(), 1 / self.per_s)

    async def _one(self, room: asyncio.Semaphore) -> None:
        began = time.perf_counter()
        try:
            await books.post(self.ours.sessions, [books.purchase(self.ours.books[self.pick()])])
        finally:
            room.release()
        self.granted.append(time.perf_counter() - began)


async def measure(stage: Stage, options: Options) -> Findings:
    """Each workload without and with purchases."""
    ours = await Ours.open(stage, books_=BOOKS)
    granted, amount = no_latencies(), amounts(AMOUNT_MAX)
    per_s = options.numbers["purchases-per-second"]
    turns = []
    for name, pick in (("spread", uniform(BOOKS)), ("one hot book", hot())):
        batch = partial(ours.spend_batch, pick, amount, ITEMS)
        alone = turn(ours, batch, options, clients=IN_FLIGHT, name=f"{name}, alone")
        buying = Purchases(ours, pick, per_s, granted)
        turns += [alone, Turn(f"{name}, with purchases", partial(buying.beside, alone.work))]
    found = await race(turns, options)
    claims = [
        ratio(f"{mine.name} / {alone.name}", mine, alone, first=0.8)
        for alone, mine in zip(found[::2], found[1::2], strict=True)
    ]
    turns_of_buying = 2 * (options.rounds + 1)
    rate = len(granted) / (turns_of_buying * options.seconds)
    purchases = Measured("purchases meanwhile", ours.origin, "purchases/s", (rate,), granted)
    notes = [f"{per_s} purchases a second were asked for, and {len(granted):,} granted."]
    return Findings([*found, purchases], claims, await settle(ours), notes)


ROW = Row(
    "batches_with_purchases",
    "Batches of 1,000 while purchases are granted",
    measure,
    {"purchases-per-second": (PURCHASES_PER_S, "purchases granted meanwhile")},
)

if __name__ == "__main__":
    main(ROW)
