"""The refusals that need a chain, each provoked over HTTP and answered as its rule says."""

import secrets

import httpx
import pytest

from billing.refusals import Refusal
from rails.evm import recursion

with recursion.limit_kept():
    from eth_account import Account

from tests.refused import ON_CHAIN, assert_answered_by_rule
from tests.service import ANSWER_S, agent_of, data_of
from tests.x402.chains import key_of
from tests.x402.paying import REQUIRED, SIGNATURE, signed_payment
from tests.x402.rpc_proxy import refused
from tests.x402.signing_in import HEADER, asked_by, signed
from tests.x402.signing_in import PATH as SIGN_IN

DOLLAR = 1_000_000
PACK, OTHER_PACK = "/v1/x402/top-up/taster-100", "/v1/x402/top-up/starter-500"


@pytest.fixture
def shop(service_on_chain):
    with service_on_chain.client() as client:
        yield client


@pytest.fixture
def payer(onchain):
    return onchain.payer()


@pytest.fixture
def strict_shop(beside, payer, tmp_path):
    """A process that takes nothing from the payer."""
    deny_list = tmp_path / "denied"
    deny_list.write_text(f"{payer.address}\n")
    with beside(x402_deny_list=deny_list).client() as client:
        yield client


@pytest.fixture
def hurried_shop(beside):
    """A process that lets nobody wait for the chain."""
    with beside(x402_wait_s=0).client() as client:
        yield client


def unpaid(client):
    return client.post(PACK)


def payment(client, payer, **changes):
    return signed_payment(unpaid(client).headers[REQUIRED], key_of(payer), **changes)


def present(client, header, path=PACK):
    return client.post(path, headers={SIGNATURE: header})


def not_paid(ask):
    return unpaid(ask("shop"))


def named_again(ask):
    named = {"payment-identifier": {"info": {"required": False, "id": f"pay_{secrets.token_hex(16)}"}}}
    for _ in range(2):
        answer = present(ask("shop"), payment(ask("shop"), ask("payer"), extensions=named))
    return answer


def for_another_pack(ask):
    header = payment(ask("shop"), ask("payer"))
    data_of(present(ask("shop"), header))
    return present(ask("shop"), header, OTHER_PACK)


def beyond_its_means(ask):
    """A wallet with a dollar signs for two, and the first is not in a block yet."""
    poor, client, chain = ask("onchain").payer(atomic=DOLLAR), ask("hurried_shop"), ask("onchain").chain
    chain.set_automine(False)
    try:
        assert present(client, payment(client, poor)).status_code == 202
        return present(client, payment(client, poor))
    finally:
        chain.set_automine(True)
        chain.mine()


def denied(ask):
    return present(ask("strict_shop"), payment(ask("strict_shop"), ask("payer")))


def invited_too_early(ask):
    bought = data_of(present(ask("shop"), payment(ask("shop"), ask("payer"))))
    return agent_of(ask("shop"), bought).send("POST", "/v1/agents", {"agent_name": "a", "runtime": "pytest"})


def would_fail(ask):
    """Its gas cannot be estimated any more when it is to be carried out."""
    with ask("rpc_proxy").faulty("eth_estimateGas", refused(3, "execution reverted: Pausable: paused")):
        return present(ask("shop"), payment(ask("shop"), ask("payer")))


def not_signed(ask):
    return ask("shop").post(SIGN_IN)


def signed_by_another(ask):
    fields = {**asked_by(ask("shop")), "address": ask("payer").address}
    return ask("shop").post(SIGN_IN, headers={HEADER: signed(Account.create(), fields)})


GIVEN_BY = {
    Refusal.SIGN_IN_REFUSED: signed_by_another,
    Refusal.PAYMENT_IDENTIFIER_CONFLICT: named_again,
    Refusal.PAYMENT_ALREADY_USED: for_another_pack,
    Refusal.PAYER_BUSY: beyond_its_means,
    Refusal.PAYER_REFUSED: denied,
    Refusal.WALLET_SIGN_IN_FIRST: invited_too_early,
    Refusal.PAYMENT_REQUIRED: not_paid,
    Refusal.PAYMENT_FAILED: would_fail,
    Refusal.SIGN_IN_REQUIRED: not_signed,
}


def test_every_refusal_that_needs_a_chain_is_given_here():
    assert tuple(GIVEN_BY) == ON_CHAIN


@pytest.mark.parametrize("refusal", GIVEN_BY, ids=lambda refusal: refusal.name)
def test_refusal_on_a_chain_is_answered_as_its_rule_says(refusal, request):
    assert_answered_by_rule(GIVEN_BY[refusal](request.getfixturevalue), refusal)


@pytest.mark.parametrize("length", [20_000, 60_000, 200_000, 2_000_000])
def test_a_header_of_any_size_is_refused_and_the_service_goes_on(service_on_chain, length):
    request = f"POST {PACK} HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n{SIGNATURE}: {'A' * length}\r\n\r\n"
    assert service_on_chain.raw(request.encode()).status_code in {400, 431}
    assert httpx.get(f"{service_on_chain.url}/healthz", timeout=ANSWER_S).status_code == 200
