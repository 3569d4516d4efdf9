"""The hot spot of tb-perf: `python -m bench.zipf`. Zipf 2.0 over 1,000 books, 64 clients: six of ten hit one book.

tb-perf (github softwaremill/tb-perf) draws both accounts of a transfer that way and moves 1 to 1,000.
"""

from __future__ import annotations

from typing import Final

from bench.contenders.naive import Naive
from bench.contenders.ours import AMOUNT_MAX, Ours
from bench.contenders.pgledger import Pgledger
from bench.measuring.claims import ratio
from bench.measuring.load import amounts, zipf
from bench.measuring.race import race, settle, turn
from bench.measuring.report import Findings
from bench.measuring.running import Options, Row, main
from bench.measuring.stage import Stage

CLIENTS: Final = 64
BOOKS: Final = 1_000
EXPONENT: Final = 2.0


async def measure(stage: Stage, options: Options) -> Findings:
    """Ours, pgledger, and one transaction a request, all with the same draws."""
    ours = await Ours.open(stage, books_=BOOKS)
    theirs = await Pgledger.open(stage, accounts=BOOKS, path=options.pgledger)
    naive = await Naive.open(stage, books=BOOKS)
    pick, amount = zipf(BOOKS, EXPONENT), amounts(AMOUNT_MAX)
    turns = [
        turn(ours, lambda: ours.spend(pick(), amount()), options, clients=CLIENTS),
        turn(theirs, lambda: theirs.between(pick), options, clients=CLIENTS),
        turn(naive, lambda: naive.spend(pick(), amount()), options, clients=CLIENTS),
    ]
    found = await race(turns, options)
    claims = [ratio(f"{ours.name} / {theirs.name}", found[0], found[1], first=10)]
    return Findings(found, claims, await settle(ours, theirs, naive), [ours.meter.told()])


ROW = Row("zipf", "The hot spot of tb-perf: zipf 2.0 over 1,000 books, 64 clients", measure)

if __name__ == "__main__":
    main(ROW)
