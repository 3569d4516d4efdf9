"""Single spends from Python over 1,000 books with 1, 16, 64 and 256 clients: `python -m bench.single_spends`."""

from __future__ import annotations

from typing import Final

from bench.contenders import tigerbeetle
from bench.contenders.naive import Naive
from bench.contenders.ours import AMOUNT_MAX, Ours
from bench.contenders.tigerbeetle import with_clients
from bench.measuring.claims import Claim, ratio
from bench.measuring.latency import summarize
from bench.measuring.load import amounts, uniform
from bench.measuring.race import race, settle, turn
from bench.measuring.report import Findings
from bench.measuring.running import Options, Row, main
from bench.measuring.stage import Stage
from bench.rounds import Measured

BOOKS: Final = 1_000
NAIVE_CLIENTS: Final = 64


async def measure(stage: Stage, options: Options) -> Findings:
    """Ours with each number of clients, one transaction a request with 64, and what TigerBeetle did elsewhere."""
    ours = await Ours.open(stage, books_=BOOKS)
    naive = await Naive.open(stage, books=BOOKS)
    pick, amount = uniform(BOOKS), amounts(AMOUNT_MAX)
    turns = [
        turn(
            ours,
            lambda: ours.spend(pick(), amount()),
            options,
            clients=clients,
            name=f"{ours.name}, {with_clients(clients)}",
        )
        for clients in tigerbeetle.SINGLES_PER_S
    ]
    turns.append(
        turn(
            naive, lambda: naive.spend(pick(), amount()), options, clients=NAIVE_CLIENTS,
            name=f"{naive.name}, {with_clients(NAIVE_CLIENTS)}",
        )
    )  # fmt: skip
    found = await race(turns, options)
    quoted = {clients: tigerbeetle.singles(clients) for clients in tigerbeetle.SINGLES_PER_S}
    claims = [
        ratio(f"{ours.name} / {other.name}", one, other, first=1)
        for one, other in zip(found, quoted.values(), strict=False)  # the naive one is last
    ]
    claims.append(_p99(found[list(quoted).index(64)]))
    return Findings([*found, *quoted.values()], claims, await settle(ours, naive))


def _p99(measured: Measured) -> Claim:
    latency = summarize(measured.latencies)
    value = 1000 * latency.p99_s if latency else float("inf")
    return Claim(f"p99 of {measured.name}", (value,), first=tigerbeetle.P99_AT_64_MS, at_most=True, unit="ms")


ROW = Row("single_spends", "Single spends from Python, 1,000 books", measure)

if __name__ == "__main__":
    main(ROW)
