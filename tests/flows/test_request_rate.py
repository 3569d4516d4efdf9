"""How often an organization may ask for what costs the service most."""

from tests.service import Agent, data_of, error_of, new_agent, new_key


def here(measured, agent):
    """`agent` at the service that lets little be done."""
    return Agent(measured, agent.token, agent.agent_id, agent.organization_id)


def test_what_costs_the_service_most_is_counted_together_for_an_organization(measured, agent):
    hurried = here(measured, agent)
    quote = hurried.quote()
    attempt_id = hurried.buy(quote)["payment_attempt_id"]
    data_of(hurried.send("POST", f"/v1/credit-purchases/{attempt_id}/cancel"))
    terms = {"credits": 500, "payment_method": "stripe_checkout", "idempotency_key": new_key()}
    limited = [
        hurried.send("POST", "/v1/credit-quotes", terms),
        hurried.send("POST", "/v1/credit-purchases/stripe-checkout-sessions", {"quote_id": quote["quote_id"]}),
        hurried.send("POST", "/v1/credit-purchases/stripe-x402-deposits", {"quote_id": quote["quote_id"]}),
        hurried.send("POST", f"/v1/credit-purchases/{attempt_id}/cancel"),
        hurried.send("POST", "/v1/agents", {"agent_name": "one more", "runtime": "pytest"}),
        hurried.send("POST", "/v1/tokens/rotate"),
    ]
    for answer in limited:
        wait_s = error_of(answer, 429, "RATE_LIMITED")["recovery"]["retry_after_seconds"]
        assert answer.headers["retry-after"] == str(wait_s)
        assert 1 <= wait_s <= 60
    assert hurried.status(quote_id=quote["quote_id"])["state"] == "canceled"


def test_agents_of_one_organization_share_its_rate_and_others_do_not(measured, http, agent):
    invited = agent.post("/v1/agents", {"agent_name": "second", "runtime": "pytest"})
    second = Agent(measured, invited["token"], invited["agent_id"], agent.organization_id)
    for _ in range(3):
        here(measured, agent).quote()
    terms = {"credits": 500, "payment_method": "stripe_checkout", "idempotency_key": new_key()}
    error_of(second.send("POST", "/v1/credit-quotes", terms), 429, "RATE_LIMITED")
    here(measured, new_agent(http)).quote()


def test_without_a_token_nothing_is_counted(measured):
    for _ in range(5):
        error_of(measured.post("/v1/credit-quotes", json={}), 401, "AUTH_REQUIRED")
