"""A book with 20,000 open lots against a book with one: `python -m bench.open_lots`.

The lots differ in expiry, so that each has its own place in the burn order. In one book they are large and stay open;
in another they are of one credit, and every spend uses one up.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Final
from uuid import UUID

from bench.contenders.ours import Ours
from bench.measuring import books
from bench.measuring.claims import Claim, within_rounds
from bench.measuring.load import SEED, counted_loop
from bench.measuring.race import race, settle
from bench.measuring.report import Findings
from bench.measuring.running import Options, Row, main
from bench.measuring.stage import Stage
from bench.rounds import Turn
from ledger.operations import Operation

CLIENTS: Final = 16
LOTS: Final = 20_000
SPENDS: Final = 2_000
"""A turn: a tenth of the lots of one credit, so that there are many left at the end."""
LARGE: Final = 1_000_000
LIFE: Final = timedelta(days=400)


async def measure(stage: Stage, options: Options) -> Findings:
    """The three books, in turn."""
    ours = await Ours.open(stage, books_=3)
    lots, spends = options.numbers["lots"], options.numbers["spends-a-turn"]
    await books.post_all(ours.sessions, _lots(ours.books[1], lots, LARGE))
    await books.post_all(ours.sessions, _lots(ours.books[2], lots, 1))
    names = ("one lot", f"{lots:,} lots", f"{lots:,} lots of one credit")
    turns = [
        Turn(name, partial(counted_loop, partial(ours.spend, book, 1), clients=CLIENTS, requests=spends))
        for book, name in enumerate(names)
    ]
    found = await race(turns, options)
    claims = [
        Claim(f"time of a spend, {many.name} / one lot", within_rounds(found[0].values, many.values), 2, at_most=True)
        for many in found[1:]
    ]
    return Findings(found, claims, await settle(ours))


def _lots(book: UUID, lots: int, credits_: int) -> Iterator[Operation]:
    """Grants whose order of burning is not the order of granting."""
    soonest = datetime.now(UTC) + LIFE
    order = list(range(lots))
    random.Random(SEED).shuffle(order)  # noqa: S311 - the same order in every run
    return (books.correction(book, credits_, soonest + timedelta(minutes=place)) for place in order)


ROW = Row(
    "open_lots",
    "A book with 20,000 open lots",
    measure,
    {"lots": (LOTS, "open lots of the large books"), "spends-a-turn": (SPENDS, "spends of a turn")},
)

if __name__ == "__main__":
    main(ROW)
