"""Which transfer a receipt settles, of honest, odd and hostile receipts."""

import copy
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rails.evm import answers
from rails.evm.answers import Log, Receipt, Unreadable
from rails.evm.eip3009 import AUTHORIZATION_USED, TRANSFER
from rails.evm.networks import BASE
from rails.evm.receipts import settled_transfer

TOKEN = BASE.token_address
PAYER, PAYEE, STRANGER = "0x" + "1a" * 20, "0x" + "2B" * 20, "0x" + "3c" * 20
NONCE, OTHER_NONCE = b"\x07" * 32, b"\x08" * 32
AMOUNT = 1_000_000
TRANSACTION, BLOCK = "0x" + "ab" * 32, "0x" + "cd" * 32
WANTED: dict[str, Any] = {"token": TOKEN, "payer": PAYER, "nonce": NONCE, "payee": PAYEE, "amount": AMOUNT}


def word(address):
    return bytes.fromhex(address[2:]).rjust(32, b"\0")


def log(index, topics, data=b"", *, address=TOKEN):
    return Log(address, topics, data, index, TRANSACTION, 7, BLOCK, removed=False)


def used(index, *, payer=PAYER, nonce=NONCE, address=TOKEN):
    return log(index, (AUTHORIZATION_USED, word(payer), nonce), address=address)


def moved(index, *, payer=PAYER, payee=PAYEE, amount=AMOUNT, address=TOKEN):
    return log(index, (TRANSFER, word(payer), word(payee)), amount.to_bytes(32, "big"), address=address)


def receipt(*logs, succeeded=True):
    return Receipt(TRANSACTION, 7, BLOCK, succeeded, logs, gas_used=90_000, gas_price_wei=7)


def as_json(found):
    return {
        "transactionHash": found.transaction_hash,
        "blockNumber": hex(found.block_number),
        "blockHash": found.block_hash,
        "status": hex(found.succeeded),
        "gasUsed": hex(found.gas_used),
        "effectiveGasPrice": hex(found.gas_price_wei),
        "logs": [
            {
                "address": one.address,
                "topics": ["0x" + topic.hex() for topic in one.topics],
                "data": "0x" + one.data.hex(),
                "logIndex": hex(one.index),
                "transactionHash": one.transaction_hash,
                "blockNumber": hex(one.block_number),
                "blockHash": one.block_hash,
                "removed": one.removed,
            }
            for one in found.logs
        ],
    }


def test_the_transfer_after_its_authorization_settles():
    assert settled_transfer(receipt(used(4), moved(5)), **WANTED) == 5


def test_of_equal_transfers_the_one_that_used_the_nonce_settles():
    logs = [
        moved(0),
        used(1, nonce=OTHER_NONCE),
        moved(2),
        moved(3),
        used(4),
        moved(5),
        moved(6),
        used(7, payer=STRANGER),
        moved(8, payer=STRANGER),
    ]
    assert settled_transfer(receipt(*logs), **WANTED) == 5
    assert settled_transfer(receipt(*logs), **WANTED | {"nonce": OTHER_NONCE}) == 2
    assert settled_transfer(receipt(*logs), **WANTED | {"payer": STRANGER}) == 8


def test_the_order_in_which_a_node_lists_the_logs_does_not_matter():
    assert settled_transfer(receipt(moved(5), used(4)), **WANTED) == 5


@pytest.mark.parametrize(
    "logs",
    [
        [],
        [moved(5)],
        [used(4)],
        [used(4), moved(6)],
        [moved(3), used(4)],
        [used(4), moved(5, amount=AMOUNT - 1)],
        [used(4), moved(5, amount=AMOUNT + 1)],
        [used(4), moved(5, payee=STRANGER)],
        [used(4), moved(5, payer=STRANGER)],
        [used(4), moved(5, address=STRANGER)],
        [used(4, address=STRANGER), moved(5)],
        [used(4, nonce=OTHER_NONCE), moved(5)],
        [used(4, payer=STRANGER), moved(5)],
        [used(4), moved(5, payee=STRANGER), moved(6)],
        [used(4), moved(5), used(6), moved(7)],
        [used(4), moved(5), moved(5)],
        [used(4), replace(moved(5), data=b"")],
        [used(4), replace(moved(5), data=moved(5).data + b"\0")],
        [used(4), replace(moved(5), topics=(TRANSFER, word(PAYER)))],
        [used(4), replace(moved(5), topics=(*moved(5).topics, bytes(32)))],
        [used(4), replace(moved(5), removed=True)],
        [replace(used(4), removed=True), moved(5)],
        [replace(used(4), data=b"x"), moved(5)],
        [replace(used(4), topics=()), moved(5)],
    ],
)
def test_a_receipt_that_says_anything_else_settles_nothing(logs):
    assert settled_transfer(receipt(*logs), **WANTED) is None


