"""What is asked of a chain, asked of a real EVM."""

import asyncio
from dataclasses import replace

import pytest
from eth_account import Account
from eth_utils.crypto import keccak

from rails.evm import calls, eip3009
from rails.evm.calls import Call
from rails.evm.chain import Chain, WrongChain
from rails.evm.networks import BASE, BASE_SEPOLIA
from rails.evm.receipts import settled_transfer
from rails.rail import ProviderRefused, RailUnavailable
from tests.evm.anvil import SLOTS_IN_AN_EPOCH
from tests.evm.usdc import CANCEL_BYTES, TRANSFER_BYTES, call_data

PAYEE = "0x209693Bc6afc0C5328bA36FaF03C514EF312287C"
AMOUNT = 1_000_000


@pytest.fixture
async def chain(token):
    opened = Chain(BASE_SEPOLIA, token.chain.url)
    yield opened
    await opened.aclose()


def ours(theirs):
    """The authorization of a test's payer, as the service has it."""
    terms = (theirs.payer, theirs.to, theirs.value, theirs.valid_after, theirs.valid_before, theirs.nonce)
    return eip3009.Authorization(*terms)


def signed_by(payer, **terms):
    made = payer.authorize(to=PAYEE, value=AMOUNT, **terms)
    return ours(made), made.signature


async def signed_transaction(chain, wallet, data, **changed):
    """A transaction as the service will make them: EIP-1559, signed here."""
    fees = await chain.fees()
    terms = {
        "chainId": chain.network.chain_id,
        "nonce": await chain.nonce_of(wallet.address, pending=True),
        "to": chain.network.token_address,
        "value": 0,
        "data": data,
        "gas": 200_000,
        "maxFeePerGas": 2 * fees.base_fee_wei + fees.tip_wei,
        "maxPriorityFeePerGas": fees.tip_wei,
    }
    return bytes(wallet.sign_transaction(terms | changed).raw_transaction)


async def test_the_chain_and_its_token_are_as_they_should_be(chain):
    await chain.check()


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"chain_id": 8453}, "eip155:8453: the chain id should be 8453 and is 84532"),
        ({"token_address": BASE.token_address}, "there is no contract at the token's address"),
        ({"token_decimals": 18}, "the token's decimals should be 18 and is 6"),
        ({"token_name": "USD Coin"}, "the token's name should be 'USD Coin' and is 'USDC'"),
        ({"token_version": "1"}, "the token's version should be '1' and is '2'"),
    ],
)
async def test_another_chain_or_token_is_named_in_words(token, changed, words):
    chain = Chain(replace(BASE_SEPOLIA, **changed), token.chain.url)
    with pytest.raises(WrongChain) as caught:
        await chain.check()
    assert words in str(caught.value)
    await chain.aclose()


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("0x60006000fd", "does not answer like an EIP-3009 token"),
        ("0x00", "does not answer like an EIP-3009 token"),
        ("0x600660005260206000f3", "does not answer like an EIP-3009 token"),  # decimals, and no name
    ],
)
async def test_a_contract_that_is_no_such_token_is_named_in_words(token, code, words):
    address = Account.create().address
    token.chain.rpc("anvil_setCode", address, code)
    chain = Chain(replace(BASE_SEPOLIA, token_address=address), token.chain.url)
    with pytest.raises(WrongChain, match=words):
        await chain.check()
    await chain.aclose()


async def test_a_payment_is_verified_simulated_carried_out_and_found(chain, payer, gas_wallet):
    authorization, signature = signed_by(payer)
    start = (await chain.block("latest")).number
    assert eip3009.signer(authorization, signature, chain.network) == payer.address
    assert await chain.balance_of(payer.address) == 100 * AMOUNT
    assert await chain.authorization_state(payer.address, authorization.nonce) is False
    assert await chain.find_authorization_used(payer.address, authorization.nonce, from_block=start) is None

    data = calls.transfer_by_parts(authorization, signature)
    call = Call(gas_wallet.address, chain.network.token_address, data)
    assert await chain.simulate(call) is None
    transaction = await chain.send_raw(await signed_transaction(chain, gas_wallet, data))
    payer.token.chain.receipt(transaction)

    receipt = await chain.receipt(transaction)
    terms = {"token": chain.network.token_address, "payer": payer.address, "nonce": authorization.nonce}
    index = settled_transfer(receipt, **terms, payee=PAYEE, amount=AMOUNT)
    found = await chain.find_authorization_used(payer.address, authorization.nonce, from_block=start)
    assert (found.transaction_hash, found.index + 1, found.block_hash) == (transaction, index, receipt.block_hash)
    assert settled_transfer(receipt, **terms, payee=PAYEE, amount=AMOUNT + 1) is None
    assert await chain.authorization_state(payer.address, authorization.nonce) is True
    assert await chain.authorization_state(payer.address, authorization.nonce, at=start) is False
    assert await chain.balance_of(payer.address) == 99 * AMOUNT
    assert await chain.simulate(call) == payer.token.refusal("0x" + data.hex()).removeprefix("execution reverted: ")


