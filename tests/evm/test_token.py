"""The token of these tests behaves as USDC where Purser relies on it."""

from dataclasses import replace

import pytest
from eth_account import Account
from eth_account.messages import encode_typed_data
from eth_utils.crypto import keccak

from sandbox.chain.contract.compile import CONTRACTS, SETTINGS, SOLC, source_sha256
from tests.evm.anvil import CHAIN_ID
from tests.evm.usdc import (
    CANCEL_BYTES,
    CANCEL_VRS,
    RECEIVE_BYTES,
    RECEIVE_VRS,
    TRANSFER_BYTES,
    TRANSFER_VRS,
    TYPES,
    artefact,
    call_data,
    place_token,
)

VALUE = 1_000_000
SECP256K1_N = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
FORMS = pytest.mark.parametrize("form", [TRANSFER_BYTES, TRANSFER_VRS], ids=["bytes", "vrs"])


def topic(event):
    return "0x" + keccak(text=event).hex()


def padded(address):
    return "0x" + address[2:].lower().rjust(64, "0")


@pytest.fixture
def payee():
    return Account.create().address


# The artefact


@pytest.mark.parametrize("contract", CONTRACTS)
def test_the_committed_artefact_was_compiled_from_the_committed_source(contract):
    made = artefact(contract)
    assert made["source_sha256"] == source_sha256(contract), "run python -m sandbox.chain.contract.compile"
    assert made["settings"] == SETTINGS
    assert made["compiler"].startswith(f"solc {SOLC}+commit.")


# What a client and a service read


def test_it_introduces_itself_as_usdc(token):
    assert token.read("name()", "string") == "USDC"
    assert token.read("version()", "string") == "2"
    assert token.read("symbol()", "string") == "USDC"
    assert token.read("decimals()", "uint8") == 6
    assert token.read("owner()", "address") == token.owner.lower()


def test_the_domain_separator_is_that_of_the_typed_data_that_wallets_sign(token, payer, payee):
    types = {"TransferWithAuthorization": TYPES["TransferWithAuthorization"]}
    message = payer.authorize(to=payee, value=VALUE).message
    message.pop("authorizer")
    signable = encode_typed_data(token.domain, types, message)
    assert token.read("DOMAIN_SEPARATOR()", "bytes32") == signable.header


def test_another_name_at_another_address_is_another_domain(anvil, token, rewound):
    other = place_token(anvil, address=Account.create().address, name="USD Coin")
    assert other.read("name()", "string") == "USD Coin"
    assert other.read("DOMAIN_SEPARATOR()", "bytes32") != token.read("DOMAIN_SEPARATOR()", "bytes32")


def test_nobody_initializes_it_again(token):
    again = call_data("initialize(string,string,address)", "USDC", "2", token.owner)
    assert "already initialized" in token.refusal(again)


def test_only_the_owner_mints_pauses_and_blacklists(token, anvil):
    stranger = anvil.unlocked[1]
    for data in (
        call_data("mint(address,uint256)", stranger, 1),
        call_data("pause()"),
        call_data("blacklist(address)", token.owner),
    ):
        assert "caller is not the owner" in token.refusal(data, sender=stranger)


# EIP-20


def test_a_plain_transfer_moves_exactly_its_value(token, anvil, payee):
    sender = anvil.unlocked[2]
    token.fund(sender, VALUE)
    assert "exceeds balance" in token.refusal(call_data("transfer(address,uint256)", payee, VALUE + 1), sender=sender)
    token.send(call_data("transfer(address,uint256)", payee, VALUE), sender=sender)
    assert (token.balance(sender), token.balance(payee)) == (0, VALUE)


def test_an_allowance_is_used_up(token, anvil, payee):
    holder, spender = anvil.unlocked[3], anvil.unlocked[4]
    token.fund(holder, VALUE)
    token.send(call_data("approve(address,uint256)", spender, VALUE - 1), sender=holder)
    take = call_data("transferFrom(address,address,uint256)", holder, payee, VALUE - 1)
    token.send(take, sender=spender)
    assert (token.balance(holder), token.balance(payee)) == (1, VALUE - 1)
    assert "exceeds allowance" in token.refusal(take, sender=spender)


# EIP-3009


@FORMS
def test_anyone_submits_a_signed_transfer_and_it_moves_exactly_its_value(token, payer, payee, form):
    before = token.balance(payer.address)
    signed = payer.authorize(to=payee, value=VALUE)
    assert token.used(signed) is False
    token.send(signed.call(form))
    assert (token.balance(payer.address), token.balance(payee)) == (before - VALUE, VALUE)
    assert token.used(signed) is True


