"""Whether a batch costs the same when the journal is long: `python -m bench.growth`, further with `--up-to 5000000`.

At each step the grown journal and a fresh copy with 10,000 operations are sent batches in turn, so that a busy
machine cannot look like a slow journal.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Awaitable, Callable
from typing import Final

from bench.contenders.ours import AMOUNT_MAX, Ours
from bench.measuring.claims import Claim
from bench.measuring.load import amounts, uniform
from bench.measuring.race import settle
from bench.measuring.report import Findings
from bench.measuring.running import Options, Row, main
from bench.measuring.stage import Stage
from bench.rounds import OURS, Latencies, Measured, no_latencies

BOOKS: Final = 1_000
ITEMS: Final = 1_000
STEPS: Final = (10_000, 30_000, 100_000, 300_000, 1_000_000, 2_000_000, 3_000_000, 4_000_000, 5_000_000)
UP_TO: Final = 1_000_000
BUDGET_S: Final = 240
BATCHES_A_ROUND: Final = 4
UNIT: Final = "ms/batch"
_YOUNG: Final = "young"

Send = Callable[[Ours], Awaitable[int]]
"""Sends the next batch to one of the two."""


async def measure(stage: Stage, options: Options) -> Findings:
    """Grow step by step, as far as `up-to` and the budget of time allow."""
    ends = time.perf_counter() + options.numbers["budget-s"]
    send = _sender()
    young = await Ours.open(stage, books_=BOOKS, database=_YOUNG)
    await _grow(young, send, STEPS[0] // ITEMS, ends)
    await young.close()
    grown = await Ours.copy(stage, young, template=_YOUNG, database="grown")
    found: list[Measured] = []
    ratios: list[float] = []
    for step in (step for step in STEPS if step <= options.numbers["up-to"]):
        await _grow(grown, send, (step - grown.done) // ITEMS, ends)
        if grown.done < step:
            break
        fresh = await Ours.copy(stage, young, template=_YOUNG, database=f"fresh_{step}")
        mine, other = await _step(grown, fresh, send, options.rounds * BATCHES_A_ROUND, step)
        await fresh.close()
        stage.drop(f"fresh_{step}")
        found += [mine, other]
        ratios.append(statistics.median(mine.values) / statistics.median(other.values))
    claims = [Claim("slowest step against a fresh journal", (max(ratios),), first=1.2, at_most=True)]
    steps = ", ".join(f"{one.name} {value:.2f} ×" for one, value in zip(found[::2], ratios, strict=True))
    notes = [f"Against a fresh journal: {steps}. The journal ended with {grown.done:,} spends."]
    return Findings(found, claims, await settle(grown), notes, {"operations": grown.done})


def _sender() -> Send:
    pick, amount = uniform(BOOKS), amounts(AMOUNT_MAX)
    return lambda to: to.spend_batch(pick, amount, ITEMS)


async def _grow(ours: Ours, send: Send, batches: int, ends: float) -> None:
    """Post so many batches, or as many as there is time for."""
    for _ in range(batches):
        if time.perf_counter() > ends:
            return
        await send(ours)


async def _step(grown: Ours, fresh: Ours, send: Send, batches: int, step: int) -> tuple[Measured, Measured]:
    """Batches into the grown journal and the fresh one, in turn; the first of each is not counted."""
    times: tuple[Latencies[float], Latencies[float]] = (no_latencies(), no_latencies())
    for number in range(batches + 1):
        for who, seconds in zip((grown, fresh), times, strict=True):
            began = time.perf_counter()
            await send(who)
            if number:
                seconds.append(time.perf_counter() - began)
    mine, other = (tuple(1000 * one for one in seconds) for seconds in times)
    return (
        Measured(f"{step:,} operations", OURS, UNIT, mine, times[0]),
        Measured(f"fresh journal beside {step:,}", OURS, UNIT, other, no_latencies()),
    )


ROW = Row(
    "growth",
    "Cost of a batch as the journal grows",
    measure,
    {"up-to": (UP_TO, "operations in the journal at the end"), "budget-s": (BUDGET_S, "seconds for growing")},
)

if __name__ == "__main__":
    main(ROW)
