"""A purchase over x402, and what of its time is not the chain's: `python -m bench.x402_purchases`.

A wallet that nobody knows asks for a pack, signs what the 402 says and sends it: verified, claimed, sent to the chain,
looked for, granted, answered with a token. One after another, each wallet a new one; the chain makes a block at once.
The chain's own is the time in which it is being asked, and the pause after sending, in which its block is waited for.
The rest is the service's: HTTP, checking the signature, the claim, the grant in the books, and the client's few calls.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from statistics import median
from typing import Any, Final
from urllib.parse import urlsplit

import httpx

from bench.measuring import books
from bench.measuring.claims import ratio
from bench.measuring.report import Findings, Verified
from bench.measuring.running import Options, Row, main
from bench.measuring.stage import Stage
from bench.rounds import OURS, Latencies, Measured, no_latencies
from bench.serving import processes
from bench.serving.chain_clock import ChainClock, chain_clock
from billing.settling.advancing import DRIVE_EVERY
from rails.evm import recursion
from rails.x402 import messages

with recursion.limit_kept():
    from sandbox import wallet
    from sandbox.chain import keys, token
    from sandbox.chain.node import Node

TOP_UP: Final = "/v1/x402/top-up/taster-100"
PURCHASES: Final = 8
GAS_GWEI_PER_HOUR: Final = "1000000000"
TIMEOUT_S: Final = 60.0
ASK_AGAIN_S: Final = 0.1
HALF: Final = 0.5
PLENTY: Final = "10000000"


@dataclass(slots=True)
class Purchases:
    """What purchases took, in seconds: all of it, the calls of the chain, the pauses after sending, what is left."""

    whole: Latencies[float] = field(default_factory=no_latencies)
    calls: Latencies[float] = field(default_factory=no_latencies)
    pauses: Latencies[float] = field(default_factory=no_latencies)
    rest: Latencies[float] = field(default_factory=no_latencies)
    asked: list[int] = field(default_factory=list)
    """How many calls of the chain each took."""


async def measure(stage: Stage, options: Options) -> Findings:
    """Rounds of purchases, the first of which does not count."""
    urls = await stage.books("purser_x402")
    async with AsyncExitStack() as running:
        told = running.enter_context(processes.chain())
        node = Node(told["rpc_url"])
        clock = await running.enter_async_context(chain_clock(int(urlsplit(told["rpc_url"]).port or 0)))
        port = running.enter_context(processes.purser(urls, **_settings(told, clock)))
        await processes.answers(port)
        service = f"http://{processes.HOST}:{port}"
        http = await running.enter_async_context(
            httpx.AsyncClient(base_url=service, timeout=TIMEOUT_S, trust_env=False)
        )
        await _offered(http)
        purchases = options.numbers["purchases"]
        await _round(http, node, clock, purchases)
        rounds = [await _round(http, node, clock, purchases) for _ in range(options.rounds)]
        node.close()
        kept = books.Kept.at(urls)
        problems = await books.problems(kept.sessions, spends=0)
        await kept.close()
    return _findings(rounds, problems)


def _settings(told: dict[str, str], clock: ChainClock) -> dict[str, str]:
    """A service that is paid on the chain, through the clock; without a worker, which would ask the chain meanwhile."""
    return {
        "PURSER_X402_NETWORK": told["network"],
        "PURSER_X402_RPC_URL": clock.url,
        "PURSER_X402_TREASURY": told["treasury"],
        "PURSER_X402_GAS_KEY": told["gas_key"],
        "PURSER_X402_GAS_GWEI_PER_HOUR": GAS_GWEI_PER_HOUR,
        "PURSER_PAYMENTS_PER_MINUTE": PLENTY,
        "PURSER_WORKER": "false",
    }


async def _offered(http: httpx.AsyncClient) -> None:
    """Until a payment is asked for. Raises `TimeoutError`."""
    deadline = time.monotonic() + processes.START_TIMEOUT_S
    while (await http.post(TOP_UP)).status_code != 402:
        if time.monotonic() > deadline:
            raise TimeoutError("the service offers no payment over x402")
        await asyncio.sleep(ASK_AGAIN_S)


async def _round(http: httpx.AsyncClient, node: Node, clock: ChainClock, purchases: int) -> Purchases:
    found = Purchases()
    for _ in range(purchases):
        payer = keys.fresh()
        owner = (await asyncio.to_thread(node.rpc, "eth_accounts"))[0]
        await asyncio.to_thread(token.mint, node.rpc, owner=owner, to=payer.address, atomic=token.DOLLAR)
        await _purchase(http, clock, payer.private, found)
    return found


async def _purchase(http: httpx.AsyncClient, clock: ChainClock, key: str, found: Purchases) -> None:
    """One, measured but for what the wallet does. Raises `RuntimeError` when it is not answered with a grant."""
    clock.calls.clear()
    began = time.perf_counter()
    unpaid = await http.post(TOP_UP)
    asked_s = time.perf_counter() - began
    required = messages.decoded(unpaid.headers[messages.PAYMENT_REQUIRED], name=messages.PAYMENT_REQUIRED)
    payment: dict[str, Any] = wallet.payment(required, key, now=int(time.time()))
    began = time.perf_counter()
    paid = await http.post(TOP_UP, headers={messages.PAYMENT_SIGNATURE: messages.encoded(payment)})
    whole = asked_s + time.perf_counter() - began
    if paid.status_code != 200 or "token" not in paid.json()["data"]:
        raise RuntimeError(f"a purchase was answered {paid.status_code}: {paid.text[:500]}")
    calls, pauses = clock.in_calls_s(), clock.until_next_s(at_most=DRIVE_EVERY.total_seconds())
    found.whole.append(whole)
    found.calls.append(calls)
    found.pauses.append(pauses)
    found.rest.append(whole - calls - pauses)
    found.asked.append(len(clock.calls))


def _findings(rounds: list[Purchases], problems: list[str]) -> Findings:
    whole = _measured("a whole purchase", [one.whole for one in rounds])
    calls = _measured("… the chain being asked", [one.calls for one in rounds])
    pauses = _measured("… waiting for its block", [one.pauses for one in rounds])
    rest = _measured("… without the chain's own", [one.rest for one in rounds])
    claims = [ratio("without the chain's own / a whole purchase", rest, whole, first=HALF, at_most=True)]
    asked = median(number for one in rounds for number in one.asked)
    notes = [f"A purchase asks the chain {asked:.0f} times.", ""]
    return Findings([whole, calls, pauses, rest], claims, [Verified("Purser", tuple(problems))], notes)


def _measured(name: str, rounds: list[Latencies[float]]) -> Measured:
    together = no_latencies()
    for one in rounds:
        together.extend(one)
    return Measured(name, OURS, "ms", tuple(1000 * median(one) for one in rounds), together)


ROW = Row(
    "x402_purchases",
    "A purchase over x402, without the chain's own",
    measure,
    {"purchases": (PURCHASES, "purchases in a round")},
)

if __name__ == "__main__":
    main(ROW)
