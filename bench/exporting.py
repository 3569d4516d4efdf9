"""An export of a month of a million operations: `python -m bench.exporting`, less with `--operations`.

All files with their manifest, as `purser export` writes them: the journal twice, the books for beancount, and the rest.
"""

from __future__ import annotations

import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from api.wiring import async_url
from bench.contenders.ours import AMOUNT_MAX, Ours
from bench.measuring import machine
from bench.measuring.load import amounts, uniform
from bench.measuring.race import settle
from bench.measuring.report import Findings
from bench.measuring.running import Options, Row, main
from bench.measuring.stage import Stage
from bench.rounds import OURS, Measured, no_latencies
from billing.database import engine, sessions
from billing.operator_actions import COMMAND_LINE
from finance.exporting import files, marks, writing
from finance.exporting.reading import reading
from finance.periods import Period

BOOKS: Final = 1_000
ITEMS: Final = 1_000
OPERATIONS: Final = 1_000_000
EXPORTS_MAX: Final = 3


async def measure(stage: Stage, options: Options) -> Findings:
    """Write them in batches, then export their month a few times."""
    ours = await Ours.open(stage, books_=BOOKS)
    operations = options.numbers["operations"]
    pick, amount = uniform(BOOKS), amounts(AMOUNT_MAX)
    for _ in range(operations // ITEMS):
        await ours.spend_batch(pick, amount, ITEMS)
    machine.reset_peak_memory()
    held = machine.peak_memory_bytes()
    seconds: list[float] = []
    size = 0
    for _ in range(min(options.rounds, EXPORTS_MAX)):
        began = time.perf_counter()
        size = await _export(ours)
        seconds.append(time.perf_counter() - began)
    grown = machine.peak_memory_bytes() - held
    found = Measured("export", OURS, "operations/s", tuple(operations / one for one in seconds), no_latencies())
    slowest = max(seconds)
    memory = f"{grown / 2**20:,.0f} MiB of memory"
    notes = [f"{operations:,} operations took at most {slowest:,.1f} s and {memory}; files: {size / 2**20:,.0f} MiB."]
    more = {"operations": operations, "slowest_s": slowest, "memory_bytes": grown, "files_bytes": size}
    return Findings([found], [], await settle(ours), notes, more)


async def _export(ours: Ours) -> int:
    """All files of this month into a folder that is removed; their bytes."""
    now = datetime.now(UTC)
    month = Period.of(now.date())
    marked = await marks.make(ours.sessions, month, by=COMMAND_LINE, reason="bench", now=now)
    wanted = files.files({name: files.ready_map(name) for name in files.READY_MAPS})
    # As the command line does: no time-out but those of the reading.
    connections = engine(async_url(ours.urls.run), connections_max=1, answer_timeout_s=None)
    with tempfile.TemporaryDirectory() as folder:
        async with reading(sessions(connections), marked) as of:
            done = await writing.into_folder(of, wanted.values(), Path(folder), lambda *_: None)
    await connections.dispose()
    return sum(one.size for one in done)


ROW = Row("exporting", "Export a month of a million operations", measure, {"operations": (OPERATIONS, "operations")})

if __name__ == "__main__":
    main(ROW)