def test_a_gas_wallet_pays_for_the_payer_who_has_no_ether(anvil, token, payer, payee, gas_wallet):
    assert anvil.balance(payer.address) == 0
    before = anvil.balance(gas_wallet.address)
    transaction = {
        "type": 2,
        "chainId": CHAIN_ID,
        "nonce": int(anvil.rpc("eth_getTransactionCount", gas_wallet.address, "pending"), 16),
        "to": token.address,
        "data": payer.authorize(to=payee, value=VALUE).call(TRANSFER_BYTES),
        "gas": 200_000,
        "maxFeePerGas": 3 * 10**9,
        "maxPriorityFeePerGas": 10**9,
    }
    raw = gas_wallet.sign_transaction(transaction).raw_transaction
    receipt = anvil.receipt(anvil.rpc("eth_sendRawTransaction", "0x" + raw.hex()))
    assert token.balance(payee) == VALUE
    paid = int(receipt["gasUsed"], 16) * int(receipt["effectiveGasPrice"], 16)
    assert anvil.balance(gas_wallet.address) == before - paid


@FORMS
def test_the_log_of_a_settlement_is_the_transfer_after_its_authorization(token, payer, payee, form):
    signed = payer.authorize(to=payee, value=VALUE)
    used, moved = token.send(signed.call(form))["logs"]
    assert used["topics"] == [
        topic("AuthorizationUsed(address,bytes32)"),
        padded(payer.address),
        "0x" + signed.nonce.hex(),
    ]
    assert moved["topics"] == [topic("Transfer(address,address,uint256)"), padded(payer.address), padded(payee)]
    assert int(moved["data"], 16) == VALUE
    assert int(moved["logIndex"], 16) == int(used["logIndex"], 16) + 1
    assert used["topics"][0] == "0x98de503528ee59b575ef0c0a2576a82497bfc029a5685b209e9ec333479b10a5"
    assert moved["topics"][0] == "0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef"


@FORMS
def test_a_replay_is_refused_in_either_form(token, payer, payee, form):
    signed = payer.authorize(to=payee, value=VALUE)
    token.send(signed.call(TRANSFER_BYTES))
    assert "authorization is used or canceled" in token.refusal(signed.call(form))
    assert token.send(signed.call(form), succeeds=False)["logs"] == []
    assert token.balance(payee) == VALUE


def test_an_expired_authorization_is_refused(token, payer, payee, rewound):
    signed = payer.authorize(to=payee, value=VALUE)
    token.chain.increase_time(700)
    assert "authorization is expired" in token.refusal(signed.call(TRANSFER_BYTES))
    assert token.used(signed) is False


def test_an_authorization_is_valid_only_after_its_time(token, payer, payee, rewound):
    now = token.chain.now
    signed = payer.authorize(to=payee, value=VALUE, valid_after=now + 100, valid_before=now + 10_000)
    assert "authorization is not yet valid" in token.refusal(signed.call(TRANSFER_BYTES))
    token.chain.increase_time(200)
    token.send(signed.call(TRANSFER_BYTES))
    assert token.balance(payee) == VALUE


@FORMS
@pytest.mark.parametrize(
    "tampered",
    [
        pytest.param({"value": VALUE + 1}, id="value"),
        pytest.param({"to": "0x00000000000000000000000000000000000000aa"}, id="recipient"),
        pytest.param({"valid_before": 2**40}, id="window"),
        pytest.param({"nonce": b"\7" * 32}, id="nonce"),
    ],
)
def test_what_was_not_signed_is_refused(token, payer, payee, form, tampered):
    signed = payer.authorize(to=payee, value=VALUE)
    assert "invalid signature" in token.refusal(replace(signed, **tampered).call(form))


@FORMS
def test_somebody_elses_signature_is_refused(token, payer, payee, form):
    stranger = replace(payer, account=Account.create())
    assert "invalid signature" in token.refusal(stranger.authorize(to=payee, value=VALUE).call(form))


def test_a_signature_under_another_name_of_the_token_is_refused(token, payer, payee):
    misled = replace(payer, token=replace(token, name="USD Coin"))
    assert "invalid signature" in token.refusal(misled.authorize(to=payee, value=VALUE).call(TRANSFER_BYTES))


