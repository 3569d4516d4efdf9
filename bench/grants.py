"""Grants into the books, fsync on: `python -m bench.grants`. What a purchase costs in the database, without HTTP."""

from __future__ import annotations

from functools import partial
from typing import Final

from bench.contenders.ours import Ours
from bench.measuring import books
from bench.measuring.load import counted_loop, uniform
from bench.measuring.race import race, settle
from bench.measuring.report import Findings
from bench.measuring.running import Options, Row, main
from bench.measuring.stage import Stage
from bench.rounds import Turn

BOOKS: Final = 50
GRANTS: Final = 400
BATCH: Final = 100
CLIENTS: Final = 16


async def measure(stage: Stage, options: Options) -> Findings:
    """One at a time, sixteen at a time, and in batches."""
    ours = await Ours.open(stage, books_=BOOKS)
    pick = uniform(BOOKS)

    async def grant(number: int) -> int:
        await books.post(ours.sessions, [books.purchase(ours.books[pick()]) for _ in range(number)])
        return number

    shapes = (("one a transaction, 1 client", 1, 1), (f"one a transaction, {CLIENTS} clients", 1, CLIENTS))
    turns = [
        Turn(name, partial(counted_loop, partial(grant, size), clients=clients, requests=GRANTS // size))
        for name, size, clients in (*shapes, (f"{BATCH} a transaction, 1 client", BATCH, 1))
    ]
    found = await race(turns, options, unit="grants/s")
    return Findings(found, [], await settle(ours))


ROW = Row("grants", "Grants into the books", measure)

if __name__ == "__main__":
    main(ROW)
