"""What the public client's guide says does not depend on the native x402 method, which it has no words for."""

import json
import re

import pytest

from api.http.commands import Commands
from api.http.views import catalog, quota
from api.settings import Settings
from billing.packs import METHODS, STRIPE_CHECKOUT, STRIPE_X402, X402, NativeTerms
from ledger.statements import Balance
from rails.evm.networks import BASE, LOCAL
from tests.judges.guided import guided
from tests.judges.public_client import VERSIONS, Client, missing

PAY_TO = "0x0000000000000000000000000000000000000001"
FRESH = re.compile(r"trace_[0-9a-f]+|\d{13}-[0-9a-f]{8}")
"""What the client makes anew for each run."""
LISTS = (
    "live_money_methods",
    "browserless_methods",
    "agent_initiated_methods",
    "agent_payable_methods",
    "agent_settleable_methods",
)
"""Where the guide names every method whose money is real."""
STAGES = {"quota_required": Balance(0, 0, 0), "ready_to_create": Balance(60, 0, 0)}
"""What there is to spend in each stage of the guide in which it speaks of paying."""
OFFER = Settings().offer()


@pytest.fixture(params=VERSIONS)
def version(request):
    if (reason := missing(request.param)) is not None:
        pytest.skip(f"NOT RUN: {reason}")
    return request.param


@pytest.fixture(params=STAGES)
def guide(request, version, service, tmp_path):
    """What the guide says when these methods are available; `network` is that of the native one."""
    balance = STAGES[request.param]
    with guided(service.url) as stand_in:
        client = Client(version, tmp_path, stand_in.url, token="isk_r_judge")

        def ask(*available, network=None, without_native_row=False):
            reasons = {method_id: None if METHODS[method_id] in available else "not here" for method_id in METHODS}
            terms = NativeTerms(network.caip2, network.token_address, PAY_TO, 300) if network else None
            seen = catalog.methods(OFFER, reasons, Commands(stand_in.url), live_money=True, native_terms=terms)
            if without_native_row:
                seen["methods"].pop()
            stand_in.answers["/v1/payment-methods"] = seen
            left = quota.quota(balance, OFFER, reasons, Commands(stand_in.url), live_money=True)
            stand_in.answers["/v1/quota"] = left
            said = client.said("create", "--prompt", "a fox", "--guide")
            assert json.loads(said)["data"]["stage"] == request.param
            return FRESH.sub("FRESH", said)

        yield ask


@pytest.mark.parametrize("stripe", [(STRIPE_CHECKOUT, STRIPE_X402), (STRIPE_CHECKOUT,)])
def test_the_guide_is_the_same_with_a_native_method_whose_money_is_not_real(guide, stripe):
    before = guide(*stripe, without_native_row=True)
    assert guide(*stripe) == before
    assert guide(*stripe, X402, network=LOCAL) == before


def test_the_guide_names_a_native_method_whose_money_is_real_last_and_is_else_the_same(guide):
    stripe = (STRIPE_CHECKOUT, STRIPE_X402)
    before, after = (json.loads(said) for said in (guide(*stripe), guide(*stripe, X402, network=BASE)))
    payments = after["data"]["checks"]["payments"]
    for name in LISTS:
        assert payments[name].pop() == X402.method_id
    assert after == before


def test_where_only_a_human_can_pay_besides_the_guide_goes_on_with_a_command_that_works(guide):
    said = guide(STRIPE_CHECKOUT, X402, network=BASE)
    assert f"--payment-method {STRIPE_X402.method_id}" not in said
    assert f"--payment-method {X402.method_id}" not in said
    data = json.loads(said)["data"]
    if data["stage"] == "quota_required":
        assert f"--payment-method {STRIPE_CHECKOUT.method_id}" in data["next_command"]


def test_where_nothing_else_is_offered_the_guide_shows_the_methods(guide):
    data = json.loads(guide(X402, network=BASE))["data"]
    commands = data["checks"]["payments"]["suggested_commands"]
    assert all(re.search("credits (methods|packs list) ", command) for command in commands)
    if data["stage"] == "quota_required":
        assert "credits methods" in data["next_command"]
