import sys
from dataclasses import replace

import pytest
from eth_utils.address import is_checksum_address
from hypothesis import given
from hypothesis import strategies as st

from rails.evm.networks import BASE, BASE_SEPOLIA, LOCAL, NETWORKS, Confirmations, finality_for

USDC = 1_000_000


def depth(finality):
    """A number that is larger the longer a finality takes."""
    return finality.blocks if isinstance(finality, Confirmations) else {"safe": 10**6, "finalized": 10**9}[finality]


def test_networks_are_found_by_their_caip_2_name():
    assert NETWORKS == {"eip155:8453": BASE, "eip155:84532": BASE_SEPOLIA, "eip155:31337": LOCAL}


def test_the_tokens_are_those_of_circle_under_the_names_that_their_contracts_have():
    assert [(n.token_address, n.token_name, n.token_version, n.token_decimals) for n in (BASE, BASE_SEPOLIA)] == [
        ("0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913", "USD Coin", "2", 6),
        ("0x036CbD53842c5426634e7929541eC2318f3dCF7e", "USDC", "2", 6),
    ]
    assert all(is_checksum_address(network.token_address) for network in NETWORKS.values())


@pytest.mark.parametrize(
    ("amount", "finality"),
    [
        (1, Confirmations(3)),
        (100 * USDC, Confirmations(3)),
        (100 * USDC + 1, "safe"),
        (10_000 * USDC, "safe"),
        (10_000 * USDC + 1, "finalized"),
        (2**256 - 1, "finalized"),
    ],
)
def test_the_more_is_paid_on_base_the_more_final_it_must_be(amount, finality):
    assert finality_for(BASE, amount) == finality


@given(st.sampled_from(list(NETWORKS.values())), st.integers(0, 2**64), st.integers(0, 2**64))
def test_a_larger_payment_is_never_taken_sooner(network, one, other):
    low, high = sorted((one, other))
    assert depth(finality_for(network, low)) <= depth(finality_for(network, high))


@pytest.mark.parametrize(
    "policy",
    [
        (),
        ((5, "safe"),),
        ((None, "safe"), (5, "finalized")),
        ((None, "safe"), (None, "finalized")),
        ((5, "safe"), (5, "safe"), (None, "finalized")),
        ((9, "safe"), (5, "safe"), (None, "finalized")),
    ],
)
def test_a_policy_that_leaves_an_amount_open_cannot_be_made(policy):
    with pytest.raises(ValueError, match="polic"):
        replace(BASE, finality=policy)


def test_nothing_is_final_before_it_is_in_a_block():
    with pytest.raises(ValueError, match="in a block"):
        Confirmations(0)


def test_these_tests_leave_the_recursion_limit_as_it_was():
    assert sys.getrecursionlimit() < 10_000, "deep JSON in another test would end the process"
