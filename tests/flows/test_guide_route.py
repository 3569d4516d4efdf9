"""The guide over HTTP: every stage, that it changes nothing, and that who follows it comes to funded work."""

import pytest

from api.http.fields_guide import PROMPT_IN_ADDRESS_LENGTH_MAX
from billing import status
from billing.packs import X402
from ledger import ids
from ledger.ids import external
from ledger.operations import Caps
from tests.giving import give, set_caps
from tests.service import CHECKOUT, DEPOSIT, Caller, agent_of, data_of, error_of, new_agent, new_contact, until

GUIDE = "/v1/guide"
CREATE = {"operation": "create", "prompt": "a fox & NAME\n--of PROMPT?"}
ROUNDS_MAX = 12
WAYS = {CHECKOUT: "human_payment_handoff", DEPOSIT: "browserless_agent_self_fund"}


@pytest.fixture(scope="module")
def quiet(start_service, new_databases):
    """A service on a database of its own, without a worker: what changes there was changed by a request."""
    return start_service(database=new_databases("guide"), jobs_per_day=1)


@pytest.fixture(scope="module")
def quiet_http(quiet):
    with quiet.client() as client:
        yield client


def take(caller, step, **inputs):
    """Send a step as it stands, with its placeholders filled."""
    filled = {**inputs, "CONTACT": new_contact(), "NAME": "walker", "RUNTIME": "pytest"}
    path, body = step["path"], step["body"]
    for word in step["missing_inputs"]:
        path = path.replace(word, filled[word])
        body = {name: filled[word] if value == word else value for name, value in body.items()} if body else body
    return caller.client.request(step["method"], path, json=body, headers=caller.headers)


def walk(http, sandbox, **query):
    """Do what the guide says until it says to spend: the stages on the way, the agent, and what the last step gave."""
    caller, stages = Caller(http, ""), []
    for _ in range(ROUNDS_MAX):
        told = caller.get(GUIDE, **query)
        stages.append(told["stage"])
        for step in told["where_to_stop"]:
            if step["purpose"] != "cancel_purchase":
                data_of(take(caller, step))
        done = data_of(take(caller, told["next_action"]))
        if told["stage"] == "auth_required":
            caller = agent_of(http, done)
        elif told["stage"] == "payment_pending":
            pay(sandbox, told["payment"])
            wait_until_paid(caller, told["payment"]["payment_attempt"]["payment_attempt_id"])
        elif told["ready"]:
            return stages, caller, told, done
    raise AssertionError(stages)


def wait_until_paid(caller, attempt_id):
    path = "/v1/credit-purchases/status"
    until(lambda: caller.get(path, payment_attempt_id=attempt_id)["state"] == "succeeded")


def pay(sandbox, payment):
    attempt = payment["payment_attempt"]
    if payment["accepted_payment_method"] == CHECKOUT:
        assert payment["next"]["checkout_handoff_url"].endswith(f"/pay/{attempt['payment_attempt_id']}")
        sandbox.pay(attempt["checkout_session_id"])
        return
    settlement = payment["next_actions"]["recommended_settlement"]
    assert settlement["payable_instructions_path"] == "data.payment.payment_attempt.stripe_x402.payable_instructions"
    sandbox.send_usdc(attempt["stripe_x402"]["payable_instructions"])


@pytest.mark.parametrize("method", WAYS)
def test_who_follows_the_guide_from_nothing_has_spent_what_it_wanted_to(http, sandbox, method):
    stages, agent, told, spent = walk(http, sandbox, operation="spend", credits=80, payment_method=method)
    assert stages == ["auth_required", "quota_required", "ready_to_buy", "payment_pending", "ready_to_spend"]
    assert told["top_up_path"] == WAYS[method]
    assert (spent["kind"], spent["status"]) == ("spend", "posted")
    assert agent.paid_credits() == 0, "what was missing was bought, and no more"


def test_who_follows_the_guide_from_nothing_has_its_job(http, sandbox):
    stages, agent, told, job = walk(http, sandbox, **CREATE)
    assert stages == ["auth_required", "quota_required", "ready_to_buy", "payment_pending", "ready_to_create"]
    assert job["job"]["status"] == "completed"
    assert data_of(take(agent, told["after_next"], JOB_ID=job["job_id"]))["job"]["job_id"] == job["job_id"]
    assert agent.get(GUIDE, **CREATE)["stage"] == "quota_required"


def test_without_a_question_the_guide_is_about_a_single_credit(http):
    told = data_of(http.get(GUIDE))
    assert (told["operation"], told["stage"], told["cost"]["credits"]) == ("spend", "auth_required", 1)
    assert told["next_action"]["requires_auth"] is False
    assert told["next_action"]["missing_inputs"] == ["CONTACT", "NAME", "RUNTIME"]


