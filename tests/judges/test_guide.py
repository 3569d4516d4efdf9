"""The public client's own guide reaches every stage here.

What it says does not depend on the native x402 method, which it has no words for.
"""

import json
import re

import pytest

from api.http.commands import Commands
from api.http.views import catalog, models, quota
from api.price_list import PriceBook
from api.settings import Settings
from billing.foresight import Foresight
from billing.packs import METHODS, STRIPE_CHECKOUT, STRIPE_X402, X402, NativeTerms
from ledger.statements import Balance
from rails.evm.networks import BASE, LOCAL
from tests.giving import give
from tests.judges.guided import guided, words_of
from tests.judges.public_client import VERSIONS, Client, missing
from tests.service import Caller, data_of, new_agent, new_contact, until

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


def at_hand(version):
    """The version, where it is here; else what it judges is not run, which is said."""
    if (reason := missing(version)) is not None:
        pytest.skip(f"NOT RUN: {reason}")
    return version


@pytest.fixture(params=[pytest.param(VERSIONS[0], marks=pytest.mark.long), VERSIONS[1]])
def version(request):
    """Both, the older one in the long tests: what is asked of it here, no change of ours is likely to touch."""
    return at_hand(request.param)


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
            left = quota.quota(Foresight(balance), OFFER, reasons, Commands(stand_in.url), live_money=True)
            stand_in.answers["/v1/quota"] = left
            said = client.said("create", "--prompt", "a fox", "--guide")
            assert json.loads(said)["data"]["stage"] == request.param
            return FRESH.sub("FRESH", said)

        yield ask


@pytest.mark.long
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


@pytest.mark.long
def test_where_nothing_else_is_offered_the_guide_shows_the_methods(guide):
    data = json.loads(guide(X402, network=BASE))["data"]
    commands = data["checks"]["payments"]["suggested_commands"]
    assert all(re.search("credits (methods|packs list) ", command) for command in commands)
    if data["stage"] == "quota_required":
        assert "credits methods" in data["next_command"]


# Its stages, on the real service. What the guide on the server says of the same agent is the same, or more.

PROMPT = "a fox in the snow"
ASKED = {"operation": "create", "prompt": PROMPT}
GUIDED = ("create", "--prompt", PROMPT, "--guide")
NOBODY = "http://127.0.0.1:9"
ONLY_OURS = {"ready_to_buy": "quota_required", "payment_pending": "quota_required"}
"""What the client's own guide says in the stages that only ours has."""
WAYS = dict(zip(VERSIONS, (STRIPE_CHECKOUT, STRIPE_X402), strict=True))


@pytest.fixture(scope="module")
def live(start_service):
    """A service that says that its money is real, as the guide wants it, and lets an organization order two jobs."""
    return start_service(sandbox_live_money=True, jobs_per_day=2)


@pytest.fixture(scope="module")
def live_http(live):
    with live.client() as client:
        yield client


@pytest.fixture
def client_of(version, live, tmp_path):
    """The client with an agent's token, or with none."""

    def make(agent=None, url=live.url):
        return Client(version, tmp_path, url, token=agent.token if agent is not None else None)

    return make


def stage_of(client, *words):
    """The stage, the words of the next command, and all else that the guide says."""
    data = client.run(*(words or GUIDED))
    return data["stage"], words_of(data["next_command"]), data


@pytest.mark.long
def test_without_a_prompt_the_guide_wants_one(client_of):
    stage, words, data = stage_of(client_of(), "create", "--guide")
    assert (stage, words[0]) == ("prompt_required", "create")
    assert {"--guide", "PROMPT"} <= set(words)
    assert data["guide_warning"]["next_command_safety"] == "rerun_guide_no_spend"


def test_where_nobody_answers_the_guide_says_so(client_of):
    stage, words, data = stage_of(client_of(url=NOBODY))
    assert (stage, words) == ("service_unreachable", ["models", "list"])
    assert data["checks"]["hosted_api"]["reachable"] is False


def test_where_nothing_carries_jobs_out_the_guide_shows_the_models(client_of, live):
    listed = PriceBook(None, executor=None).current()
    with guided(live.url) as stand_in:
        empty = models.listed(listed, [], [], url=stand_in.url, details=False, catalog_only=False)
        stand_in.answers["/v1/models"] = empty
        stage, words, _ = stage_of(client_of(url=stand_in.url))
    assert (stage, words) == ("no_executable_model", ["models", "list"])


