"""`verify` of a million operations: `python -m bench.verifying`, less with `--operations`.

Half of them stand in one book, the rest is spread over 999: memory must not grow with the longest book.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import cycle
from typing import Final

from bench.contenders.ours import AMOUNT_MAX, Ours
from bench.measuring import machine
from bench.measuring.load import amounts, uniform
from bench.measuring.report import Findings, Verified
from bench.measuring.running import Options, Row, main
from bench.measuring.stage import Stage
from bench.rounds import OURS, Measured, no_latencies

BOOKS: Final = 1_000
ITEMS: Final = 1_000
OPERATIONS: Final = 1_000_000
VERIFICATIONS_MAX: Final = 3


async def measure(stage: Stage, options: Options) -> Findings:
    """Write them in batches, then verify all books a few times."""
    ours = await Ours.open(stage, books_=BOOKS)
    operations = options.numbers["operations"]
    pick, amount = _half_hot(), amounts(AMOUNT_MAX)
    for _ in range(operations // ITEMS):
        await ours.spend_batch(pick, amount, ITEMS)
    rates, problems = [], list[str]()
    machine.reset_peak_memory()
    held = machine.peak_memory_bytes()
    for _ in range(min(options.rounds, VERIFICATIONS_MAX)):
        began = time.perf_counter()
        problems += await ours.check()
        rates.append(operations / (time.perf_counter() - began))
    grown = machine.peak_memory_bytes() - held
    await ours.close()
    found = Measured("verify", OURS, "operations/s", tuple(rates), no_latencies())
    seconds = operations / min(rates)
    notes = [f"{operations:,} operations took at most {seconds:,.1f} s and {grown / 2**20:,.0f} MiB of memory."]
    more = {"operations": operations, "slowest_s": seconds, "memory_bytes": grown}
    return Findings([found], [], [Verified(ours.name, tuple(problems))], notes, more)


def _half_hot() -> Callable[[], int]:
    spread, turns = uniform(BOOKS), cycle((True, False))
    return lambda: 0 if next(turns) else spread()


ROW = Row("verifying", "Verify a million operations", measure, {"operations": (OPERATIONS, "operations to verify")})

if __name__ == "__main__":
    main(ROW)
