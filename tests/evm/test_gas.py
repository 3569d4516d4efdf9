"""The account that pays for gas: what it signs, and what it never shows."""

import copy
import pickle
import traceback
from dataclasses import replace

import pytest
from eth_account import Account
from eth_account.typed_transactions.typed_transaction import TypedTransaction
from eth_utils.crypto import keccak
from hexbytes import HexBytes
from hypothesis import given, settings
from hypothesis import strategies as st

from rails.evm import calls, eip3009, gas
from rails.evm.chain import Chain
from rails.evm.gas import GasTerms, GasWallet
from rails.evm.networks import BASE_SEPOLIA

KEY = "4242424242424242424242424242424242424242424242424242424242424242"
KEY_OF_ANVIL = "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80"  # the first of every anvil
ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
PAYEE = "0x209693Bc6afc0C5328bA36FaF03C514EF312287C"
TERMS = GasTerms(
    chain_id=84532,
    nonce=7,
    to=BASE_SEPOLIA.token_address,
    data=b"\1\2\3",
    value_wei=0,
    gas_limit=120_000,
    max_fee_wei=3_000_000_000,
    tip_wei=1_000_000,
)

uint256 = st.integers(0, 2**256 - 1)
all_terms = st.tuples(uint256, uint256).flatmap(
    lambda fees: st.builds(
        GasTerms,
        chain_id=st.integers(1, 2**64),
        nonce=st.integers(0, 2**64 - 2),
        to=st.binary(min_size=20, max_size=20).map(lambda raw: "0x" + raw.hex()),
        data=st.binary(max_size=300),
        value_wei=uint256,
        gas_limit=st.integers(0, 2**64 - 2),
        max_fee_wei=st.just(max(fees)),
        tip_wei=st.just(min(fees)),
    )
)


@pytest.mark.parametrize("key", [KEY, "0x" + KEY, KEY.upper()])
def test_a_key_is_taken_with_and_without_0x(key):
    assert GasWallet(key).address == Account.from_key(KEY).address
    assert GasWallet(key).sign(TERMS) == GasWallet(KEY).sign(TERMS)


def test_the_bytes_are_the_same_for_the_same_terms_everywhere():
    signed = GasWallet(KEY).sign(TERMS)
    assert signed == GasWallet(KEY).sign(replace(TERMS))
    assert signed.hash == "0xd7fe9f35b6664a6bb8aa9e68a9491eac8bbb853eeb53bfd1ab132647dc919556"


def test_another_program_signs_the_same_bytes(anvil):
    wallet = GasWallet(KEY_OF_ANVIL)
    assert wallet.address.lower() == anvil.unlocked[0].lower()
    terms = {
        "from": wallet.address,
        "chainId": hex(TERMS.chain_id),
        "nonce": hex(TERMS.nonce),
        "to": TERMS.to,
        "data": "0x" + TERMS.data.hex(),
        "value": "0x0",
        "gas": hex(TERMS.gas_limit),
        "maxFeePerGas": hex(TERMS.max_fee_wei),
        "maxPriorityFeePerGas": hex(TERMS.tip_wei),
    }
    assert anvil.rpc("eth_signTransaction", terms) == "0x" + wallet.sign(TERMS).raw.hex()


@given(all_terms)
@settings(max_examples=50)
def test_all_terms_that_can_be_built_are_signed_as_they_are_by_the_wallet(terms):
    signed = GasWallet(KEY).sign(terms)
    read = TypedTransaction.from_bytes(HexBytes(signed.raw)).as_dict()
    assert signed.raw[0] == 2
    assert Account.recover_transaction(signed.raw) == GasWallet(KEY).address
    assert signed.hash == "0x" + keccak(signed.raw).hex()
    named = ("chainId", "nonce", "value", "gas", "maxFeePerGas", "maxPriorityFeePerGas")
    assert [read[name] for name in named] == [
        terms.chain_id,
        terms.nonce,
        terms.value_wei,
        terms.gas_limit,
        terms.max_fee_wei,
        terms.tip_wei,
    ]
    assert bytes(read["to"]) == bytes.fromhex(terms.to[2:])
    assert bytes(read["data"]) == terms.data


@pytest.mark.parametrize(
    "changed",
    [
        {"chain_id": 0},
        {"chain_id": 2**256},
        {"nonce": -1},
        {"nonce": 2**64 - 1},
        {"to": ""},
        {"to": "vitalik.eth"},
        {"to": PAYEE[2:]},
        {"value_wei": -1},
        {"value_wei": 2**256},
        {"gas_limit": -1},
        {"gas_limit": 2**64},
        {"max_fee_wei": 2**256},
        {"tip_wei": -1},
        {"tip_wei": TERMS.max_fee_wei + 1},
    ],
)
def test_what_cannot_be_signed_cannot_be_built(changed):
    with pytest.raises(ValueError, match=r"address|unsigned|tip"):
        replace(TERMS, **changed)


@pytest.mark.parametrize(
    "key",
    [
        "",
        "0x",
        KEY[:-1],
        KEY + "42",
        KEY + "\n",
        "0X" + KEY,
        "0x0x" + KEY,
        "zz" + KEY[2:],
        "\u0664" + KEY[1:],
        "0" * 64,
        f"{ORDER:x}",
        "f" * 64,
    ],
)
def test_what_is_no_key_is_refused_in_words_that_do_not_repeat_it(key):
    with pytest.raises(ValueError, match="no private key") as caught:
        GasWallet(key)
    assert caught.value.__cause__ is caught.value.__context__ is None
    shown = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    inside = [frame for frame in shown.stack if frame.filename == gas.__file__]
    assert inside
    if len(key) > 2:
        assert key not in str(caught.value)
        assert not [frame for frame in inside if repr(key) in str(frame.locals)]


def test_the_key_is_not_shown_copied_or_pickled():
    wallet = GasWallet(KEY)
    assert repr(wallet) == str(wallet) == f"GasWallet({wallet.address})"
    assert KEY not in f"{wallet!r} {wallet.sign(TERMS)!r}"
    assert not hasattr(wallet, "__dict__")
    for act in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="not copied or pickled") as caught:
            act(wallet)
        assert KEY not in str(caught.value)


async def test_a_chain_takes_what_it_signed_under_the_hash_it_said(token, payer, anvil):
    chain, wallet = Chain(BASE_SEPOLIA, anvil.url), GasWallet(Account.create().key.hex())
    anvil.set_balance(wallet.address, 10**18)
    made = payer.authorize(to=PAYEE, value=1_000_000)
    terms = (made.payer, made.to, made.value, made.valid_after, made.valid_before, made.nonce)
    data = calls.transfer_by_parts(eip3009.Authorization(*terms), made.signature)
    fees = await chain.fees()
    signed = wallet.sign(
        GasTerms(
            chain_id=chain.network.chain_id,
            nonce=await chain.nonce_of(wallet.address, pending=True),
            to=token.address,
            data=data,
            value_wei=0,
            gas_limit=200_000,
            max_fee_wei=2 * fees.base_fee_wei + fees.tip_wei,
            tip_wei=fees.tip_wei,
        )
    )
    assert await chain.send_raw(signed.raw) == signed.hash
    anvil.receipt(signed.hash)
    receipt = await chain.receipt(signed.hash)
    assert receipt is not None
    assert receipt.succeeded
    assert await chain.ether_of(wallet.address) == 10**18 - receipt.cost_wei
    assert await chain.transaction_input(signed.hash) == data
    assert token.used(made)
    await chain.aclose()
