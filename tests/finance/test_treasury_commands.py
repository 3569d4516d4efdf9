"""The commands of the treasury, as a person types them; in this process, because each is a process otherwise."""

import asyncio
import os

import pytest
from typer.testing import CliRunner

from api.cli import app
from api.reasons import CannotGoOn
from rails.evm.networks import BASE_SEPOLIA
from tests.evm.nodes import Node
from tests.finance.treasuries import DOLLAR, TREASURY, ChainOfTests, paid, sent
from tests.service import HOST, STRIPE_KEY


@pytest.fixture(scope="module")
def treasury_commands(new_databases):
    return new_databases("treasury_commands")


@pytest.fixture
def run(treasury_commands, monkeypatch):
    """`run(argument, …, VARIABLE=value)`: one command of a service with a treasury; what it said, or why it stopped."""
    for name in [name for name in os.environ if name.startswith("PURSER_")]:
        monkeypatch.delenv(name)
    settings = {
        "DATABASE_URL": treasury_commands.run_url,
        "STRIPE_SECRET_KEY": STRIPE_KEY,
        "X402_NETWORK": BASE_SEPOLIA.caip2,
        "X402_TREASURY": TREASURY,
        "X402_FACILITATOR_URL": "http://127.0.0.1:1",
    }

    def typed(*arguments, group=("treasury",), **more):
        for name, value in (settings | more).items():
            monkeypatch.setenv(f"PURSER_{name}", value)
        ended = CliRunner().invoke(app, [*group, *arguments])
        if isinstance(ended.exception, CannotGoOn):
            return f"{ended.exception.exit_code}: {ended.exception}"
        assert ended.exception is None, ended.output
        return " ".join(ended.output.split())

    return typed


async def test_a_treasury_is_read_shown_and_sold_from(run):
    chain = ChainOfTests([paid(10, 9 * DOLLAR), paid(600, 5 * DOLLAR), sent(700, 2 * DOLLAR)])
    async with Node(chain) as node:
        port = node._server.sockets[0].getsockname()[1]

        async def at_node(*arguments, **more):
            return await asyncio.to_thread(run, *arguments, X402_RPC_URL=f"http://{HOST}:{port}", **more)

        said = await at_node("read", "--from-block", "100")
        assert "eip155:84532: 12.000000 USDC in 0xabab" in said
        assert "at block 1000" in said
        assert said.endswith("2 new transfers.")
        assert (
            "opening 9.000000 at 2026-09-21 14:16:40 UTC came in 5.000000 went out 2.000000 balance 12.000000 "
            "unexplained 0.000000 booked 0 of 2 transfers"
        ) in await at_node("show")
        sold = ("sold", "trade-1", "--usdc", "2", "--received", "1.98", "--fee", "0.02", "--reason", "monthly")
        assert "trade-1 is in the platform's book" in await at_node(*sold)
        assert "trade-1 stood in the platform's book already" in await at_node(*sold)
        assert await at_node(*sold[:5], "1.97", *sold[6:]) == (
            "1: The sale trade-1 is booked already, and otherwise: received 1.98 USD, not 1.97 USD. Say the booked "
            "figures to repeat it, or give another trade a reference of its own; what is booked wrong is put right by "
            "resolving its exceptions of `purser reconcile`."
        )
        assert "day 20" in await at_node(*sold, "--at", "2026-09-01"), "the day counts where it is said"
        bought = ("bought-ether", "gas-1", "--ether", "0.25", "--paid", "900", "--reason", "gas", "--at", "2026-10-05")
        assert "gas-1 is in the platform's book" in await at_node(*bought)
        chain.final = 1_200
        reconcile = {"group": ("reconcile", "--no-stripe")}
        assert f"{TREASURY} as of block 1000 (2026" in await at_node("--no-chain", **reconcile)
        assert f"{TREASURY} as of block 1200 (2026-09-21 14:53:20 UTC)" in await at_node(**reconcile)
        chain.final = None
        failed = await at_node(**reconcile)
        assert failed.startswith("1: The chain cannot be read now: the node of eip155:84532 names no")
        assert "Nothing was reconciled; with --no-chain" in failed
        assert f"{TREASURY} as of block 1200" in await at_node("--no-chain", **reconcile)
        assert (await at_node("read")).startswith("1: The chain cannot be read now: the node of eip155:84532 names no")


def test_what_cannot_be_done_is_said_in_a_sentence(run):
    assert run("read") == "2: No node of the chain is named: set PURSER_X402_RPC_URL."
    rest = ("--received", "1.00", "--reason", "r")
    assert run("sold", "t", "--usdc", "1.0000001", *rest).startswith("2: --usdc is an amount with at most 6 decimals")
    assert run("sold", "t", "--usdc", "-1", *rest).startswith("2: --usdc is an amount")
    for odd in ("1e3", "1e999999", "1_000", "+1", "١", ".5", "1.", "", "NaN", "9" * 13):
        assert run("sold", "t", "--usdc", odd, *rest).startswith("2: --usdc is an amount"), odd
    assert run("sold", "t", "--usdc", "0.000001", *rest) == "2: USDC is sold in whole cents, at par."