async def test_a_key_signs_with_parts_and_with_bytes(chain, payer, gas_wallet):
    authorization, signature = signed_by(payer)
    for data in (
        calls.transfer_by_parts(authorization, signature),
        calls.transfer_by_bytes(authorization, signature),
    ):
        assert await chain.simulate(Call(gas_wallet.address, chain.network.token_address, data)) is None


async def test_a_contract_wallet_signs_by_eip_1271(chain, contract_payer, gas_wallet):
    authorization, signature = signed_by(contract_payer)
    digest = eip3009.digest(authorization, chain.network)
    assert await chain.code_of(contract_payer.address)
    assert await chain.is_valid_signature(contract_payer.address, digest, signature) is True
    assert await chain.is_valid_signature(contract_payer.address, digest, signature[:-1] + b"\0") is False
    assert await chain.is_valid_signature(contract_payer.address, keccak(b"other"), signature) is False
    data = calls.transfer_by_bytes(authorization, signature)
    assert await chain.simulate(Call(gas_wallet.address, chain.network.token_address, data)) is None


@pytest.mark.parametrize(
    "code",
    [
        "0x",  # only a key
        "0x60006000fd",  # reverts
        "0xfe",  # an invalid opcode
        "0x5b600056",  # an endless loop
        "0x00",  # returns nothing
        "0x631626ba7e60005260206000f3",  # the magic value at the wrong end of the word
        "0x7f1626ba7e00000000000000000000000000000000000000000000000000000001" + "60005260206000f3",
        "0x0000007f" + "ff" * 40,
    ],
)
async def test_a_wallet_that_does_not_say_yes_has_not_signed(chain, token, code):
    address = Account.create().address
    token.chain.rpc("anvil_setCode", address, code)
    assert await chain.is_valid_signature(address, bytes(32), b"") is False


async def test_a_cancelled_nonce_is_done_with_and_has_no_transfer(chain, payer, token):
    cancelled = payer.authorize(to=PAYEE, value=AMOUNT, kind="CancelAuthorization")
    start = (await chain.block("latest")).number
    token.send(cancelled.call(CANCEL_BYTES))
    assert await chain.authorization_state(payer.address, cancelled.nonce) is True
    assert await chain.find_authorization_used(payer.address, cancelled.nonce, from_block=start) is None
    found = await chain.find_authorization_canceled(payer.address, cancelled.nonce, from_block=start)
    assert found.block_number == start + 1
    assert await chain.find_authorization_canceled(payer.address, bytes(32), from_block=start) is None


@pytest.mark.parametrize("act", ["pause()", "blacklist(address)"])
async def test_what_the_token_refuses_is_said_in_its_words(chain, rewound, payer, token, gas_wallet, act):
    authorization, signature = signed_by(payer)
    data = calls.transfer_by_parts(authorization, signature)
    token.send(call_data(act, *([payer.address] if "address" in act else [])))
    refusal = await chain.simulate(Call(gas_wallet.address, token.address, data))
    assert refusal
    assert refusal in token.refusal("0x" + data.hex())


async def test_a_transaction_that_the_node_has_already_is_a_success(chain, rewound, payer, gas_wallet, token):
    token.chain.set_automine(False)
    signed = await signed_transaction(chain, gas_wallet, calls.transfer_by_parts(*signed_by(payer)))
    first = await chain.send_raw(signed)
    assert await chain.send_raw(signed) == first == "0x" + keccak(signed).hex()
    assert await chain.receipt(first) is None
    before = await chain.nonce_of(gas_wallet.address, pending=False)
    assert await chain.nonce_of(gas_wallet.address, pending=True) == before + 1
    token.chain.mine()
    token.chain.receipt(first)
    assert (await chain.receipt(first)).succeeded
    assert await chain.nonce_of(gas_wallet.address, pending=False) == before + 1


async def test_a_transaction_that_the_node_refuses_says_why(chain, rewound, payer, gas_wallet, token):
    data = calls.transfer_by_parts(*signed_by(payer))
    poor = Account.create()

    async def refusal_of(wallet, **changed):
        with pytest.raises(ProviderRefused) as caught:
            await chain.send_raw(await signed_transaction(chain, wallet, data, **changed))
        return caught.value.code

    token.chain.receipt(await chain.send_raw(await signed_transaction(chain, gas_wallet, data)))
    assert await refusal_of(gas_wallet, nonce=0) == "nonce_too_low"
    assert await refusal_of(poor) == "insufficient_funds"
    assert await refusal_of(gas_wallet, chainId=1) == "refused"
    assert await refusal_of(gas_wallet, maxFeePerGas=1, maxPriorityFeePerGas=1) == "underpriced"
    token.chain.set_automine(False)
    fees = await chain.fees()
    await chain.send_raw(await signed_transaction(chain, gas_wallet, data))
    replacement = {"nonce": await chain.nonce_of(gas_wallet.address, pending=False), "gas": 199_999}
    assert await refusal_of(gas_wallet, **replacement) == "underpriced"
    assert fees.base_fee_wei > 0


