"""Judging a payment by nodes that are dead, slow or lying."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest
from eth_account import Account

from rails.evm import calls, eip3009
from rails.evm.chain import TIMEOUT_S, TRANSFER_GAS_MAX
from rails.evm.networks import BASE_SEPOLIA
from rails.rail import RailUnavailable
from rails.x402.terms import NotPayable
from rails.x402.verifying import LAG_BLOCKS, Verifier
from tests.evm.nodes import IMPATIENCE_S, PATIENCE_S, SECRET, Node, assert_keeps_the_secret, error, hangs, result
from tests.x402.judging import (
    AMOUNT,
    AUTHORIZATION,
    BY_BALANCE,
    BY_NONCE,
    BY_SIGNATURE,
    BY_SIMULATION,
    NOW,
    PAYMENT,
    REQUIREMENT,
)

KEY = Account.from_key("0x" + "42" * 32)
SENDER = Account.create().address
SIGNED_BY_KEY = replace(AUTHORIZATION, from_=KEY.address)
GOOD = replace(
    PAYMENT,
    authorization=SIGNED_BY_KEY,
    signature=bytes(KEY.unsafe_sign_hash(eip3009.digest(SIGNED_BY_KEY, BASE_SEPOLIA)).signature),
)
STATE, BALANCE = calls.authorization_state(KEY.address, bytes(32))[:4], calls.balance_of(KEY.address)[:4]


ANSWERS = {
    "code": result("0x"),
    "state": result(f"0x{0:064x}"),
    "balance": result(f"0x{AMOUNT:064x}"),
    "head": result("0x3e8"),
    "simulation": result("0x"),
}
"""What a node says that lets the good payment through."""


def honest(method, params):
    return ANSWERS[asked_for(method, params)]


def asked_for(method, params):
    """Which of the five questions of a check this is."""
    if method != "eth_call":
        return {"eth_getCode": "code", "eth_blockNumber": "head"}[method]
    selector = bytes.fromhex(params[0]["data"][2:10])
    return {STATE: "state", BALANCE: "balance"}.get(selector, "simulation")


def saying(what, answer):
    """An honest node but for one question."""
    return lambda method, params: answer if asked_for(method, params) == what else honest(method, params)


async def judged(node):
    return await Verifier(node.chain, sender=SENDER).check(GOOD, REQUIREMENT, now=NOW)


async def test_five_questions_are_asked_and_none_of_a_payment_that_is_not_ours():
    async with Node(honest) as node:
        verified = await judged(node)
        assert verified.head_block == 1000 - LAG_BLOCKS
        simulated = {
            "to": verified.call.to,
            "data": "0x" + verified.call.data.hex(),
            "from": SENDER,
            "gas": hex(TRANSFER_GAS_MAX),
        }
        assert node.asked[-1] == ("eth_call", [simulated, "latest"])
        assert sorted(asked_for(*one) for one in node.asked) == ["balance", "code", "head", "simulation", "state"]
        node.asked.clear()
        with pytest.raises(NotPayable):
            await Verifier(node.chain, sender=SENDER).check(GOOD, REQUIREMENT, now=NOW + timedelta(days=1))
        assert node.asked == []


@pytest.mark.parametrize("what", ["code", "state", "balance", "head", "simulation"])
@pytest.mark.parametrize(
    "junk",
    [result(None), result("hello"), result({}), (503, b"down"), error(-32603, f"internal {SECRET}"), (200, b"<html>")],
    ids=["null", "words", "object", "503", "error", "html"],
)
async def test_a_node_that_does_not_answer_one_question_has_not_said_no(what, junk):
    async with Node(saying(what, junk)) as node:
        with pytest.raises(RailUnavailable) as caught:
            await judged(node)
        assert type(caught.value) is RailUnavailable
        assert_keeps_the_secret(caught.value, node.chain)


@pytest.mark.parametrize("what", ["code", "state", "balance", "head"])
async def test_when_one_question_fails_nobody_waits_for_the_others(what):
    def one_fails(method, params):
        return error(-32603, "internal error") if asked_for(method, params) == what else hangs()

    async with Node(one_fails) as node:
        before = asyncio.all_tasks()
        with pytest.raises(RailUnavailable, match="JSON-RPC error -32603"):
            await asyncio.wait_for(judged(node), timeout=PATIENCE_S / 2)
        ours = {task for task in asyncio.all_tasks() - before if "_serve" not in repr(task)}
        assert not ours


async def test_a_slow_node_is_not_waited_for():
    async with Node(hangs, timeout_s=IMPATIENCE_S) as node:
        with pytest.raises(RailUnavailable, match="in time"):
            await asyncio.wait_for(judged(node), timeout=TIMEOUT_S - 1)


async def test_whoever_gives_up_waiting_leaves_no_question_behind():
    async with Node(hangs) as node:
        before = asyncio.all_tasks()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(judged(node), timeout=0.3)
        assert not {task for task in asyncio.all_tasks() - before if "_serve" not in repr(task)}


@pytest.mark.parametrize(
    ("what", "lie", "word"),
    [
        ("code", result("0x60006000fd"), BY_SIGNATURE),
        ("state", result("0x" + "00" * 31 + "01"), BY_NONCE),
        ("balance", result("0x" + "00" * 32), BY_BALANCE),
        ("simulation", error(3, "execution reverted", data="0x"), BY_SIMULATION),
    ],
)
async def test_a_node_that_lies_can_refuse_a_payment_but_only_before_anything_is_kept(what, lie, word):
    async with Node(saying(what, lie)) as node:
        with pytest.raises(NotPayable) as caught:
            await judged(node)
        assert caught.value.reason == word


async def test_a_keys_signature_is_judged_here_and_not_by_the_node():
    forged = replace(GOOD, authorization=replace(GOOD.authorization, nonce=b"\1" * 32))
    async with Node(honest) as node:
        with pytest.raises(NotPayable) as caught:
            await Verifier(node.chain, sender=SENDER).check(forged, REQUIREMENT, now=NOW)
        assert caught.value.reason == BY_SIGNATURE


async def test_a_head_that_cannot_be_is_no_answer():
    async with Node(saying("head", result(hex(2**63)))) as node:
        with pytest.raises(RailUnavailable, match="too large"):
            await judged(node)