@pytest.mark.parametrize("token", [None, "isk_r_nonsense"])
def test_without_a_token_that_holds_the_guide_signs_up(version, live, live_http, tmp_path, token):
    client = Client(version, tmp_path, live.url, token=token)
    stage, words, data = stage_of(client)
    assert (stage, words[:2]) == ("auth_required", ["signup", "--agent"])
    assert data["auth_ready"]["ready"] is False
    assert Caller(live_http, token or "").get("/v1/guide", **ASKED)["stage"] == stage


def test_without_credits_the_guide_quotes_and_our_own_says_the_same(client_of, live_http):
    agent = new_agent(live_http)
    client = client_of(agent)
    stage, words, data = stage_of(client)
    ours = agent.get("/v1/guide", **ASKED)
    assert stage == ours["stage"] == "quota_required"
    assert words[:2] == words_of(ours["next_action"]["command"])[:2] == ["credits", "quote"]
    assert data["self_fund_next_command"] == data["next_command"]
    assert data["checks"]["payments"]["preferred_method_summary"]["top_up_path"] == ours["top_up_path"]
    assert data["checks"]["quota"]["required_credits"] == ours["cost"]["credits"] == 7
    assert data["selection"]["model_id"] == ours["selection"]["model_id"]
    assert client.run(*words)["state"] == "created"


@pytest.mark.usefixtures("same_hour")
def test_when_the_day_is_over_both_guides_want_more_quota(client_of, live, live_http):
    agent = new_agent(live_http)
    give(live.database, agent, 100)
    for _ in range(2):
        data_of(agent.send("POST", "/v1/create", {"prompt": PROMPT}))
    stage, _, data = stage_of(client_of(agent))
    assert stage == agent.get("/v1/guide", **ASKED)["stage"] == "quota_required"
    assert data["checks"]["quota"]["daily_jobs_remaining"] == 0


def test_with_credits_the_guide_creates_and_what_it_recommends_spends_nothing(client_of, live, live_http):
    agent = new_agent(live_http)
    give(live.database, agent, 50)
    client = client_of(agent)
    stage, words, data = stage_of(client)
    assert (stage, words[0], data["ready"]) == ("ready_to_create", "create", True)
    assert data["auth_ready"]["ready"] is True
    planned = client.run(*words_of(data["recommended_no_spend_command"]))
    assert (planned["status"], agent.get("/v1/quota")["limits"]["remaining_credits"]) == ("planned", 50)
    assert client.run(*words)["status"] == "completed"
    assert agent.get("/v1/quota")["limits"]["remaining_credits"] == 43


def test_the_commands_of_our_guide_bring_the_client_from_nothing_to_its_job(
    version, client_of, live_http, sandbox, tmp_path
):
    """Either way of paying, each by one version."""
    asked = {**ASKED, "payment_method": WAYS[version].method_id}
    client, stages = client_of(), []
    ours = Caller(live_http, "").get("/v1/guide", **asked)
    while True:
        stages.append(ours["stage"])
        if ours["stage"] in ONLY_OURS:
            assert stage_of(client)[0] == ONLY_OURS[ours["stage"]]
        done = client.run(*filled(words_of(ours["next_action"]["command"])))
        if ours["ready"]:
            break
        caller = Caller(live_http, json.loads((tmp_path / "config.json").read_text())["token"])
        if ours["stage"] == "payment_pending":
            paid(sandbox, ours["payment"])
            until_ready(caller, asked)
        ours = caller.get("/v1/guide", **asked)
    assert stages == ["auth_required", "quota_required", "ready_to_buy", "payment_pending", "ready_to_create"]
    assert done["status"] == "completed"


def until_ready(caller, asked):
    until(lambda: caller.get("/v1/guide", **asked)["ready"])


def filled(words):
    known = {"CONTACT": new_contact(), "NAME": "judge", "RUNTIME": "pytest"}
    return [known.get(word, word) for word in words]


def paid(sandbox, payment):
    attempt = payment["payment_attempt"]
    if payment["accepted_payment_method"] == STRIPE_CHECKOUT.method_id:
        sandbox.pay(attempt["checkout_session_id"])
    else:
        sandbox.send_usdc(attempt["stripe_x402"]["payable_instructions"])