async def test_blocks_are_read_by_number_and_by_how_final_they_are(chain, rewound, token):
    token.chain.mine(3 * SLOTS_IN_AN_EPOCH)
    latest = await chain.block("latest")
    assert (await chain.block("safe")).number == latest.number - SLOTS_IN_AN_EPOCH
    assert (await chain.block("finalized")).number == latest.number - 2 * SLOTS_IN_AN_EPOCH
    assert await chain.block(latest.number) == latest
    assert (await chain.block(latest.number - 1)).hash == latest.parent_hash
    assert await chain.block(latest.number + 1) is None
    assert latest.timestamp == token.chain.now


async def test_what_a_reorganization_took_back_is_not_found_any_more(chain, rewound, payer, gas_wallet, token):
    authorization, signature = signed_by(payer)
    start = (await chain.block("latest")).number
    signed = await signed_transaction(chain, gas_wallet, calls.transfer_by_parts(authorization, signature))
    transaction = await chain.send_raw(signed)
    token.chain.receipt(transaction)  # there is one as soon as this returns
    before = await chain.receipt(transaction)
    token.chain.reorg(1)
    assert await chain.receipt(transaction) is None
    assert await chain.find_authorization_used(payer.address, authorization.nonce, from_block=start) is None
    assert (await chain.block(before.block_number)).hash != before.block_hash


async def test_a_log_is_found_across_more_blocks_than_one_search_may_ask_for(chain, rewound, payer, gas_wallet, token):
    start = (await chain.block("latest")).number
    token.chain.mine(1200)
    authorization, signature = signed_by(payer)
    data = calls.transfer_by_parts(authorization, signature)
    transaction = await chain.send_raw(await signed_transaction(chain, gas_wallet, data))
    token.chain.receipt(transaction)
    found = await chain.find_authorization_used(payer.address, authorization.nonce, from_block=start)
    assert found.transaction_hash == transaction


async def test_a_search_from_a_block_that_is_not_there_yet_is_no_answer(chain):
    head = (await chain.block("latest")).number
    with pytest.raises(RailUnavailable, match="has not come to block"):
        await chain.find_authorization_used(PAYEE, bytes(32), from_block=head + 1)


async def test_what_a_transaction_called_and_cost_is_read_back(chain, payer, gas_wallet, token):
    data = calls.transfer_by_parts(*signed_by(payer))
    before = await chain.ether_of(gas_wallet.address)
    transaction = await chain.send_raw(await signed_transaction(chain, gas_wallet, data))
    token.chain.receipt(transaction)
    receipt = await chain.receipt(transaction)
    assert await chain.transaction_input(transaction) == data
    assert await chain.transaction_input("0x" + "00" * 32) is None
    assert (
        receipt.cost_wei
        == receipt.gas_used * receipt.gas_price_wei
        == before - await chain.ether_of(gas_wallet.address)
    )
    assert receipt.gas_used > 21_000
    assert await chain.ether_of(payer.address) == 0


async def test_the_gas_that_is_guessed_is_enough(chain, payer, gas_wallet, token):
    data = calls.transfer_by_parts(*signed_by(payer))
    call = Call(gas_wallet.address, token.address, data)
    guess = await chain.estimate_gas(call)
    transaction = await chain.send_raw(await signed_transaction(chain, gas_wallet, data, gas=guess))
    token.chain.receipt(transaction)
    receipt = await chain.receipt(transaction)
    assert receipt.succeeded
    assert receipt.gas_used <= guess < 2 * receipt.gas_used
    assert await chain.estimate_gas(call) == await chain.simulate(call)
    assert "authorization is used" in await chain.estimate_gas(call)


async def test_gas_is_guessed_for_a_sender_who_has_none(chain, payer, token):
    call = Call(Account.create().address, token.address, calls.transfer_by_parts(*signed_by(payer)))
    assert isinstance(await chain.estimate_gas(call), int)


async def test_transfers_between_two_are_found_and_no_others(chain, payer, token, anvil):
    start = await chain.head()
    other = anvil.unlocked[7]
    for value in (AMOUNT, 2 * AMOUNT):
        token.send(payer.authorize(to=PAYEE, value=value).call(TRANSFER_BYTES))
    token.send(payer.authorize(to=other, value=AMOUNT).call(TRANSFER_BYTES))
    found = await chain.find_transfers(payer.address, PAYEE, from_block=start)
    assert [int.from_bytes(log.data, "big") for log in found] == [AMOUNT, 2 * AMOUNT]
    assert [log.block_number for log in found] == [start + 1, start + 2]
    assert await chain.find_transfers(PAYEE, payer.address, from_block=start) == []
    assert await chain.find_transfers(payer.address, PAYEE, from_block=start, to_block=start + 1) == found[:1]
    with pytest.raises(RailUnavailable, match="has not come to block"):
        await chain.find_transfers(payer.address, PAYEE, from_block=start, to_block=await chain.head() + 1)


async def test_one_chain_serves_many_tasks(chain, payer):
    assert set(await asyncio.gather(*(chain.balance_of(payer.address) for _ in range(50)))) == {100 * AMOUNT}