def test_a_failed_transaction_settles_nothing():
    assert settled_transfer(receipt(used(4), moved(5), succeeded=False), **WANTED) is None


def test_a_receipt_is_read_as_it_was_written():
    honest = receipt(used(4), moved(5))
    assert answers.receipt(as_json(honest)) == honest
    assert settled_transfer(answers.receipt(as_json(honest)), **WANTED) == 5


@pytest.mark.parametrize(("said", "l1_fee"), [({}, 0), ({"l1Fee": None}, 0), ({"l1Fee": "0x64"}, 100)])
def test_what_a_transaction_cost_includes_what_the_chain_below_took(said, l1_fee):
    found = answers.receipt(as_json(receipt()) | said)
    assert (found.l1_fee_wei, found.cost_wei) == (l1_fee, 630_000 + l1_fee)


def test_a_fee_of_the_chain_below_that_cannot_be_read_is_unreadable():
    with pytest.raises(Unreadable, match="l1Fee"):
        answers.receipt(as_json(receipt()) | {"l1Fee": 100})


@pytest.mark.parametrize("timestamp", [253_402_300_800, 2**255])
def test_a_time_that_no_date_has_is_unreadable(timestamp):
    head = {"number": "0x1", "hash": BLOCK, "parentHash": BLOCK, "timestamp": hex(timestamp)}
    with pytest.raises(Unreadable, match="timestamp is too large"):
        answers.block(head)


def paths(value, path=()):
    """Every place in a JSON value."""
    yield path
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in entries:
        yield from paths(inner, (*path, key))


def with_value(document, path, value):
    if not path:
        return value
    changed = copy.deepcopy(document)
    inner = changed
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return changed


HONEST = as_json(receipt(used(4), moved(5)))
junk = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from(["0x", "0x1", "0xzz", "-0x1"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)


@given(st.sampled_from(list(paths(HONEST))), junk)
@settings(max_examples=300)
def test_a_hostile_receipt_cannot_be_read_or_settles_the_very_transfer(path, value):
    hostile = with_value(HONEST, path, value)
    try:
        found = settled_transfer(answers.receipt(hostile), **WANTED)
    except Unreadable:
        return
    assert found in (None, 5)


@given(st.lists(st.builds(log, st.integers(0, 6), st.sampled_from([used(0).topics, moved(0).topics, ()]),
                          st.sampled_from([b"", moved(0).data])), max_size=6))  # fmt: skip
def test_a_settlement_is_always_a_transfer_right_behind_the_only_mark(logs):
    found = settled_transfer(receipt(*logs), **WANTED)
    marks = [one.index for one in logs if one.topics == used(0).topics and not one.data]
    if found is not None:
        assert marks == [found - 1]
        assert [one for one in logs if one.index == found] == [moved(found)]


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("status",), None),
        (("status",), "0x2"),
        (("gasUsed",), None),
        (("gasUsed",), 90_000),
        (("gasUsed",), "0x8000000000000000"),
        (("effectiveGasPrice",), None),
        (("effectiveGasPrice",), "0x8000000000000000"),
        (("blockNumber",), "0x8000000000000000"),
        (("logs",), None),
        (("logs", 0, "topics"), ["0x" + "00" * 32] * 5),
        (("logs", 0, "topics", 0), "0x00"),
        (("logs", 0, "logIndex"), 4),
        (("logs", 0, "logIndex"), "0x" + "f" * 65),
        (("logs", 0, "logIndex"), "0x80000000"),
        (("logs", 0, "blockHash"), "0x" + "00" * 32),
        (("logs", 0, "transactionHash"), "0x" + "00" * 32),
        (("logs", 0, "data"), "0x0"),
        (("blockHash",), None),
        ((), [HONEST]),
        ((), None),
    ],
)
def test_a_receipt_of_another_form_is_unreadable_and_is_not_quoted(path, value):
    with pytest.raises(Unreadable) as caught:
        answers.receipt(with_value(HONEST, path, value))
    assert "0x" not in str(caught.value)


def test_texts_of_contracts_are_cut_and_printable():
    def said(text):
        raw = text.encode()
        return bytes(31) + b"\x20" + len(raw).to_bytes(32, "big") + raw.ljust(-(-len(raw) // 32) * 32, b"\0")

    assert answers.text(said("USD Coin"), "name") == "USD Coin"
    assert answers.text(said("a\nb\x1b[31m"), "name") == "a?b?[31m"
    assert len(answers.text(said("x" * 5000), "name")) == answers.TEXT_LETTERS_MAX
    assert answers.revert_reason("0x08c379a0" + said("paused").hex()) == "paused"
    strange: list[object] = ["0x", "0x08c379a0", "0x08c379a0" + "ff" * 64, None, {}, "reverted"]
    assert {answers.revert_reason(data) for data in strange} == {""}
    with pytest.raises(Unreadable):
        answers.text(b"\xff" * 64, "name")
