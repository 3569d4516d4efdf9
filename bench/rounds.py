"""Interleaved rounds on a shared machine: only ratios of one run are worth comparing."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Awaitable, Callable, Mapping

ROUNDS = 5


async def compare(workloads: Mapping[str, Callable[[], Awaitable[int]]], *, base: str) -> str:
    """Run every workload `ROUNDS` times, one after another in turn, and write a table of rates and ratios to `base`.

    A workload does its work and answers how many things it did.
    """
    rates: dict[str, list[float]] = {name: [] for name in workloads}
    for _ in range(ROUNDS):
        for name, work in workloads.items():
            began = time.perf_counter()
            done = await work()
            rates[name].append(done / (time.perf_counter() - began))
    reference = statistics.median(rates[base])
    lines = [
        f"{ROUNDS} interleaved rounds, {os.cpu_count()} cores, load average {os.getloadavg()[0]:.1f}",
        "",
        "| workload | per second (median) | spread | ratio |",
        "| --- | --- | --- | --- |",
    ]
    for name, found in rates.items():
        middle = statistics.median(found)
        lines.append(f"| {name} | {middle:,.0f} | {min(found):,.0f} - {max(found):,.0f} | {middle / reference:.1f} |")
    return "\n".join(lines)
