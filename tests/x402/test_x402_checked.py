"""The chain and the token are compared with what we know of them, and until they agree nobody is asked to pay."""

import pytest

from rails.evm.chain import WrongChain
from tests.service import error_of
from tests.x402.rpc_proxy import changed, dead
from tests.x402.till import till_open

NAME, VERSION, DECIMALS = "0x06fdde03", "0x54fd4d50", "0x313ce567"
LOCAL = "eip155:31337"


def text(said):
    """A string as a contract returns it."""
    return "0x" + f"{32:064x}{len(said):064x}" + said.encode().hex().ljust(64, "0")


def told(selector, answer):
    """A node on which the token answers one question otherwise."""

    def behave(ask, params):
        return answer if params[0]["data"] == selector else ask()

    return behave


WRONG = {
    "chain id": ("eth_chainId", changed(lambda _: hex(8453)), "the chain id should be 84532 and is 8453"),
    "name": ("eth_call", told(NAME, text("USD Coin")), "token's name should be 'USDC' and is 'USD Coin'"),
    "version": ("eth_call", told(VERSION, text("1")), "token's version should be '2' and is '1'"),
    "decimals": ("eth_call", told(DECIMALS, "0x" + "00" * 31 + "12"), "token's decimals should be 6 and is 18"),
    "code": ("eth_getCode", changed(lambda _: "0x"), "there is no contract at the token's address"),
}


@pytest.fixture
async def till(open_till, bad_node):
    return await open_till(x402_rpc_url=bad_node.url)


@pytest.mark.parametrize(("method", "behavior", "reason"), WRONG.values(), ids=WRONG.keys())
async def test_another_chain_or_token_than_we_know_takes_no_payments(till, bad_node, method, behavior, reason):
    payment, before = till.sign(till.onchain.payer()), till.counts()
    with bad_node.faulty(method, behavior):
        with pytest.raises(WrongChain, match=reason):
            await till.native.check()
        for answer in (await till.ask(), await till.ask(payment)):
            assert reason in error_of(answer, 503, "PAYMENT_METHOD_UNAVAILABLE")["message"]
    assert till.counts() == before
    await till.native.check()
    assert (await till.ask()).status_code == 402


async def test_a_chain_that_cannot_be_asked_takes_no_payments_until_it_can(till, bad_node):
    with bad_node.faulty("eth_chainId", dead):
        await till.native.check()
    assert "did not answer" in error_of(await till.ask(), 503, "PAYMENT_METHOD_UNAVAILABLE")["message"]
    await till.native.check()
    assert (await till.ask()).status_code == 402


async def test_a_network_that_is_not_the_nodes_is_refused_at_the_start(shared_chain, tills_database):
    with pytest.raises(WrongChain, match="eip155:31337: the chain id should be 31337 and is 84532"):
        async with till_open(shared_chain, tills_database, x402_network=LOCAL):
            pass


async def test_nothing_is_offered_before_the_first_look(till):
    till.native.standing.reason = "its chain has not been checked yet"
    error = error_of(await till.ask(), 503, "PAYMENT_METHOD_UNAVAILABLE")
    assert "has not been checked yet" in error["message"]
