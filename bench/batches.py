"""Batches of 1,000 spends from Python, over 1,000 books and into one: `python -m bench.batches`."""

from __future__ import annotations

from functools import partial
from typing import Final

from bench.contenders import tigerbeetle
from bench.contenders.ours import AMOUNT_MAX, Ours
from bench.measuring.claims import ratio
from bench.measuring.load import amounts, hot, uniform
from bench.measuring.race import race, settle, turn
from bench.measuring.report import Findings
from bench.measuring.running import Options, Row, main
from bench.measuring.stage import Stage

BOOKS: Final = 1_000
ITEMS: Final = 1_000
IN_FLIGHT: Final = 2
"""So that the next batch is made in Python while PostgreSQL works."""


async def measure(stage: Stage, options: Options) -> Findings:
    """Spread and hot, against what TigerBeetle did elsewhere."""
    ours = await Ours.open(stage, books_=BOOKS)
    amount = amounts(AMOUNT_MAX)
    turns = [
        turn(ours, partial(ours.spend_batch, pick, amount, ITEMS), options, clients=IN_FLIGHT, name=name)
        for name, pick in ((f"Purser, spread over {BOOKS:,} books", uniform(BOOKS)), ("Purser, one hot book", hot()))
    ]
    found = await race(turns, options)
    quoted = tigerbeetle.batches()
    claims = [ratio(f"{mine.name} / {quoted.name}", mine, quoted, first=0.3, second=1) for mine in found]
    notes = [f"{IN_FLIGHT} batches of {ITEMS:,} are under way at a time; latencies are of whole batches."]
    return Findings([*found, quoted], claims, await settle(ours), notes)


ROW = Row("batches", "Batches of 1,000 from Python", measure)

if __name__ == "__main__":
    main(ROW)