@pytest.mark.parametrize("token", ["nonsense", f"isk_r_{'0' * 26}{'A' * 43}", "x" * 300])
def test_a_token_that_does_not_hold_is_a_stage_and_no_refusal(http, token):
    envelope = http.get(GUIDE, headers={"authorization": f"Bearer {token}"}).json()
    assert (envelope["ok"], envelope["actor"]) == (True, None)
    assert envelope["data"]["stage"] == "auth_required"
    assert envelope["data"]["reason"] == "token_invalid"
    assert envelope["data"]["checks"]["auth"] == {"token_status": "invalid", "authenticated": False}


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("operation=dance", "operation"),
        ("operation=", "operation"),
        ("credits=0", "credits"),
        ("credits=-1", "credits"),
        ("credits=1.5", "credits"),
        ("credits=9007199254740992", "credits"),
        ("credits=1&credits=2", "credits"),
        ("payment_method=card", "payment_method"),
        ("operation=create&prompt=%20", "prompt"),
        ("operation=create&prompt=a%00b", "prompt"),
        ("operation=create&model=", "model"),
    ],
)
def test_what_the_guide_does_not_understand_is_refused_by_name(http, query, field):
    error = error_of(http.get(f"{GUIDE}?{query}"), 400, "INVALID_ARGUMENTS")
    assert error["message"].startswith(field)


def test_the_longest_prompt_that_the_guide_takes_fits_into_an_address_and_a_longer_one_is_refused_in_words(http):
    longest = "\U0001f98a" * PROMPT_IN_ADDRESS_LENGTH_MAX
    assert data_of(http.get(GUIDE, params={"operation": "create", "prompt": longest}))["stage"] == "auth_required"
    refused = http.get(GUIDE, params={"operation": "create", "prompt": longest + "a"})
    assert "POST /v1/create takes more" in error_of(refused, 400, "INVALID_ARGUMENTS")["message"]


@pytest.mark.parametrize("model", ["nobody.knows", "house.sculptor"])
def test_a_model_that_cannot_be_ordered_is_the_first_thing_to_know(http, agent, model):
    told = agent.get(GUIDE, **CREATE, model=model)
    assert (told["stage"], told["selection"]) == ("no_executable_model", None)
    assert told["reason"] == told["checks"]["models"]["reason"]
    listed = data_of(take(Caller(http, ""), told["next_action"]))["models"]
    assert agent.get(GUIDE, **CREATE, model=listed[0]["id"])["selection"]["model_id"] == listed[0]["id"]


def test_more_than_can_be_bought_at_once_is_bought_in_parts(agent):
    cost = agent.get(GUIDE, credits=2**53 - 1)["cost"]
    assert (cost["missing_credits"], cost["buy_credits"], cost["amount_cents"]) == (2**53 - 1, 5000, 5000)


def test_a_purchase_that_waits_is_shown_instead_of_a_second_one_until_it_is_given_up(agent):
    agent.buy(agent.quote(DEPOSIT, credits_=80))
    told = agent.get(GUIDE, credits=90, payment_method=CHECKOUT)
    assert told["stage"] == "payment_pending"
    assert told["payment"]["accepted_payment_method"] == DEPOSIT
    assert told["next_action"]["purpose"] == "watch_payment"
    [cancel] = [step for step in told["where_to_stop"] if step["purpose"] == "cancel_purchase"]
    assert data_of(take(agent, cancel))["state"] == "canceled"
    assert agent.get(GUIDE, credits=90)["stage"] == "quota_required", "the quote would not be enough"


def test_a_quote_whose_key_is_used_up_is_bought_under_another_one(agent):
    bought = agent.buy(agent.quote(DEPOSIT, credits_=80))
    agent.post(f"/v1/credit-purchases/{bought['payment_attempt_id']}/cancel")
    told = agent.get(GUIDE, credits=80)
    assert told["stage"] == "ready_to_buy"
    assert told["next_action"]["body"]["idempotency_key"] != bought["idempotency_key"]
    assert data_of(take(agent, told["next_action"]))["state"] == "action_required"


def test_of_the_quotes_that_are_enough_the_smallest_is_bought(agent):
    for credits_ in (500, 120, 60):
        agent.quote(DEPOSIT, credits_=credits_)
    assert agent.get(GUIDE, credits=100)["payment"]["credits"] == 120
    assert agent.get(GUIDE, credits=100, payment_method=CHECKOUT)["stage"] == "quota_required"