def test_junk_and_the_other_equivalent_signature_are_refused(token, payer, payee):
    signed = payer.authorize(to=payee, value=VALUE)
    v, r, s = signed.vrs
    twin = r + (SECP256K1_N - int.from_bytes(s)).to_bytes(32) + bytes([55 - v])
    for signature, reason in (
        (signed.signature[:-1], "invalid signature length"),
        (b"", "invalid signature length"),
        (twin, "'s' value"),
        (signed.signature[:-1] + b"\1", "'v' value"),
        (bytes(64) + b"\x1b", "invalid signature"),
    ):
        assert reason in token.refusal(replace(signed, signature=signature).call(TRANSFER_BYTES))
    assert token.refusal(signed.call(TRANSFER_BYTES)) is None


def test_more_than_the_payer_has_is_refused(token, payer, payee):
    signed = payer.authorize(to=payee, value=token.balance(payer.address) + 1)
    assert "exceeds balance" in token.refusal(signed.call(TRANSFER_BYTES))


@pytest.mark.parametrize("form", [RECEIVE_BYTES, RECEIVE_VRS], ids=["bytes", "vrs"])
def test_only_the_payee_receives(token, anvil, payer, form):
    payee, stranger = anvil.unlocked[5], anvil.unlocked[6]
    before = token.balance(payee)
    signed = payer.authorize(to=payee, value=VALUE, kind="ReceiveWithAuthorization")
    assert "caller must be the payee" in token.refusal(signed.call(form), sender=stranger)
    assert "invalid signature" in token.refusal(signed.call(TRANSFER_BYTES)), "the two kinds are not the same"
    token.send(signed.call(form), sender=payee)
    assert token.balance(payee) == before + VALUE


@pytest.mark.parametrize("form", [CANCEL_BYTES, CANCEL_VRS], ids=["bytes", "vrs"])
def test_a_cancelled_authorization_is_refused(token, payer, payee, form):
    signed = payer.authorize(to=payee, value=VALUE)
    cancel = payer.authorize(to=payee, value=VALUE, nonce=signed.nonce, kind="CancelAuthorization")
    (log,) = token.send(cancel.call(form))["logs"]
    assert log["topics"][0] == topic("AuthorizationCanceled(address,bytes32)")
    assert "authorization is used or canceled" in token.refusal(signed.call(TRANSFER_BYTES))


# EIP-1271


def test_a_contract_wallet_pays_with_its_owners_signature(token, contract_payer, payee):
    signed = contract_payer.authorize(to=payee, value=VALUE)
    used, moved = token.send(signed.call(TRANSFER_BYTES))["logs"]
    assert used["topics"][1] == moved["topics"][1] == padded(contract_payer.address)
    assert token.balance(payee) == VALUE


def test_a_contract_wallet_refuses_what_its_owner_did_not_sign(token, contract_payer, payee):
    stranger = replace(contract_payer, account=Account.create())
    assert "invalid signature" in token.refusal(stranger.authorize(to=payee, value=VALUE).call(TRANSFER_BYTES))
    short = replace(contract_payer.authorize(to=payee, value=VALUE), signature=b"junk")
    assert "invalid signature" in token.refusal(short.call(TRANSFER_BYTES))


def test_a_contract_that_is_no_wallet_pays_nothing(token, payer, payee):
    impostor = replace(payer, address=token.address)
    assert "invalid signature" in token.refusal(impostor.authorize(to=payee, value=VALUE).call(TRANSFER_BYTES))


# Pause and blacklist


def test_while_paused_nothing_moves(token, payer, payee, rewound):
    signed = payer.authorize(to=payee, value=VALUE)
    token.pause()
    assert "Pausable: paused" in token.refusal(signed.call(TRANSFER_BYTES))
    assert "Pausable: paused" in token.refusal(call_data("transfer(address,uint256)", payee, 0))
    token.unpause()
    assert token.refusal(signed.call(TRANSFER_BYTES)) is None


@pytest.mark.parametrize("who", ["payer", "payee"])
def test_a_blacklisted_side_is_refused(token, payer, payee, who):
    address = {"payer": payer.address, "payee": payee}[who]
    signed = payer.authorize(to=payee, value=VALUE)
    token.blacklist(address)
    assert token.read("isBlacklisted(address)", "bool", address) is True
    assert "Blacklistable: account is blacklisted" in token.refusal(signed.call(TRANSFER_BYTES))
    token.unblacklist(address)
    assert token.refusal(signed.call(TRANSFER_BYTES)) is None
