"""How much a spend takes on disk, indexes included and nothing vacuumed by us: `python -m bench.bytes_per_spend`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from bench.contenders.ours import AMOUNT_MAX, Ours
from bench.contenders.pgledger import Pgledger
from bench.measuring.claims import Claim
from bench.measuring.load import amounts, counted_loop, uniform
from bench.measuring.race import Request, settle
from bench.measuring.report import Findings
from bench.measuring.running import Options, Row, main
from bench.measuring.stage import Stage
from bench.rounds import Measured, no_latencies

WORKERS: Final = 20
BOOKS: Final = 50
SPENDS: Final = 20_000
UNIT: Final = "bytes/spend"


async def measure(stage: Stage, options: Options) -> Findings:
    """The growth of all tables of each, over the same number of requests."""
    ours = await Ours.open(stage, books_=BOOKS)
    theirs = await Pgledger.open(stage, accounts=BOOKS, path=options.pgledger)
    pick, amount = uniform(BOOKS), amounts(AMOUNT_MAX)
    spends = options.numbers["spends"]

    async def our_bytes() -> int:
        return sum((await ours.sizes()).values())

    before = await ours.sizes()
    mine = await _growth(options, spends, lambda: ours.spend(pick(), amount()), our_bytes)
    other = await _growth(options, spends, theirs.between_any, theirs.bytes)
    after = await ours.sizes()
    by_table = {
        name: round((size - before.get(name, 0)) / (spends * options.rounds), 1)
        for name, size in after.items()
        if size != before.get(name, 0)
    }
    found = [
        Measured(ours.name, ours.origin, UNIT, mine, no_latencies()),
        Measured(theirs.name, theirs.origin, UNIT, other, no_latencies()),
    ]
    claims = [Claim(f"{ours.name}, journal and projections", mine, 450, at_most=True, unit="bytes")]
    notes = ["By table: " + ", ".join(f"{name} {size:,.0f}" for name, size in by_table.items())]
    return Findings(found, claims, await settle(ours, theirs), notes, {"bytes_per_spend_by_table": by_table})


async def _growth(
    options: Options, spends: int, request: Request, size: Callable[[], Awaitable[int]]
) -> tuple[float, ...]:
    """Bytes a request, in each round."""
    found = []
    for _ in range(options.rounds):
        before = await size()
        done = await counted_loop(request, no_latencies(), clients=WORKERS, requests=spends)
        found.append((await size() - before) / done)
    return tuple(found)


ROW = Row(
    "bytes_per_spend",
    "Bytes per spend, indexes included",
    measure,
    {"spends": (SPENDS, "spends of a round")},
)

if __name__ == "__main__":
    main(ROW)