def test_what_another_agent_of_the_organization_has_bought_is_waited_for_and_of_others_nothing_is_told(http, agent):
    sibling = agent_of(http, agent.post("/v1/agents", {"agent_name": "sibling", "runtime": "pytest"}))
    quote = agent.quote(DEPOSIT, credits_=80)
    assert sibling.get(GUIDE, credits=80)["stage"] == "quota_required", "a quote is its agent's"
    agent.buy(quote)
    told = sibling.get(GUIDE, credits=80)
    assert (told["stage"], told["next_action"]["purpose"]) == ("payment_pending", "watch_payment")
    assert new_agent(http).get(GUIDE, credits=80)["payment"] is None


def _state_of(database):
    """Every row of every table, in one sum a table."""
    tables = database.rows(
        "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables "
        "WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
    )
    sums = " UNION ALL ".join(
        f"SELECT '{name}' AS name, count(*) AS rows, md5(string_agg(t::text, '' ORDER BY t::text)) AS sum FROM {name} t"
        for (name,) in tables
    )
    return {row[0]: tuple(row[1:]) for row in database.rows(sums)}


@pytest.mark.usefixtures("same_hour")
def test_the_guide_changes_nothing_in_any_stage(quiet, quiet_http):
    asking = _in_every_stage(quiet.database, quiet_http)
    before = _state_of(quiet.database)
    assert len(before) > 20
    for caller, stage, purpose, query in asking:
        told = caller.get(GUIDE, **query)
        assert (told["stage"], told["next_action"]["purpose"]) == (stage, purpose)
    assert _state_of(quiet.database) == before


def _in_every_stage(database, http):
    """Who asks what, and which stage and step it is told."""
    poor, quoted, bought, rich, capped, paused, unready, tired = (new_agent(http) for _ in range(8))
    quoted.quote(DEPOSIT, credits_=80)
    bought.buy(bought.quote(CHECKOUT, credits_=80))
    for each in (rich, capped, paused, unready, tired):
        give(database, each, 50)
    set_caps(database, capped, Caps(per_hour=60, per_day=70))
    capped.do("/v1/spends", credits=30)
    set_caps(database, unready, Caps(per_spend=10))
    set_caps(database, paused, Caps(paused=True))
    data_of(tired.send("POST", "/v1/create", {"prompt": "a fox"}))
    nobody = Caller(http, "")
    return [
        (nobody, "no_executable_model", "inspect_models", {**CREATE, "model": "nobody.knows"}),
        (nobody, "auth_required", "sign_up", {"credits": 80}),
        (Caller(http, "nonsense"), "auth_required", "sign_up", CREATE),
        (poor, "quota_required", "quote_credit_top_up", {"credits": 80}),
        (poor, "quota_required", "quote_credit_top_up", CREATE),
        (poor, "quota_required", "inspect_payment_methods", {"payment_method": X402.method_id}),
        (quoted, "ready_to_buy", "complete_credit_top_up", {"credits": 80}),
        (bought, "payment_pending", "watch_payment", {"credits": 80}),
        (capped, "cap_reached", "wait_for_allowance", {"credits": 40}),
        (capped, "cap_reached", "ask_operator", {"credits": 61}),
        (unready, "cap_reached", "ask_operator", {"credits": 11}),
        (paused, "spender_paused", "ask_operator", {"credits": 1}),
        (tired, "quota_required", "wait_for_next_day", CREATE),
        (rich, "ready_to_spend", "spend_credits", {"credits": 50}),
        (rich, "ready_to_create", "create", CREATE),
    ]


@pytest.mark.usefixtures("same_hour")
def test_what_the_guide_says_of_caps_is_what_spending_is_refused_with(quiet, quiet_http):
    agent = new_agent(quiet_http)
    give(quiet.database, agent, 50)
    set_caps(quiet.database, agent, Caps(per_day=20))
    told = agent.get(GUIDE, credits=21)
    error = error_of(agent.ask("/v1/spends", credits=21), 402, "SPEND_CAP_EXCEEDED")
    assert told["checks"]["caps"]["caps"] == error["recovery"]["current"]["caps"]
    assert agent.get(GUIDE, credits=20)["stage"] == "ready_to_spend"


async def test_a_quote_that_is_being_paid_is_for_nobody_to_buy(house, agent):
    async def buyable(method, least=80):
        async with house.sessions() as session:
            organization_id, agent_id = ids.parse("org", agent.organization_id), ids.parse("agt", agent.agent_id)
            return await status.buyable(
                session, organization_id, agent_id, least=least, methods=[method],
                lasting=house.place.offer.quote_ttl, now=house.clock(),
            )  # fmt: skip

    quote = agent.quote(DEPOSIT, credits_=80)
    found = await buyable(DEPOSIT)
    assert external("quote", found.quote.id) == quote["quote_id"]
    assert await buyable(DEPOSIT, least=81) is None
    assert await buyable(CHECKOUT) is None
    agent.buy(quote)
    assert await buyable(DEPOSIT) is None
