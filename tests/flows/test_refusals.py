"""Each refusal of the closed list is given by a route, with the status, code, exit code and recovery of its rule.

Those that need a chain are provoked in `tests/x402/test_x402_refusals.py`, those of jobs in `test_jobs_called_out.py`.
"""

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from datetime import UTC, datetime
from uuid import UUID

import asyncpg
import httpx
import pytest

from billing.refusals import Refusal
from billing.scopes import Scope
from ledger.ids import external, parse
from ledger.operations import Caps, Kind
from tests.giving import about_grant, give, new_operator, organization_of, post_operations, scatter, set_caps
from tests.refused import OF_JOBS, ON_CHAIN, assert_answered_by_rule
from tests.service import ANSWER_S, CHECKOUT, DEPOSIT, PURCHASES, Agent, agent_of, new_key, until

CHECKOUTS = PURCHASES[CHECKOUT]


def buying(agent, quote, key=None):
    return agent.send("POST", CHECKOUTS, {"quote_id": quote["quote_id"], "idempotency_key": key or new_key()})


def canceling(agent, bought):
    return agent.send("POST", f"/v1/credit-purchases/{bought['payment_attempt_id']}/cancel")


def invalid(ask):
    return ask("agent").send("GET", "/v1/activity", limit="x")


def unsigned(ask):
    return ask("http").post("/webhooks/stripe", content=b"{}")


def without_token(ask):
    return ask("http").get("/v1/quota")


def unknown_path(ask):
    return ask("http").get("/v1/unknown")


def wrong_method(ask):
    return ask("http").delete("/v1/quota")


def too_large(ask):
    return ask("strict_http").post("/v1/credit-quotes", content=b"x" * 2000, headers=ask("agent").headers)


def too_slow(ask):
    return ask("stalled")["a letter"][0]


def too_often(ask):
    for _ in range(4):
        answer = ask("strict_http").post("/v1/agent-signups", json={"agent_name": "a", "runtime": "b"})
    return answer


def other_terms(ask):
    agent = ask("agent")
    agent.quote(key="k")
    return agent.send("POST", "/v1/credit-quotes", {"credits": 7, "payment_method": DEPOSIT, "idempotency_key": "k"})


def other_quote(ask):
    agent = ask("agent")
    agent.buy(agent.quote(), key="k")
    return buying(agent, agent.quote(), "k")


def other_rail(ask):
    agent = ask("agent")
    return buying(agent, agent.quote(DEPOSIT))


def paid(ask):
    agent = ask("agent")
    bought = agent.buy(agent.quote())
    ask("sandbox").pay(bought["checkout_session_id"])
    agent.wait_for_state("succeeded", quote_id=bought["quote_id"])
    return agent, bought


def already_paid(ask):
    return buying(*paid(ask))


def in_progress(ask):
    agent = ask("agent")
    quote = agent.quote()
    agent.buy(quote)
    return buying(agent, quote)


def expired(ask):
    agent = ask("agent")
    quote = agent.quote()
    ask("service").database.rows(
        "UPDATE billing.credit_quotes SET expires_at = created_at WHERE id = $1::uuid",
        str(parse("quote", quote["quote_id"])),
    )
    return buying(agent, quote)


def cancel_paid(ask):
    return canceling(*paid(ask))


def cancel_processing(ask):
    agent = ask("agent")
    bought = agent.buy(agent.quote())
    ask("sandbox").control("POST", f"sessions/{bought['checkout_session_id']}/pay_delayed")
    agent.wait_for_state("processing", quote_id=bought["quote_id"])
    return canceling(agent, bought)


def limited(ask):
    agent = ask("agent")
    set_caps(ask("database"), agent, Caps(paused=True))
    return agent.send("POST", "/v1/agents", {"agent_name": "a", "runtime": "b"})


def last_agent(ask):
    agent = ask("agent")
    return agent.send("POST", f"/v1/agents/{agent.agent_id}/revoke")


def crowded(ask):
    agent = ask("agent")
    ask("service").database.rows(
        "INSERT INTO billing.agents (organization_id, id, name, runtime, created_at) SELECT organization_id, "
        "gen_random_uuid(), 'c', 'c', now() FROM billing.agents, generate_series(1, 99) WHERE id = $1::uuid",
        str(parse("agt", agent.agent_id)),
    )
    return agent.send("POST", "/v1/agents", {"agent_name": "a", "runtime": "b"})


def rich(ask, credits_=10):
    agent = ask("agent")
    give(ask("database"), agent, credits_)
    return agent


def ending(agent, hold, doing="capture", **body):
    return agent.ask(f"/v1/holds/{hold['hold_id']}/{doing}", **body)


def held(agent, credits_=10, **more):
    return agent.do("/v1/holds", credits=credits_, **{"expires_in_seconds": 60, **more})


def without_scope(ask):
    return new_operator(ask("http"), ask("database"), Scope.READ).ask("/v1/spends", credits=1)


def of_a_sibling(ask):
    agent = rich(ask)
    sibling = agent_of(ask("http"), agent.post("/v1/agents", {"agent_name": "s", "runtime": "pytest"}))
    return ending(sibling, held(agent), "void")


def other_spend(ask):
    agent = rich(ask)
    agent.do("/v1/spends", "k", credits=1)
    return agent.ask("/v1/spends", "k", credits=2)


def letter_that_is_done(ask):
    letter, now = UUID(int=1), datetime.now(UTC)
    ask("database").rows(
        "INSERT INTO webhooks.letters (id, source, provider_event_id, type, body, state, next_try_at, received_at)"
        " VALUES ($1, 'tests', 'evt_done', 'done', '', 'done', $2, $2) ON CONFLICT DO NOTHING", letter, now
    )  # fmt: skip
    operator = new_operator(ask("http"), ask("database"), Scope.OPERATE)
    return operator.ask(f"/v1/operator/letters/{external('letter', letter)}/retry", reason="again")


def run_out(ask):
    agent = rich(ask)
    hold = held(agent, expires_in_seconds=1)
    time.sleep(1.02)
    return ending(agent, hold, credits=10)


def closed(ask):
    agent = rich(ask)
    hold = held(agent)
    ending(agent, hold, "void")
    return ending(agent, hold, credits=10)


def frozen(ask):
    agent = ask("agent")
    grant = give(ask("database"), agent, 10, paid=True)
    hold = held(agent)
    post_operations(ask("database"), about_grant(agent, Kind.FREEZE, grant))
    return ending(agent, hold, credits=10)


def more_than_held(ask):
    agent = rich(ask)
    return ending(agent, held(agent, 9), credits=10)


def scattered(ask):
    agent = ask("agent")
    scatter(ask("database"), agent, 260)
    return agent.ask("/v1/spends", credits=260)


def grouped(ask):
    items = [{"credits": n, "idempotency_key": new_key(), "group": 1} for n in (1, 11)]
    return rich(ask).post("/v1/spends/batch", {"items": items})["results"][0]["error"]


def paused(ask):
    agent = rich(ask)
    set_caps(ask("database"), agent, Caps(paused=True))
    return agent.ask("/v1/spends", credits=1)


def capped(ask):
    agent = rich(ask)
    set_caps(ask("database"), agent, Caps(per_hour=5))
    return agent.ask("/v1/spends", credits=6)


def short(ask):
    return ask("agent").ask("/v1/spends", credits=1)


def cut_off(ask):
    agent = rich(ask)
    return Agent(ask("severed_http"), agent.token, agent.agent_id, agent.organization_id).ask("/v1/spends", credits=1)


@contextmanager
def locked(database, agent):
    """Somebody keeps the agent's book locked for the length of the block."""
    kept, over = threading.Event(), threading.Event()

    async def keep():
        connection = await asyncpg.connect(database.owner_url)
        try:
            async with connection.transaction():
                book = "SELECT FROM ledger.books WHERE organization_id = $1 FOR UPDATE"
                await connection.execute(book, organization_of(agent))
                kept.set()
                await asyncio.to_thread(over.wait)
        finally:
            await connection.close()

    with ThreadPoolExecutor(1) as aside:
        keeping = aside.submit(asyncio.run, keep())
        try:
            until(lambda: kept.is_set() or keeping.done())
            yield
        finally:
            over.set()
            keeping.result()


def crowded_out(ask):
    """Thousands wait for one book that somebody keeps locked."""
    agent, database = rich(ask, 6000), ask("database")
    url = ask("start_service")(refusals_per_minute=10_000).url  # so that batches are posted whole
    bodies = [{"items": [{"credits": 1, "idempotency_key": f"{n}-{m}"} for m in range(1000)]} for n in range(6)]
    with ThreadPoolExecutor(6) as crowd:
        with locked(database, agent):
            sent = [
                crowd.submit(httpx.post, f"{url}/v1/spends/batch", json=body, headers=agent.headers, timeout=ANSWER_S)
                for body in bodies
            ]
            refused = next(as_completed(sent)).result()
        answers = [each.result() for each in sent]
    served = [answer.json()["data"]["posted"] for answer in answers if answer.status_code == 200]
    assert served
    assert set(served) == {1000}, "what was let in was posted"
    return refused


def owned(ask):
    agent = ask("agent")
    owner = "INSERT INTO billing.owners VALUES ($1, gen_random_uuid(), 'human@owners.example', now())"
    ask("database").rows(owner, organization_of(agent))
    return agent.send("POST", "/v1/agent-claims", {"contact": "another@owners.example"})


def refused_by_stripe(ask):
    agent = ask("agent")
    ask("sandbox").fault("card_declined_like_400", "/v1/checkout/sessions")
    return buying(agent, agent.quote())


def not_configured(ask):
    body = {"credits": 500, "payment_method": DEPOSIT, "idempotency_key": new_key()}
    return ask("strict_http").post("/v1/credit-quotes", json=body, headers=ask("agent").headers)


def lost(ask):
    agent, key = ask("agent"), new_key()
    quote = agent.quote()
    ask("sandbox").fault("lost_answer", "/v1/checkout/sessions")
    answer = buying(agent, quote, key)
    agent.buy(quote, key)  # or the worker would ask for it later, and meet what another test has told the sandbox to do
    return answer


def database_away(ask):
    return ask("dark_http").get("/v1/quota", headers=ask("agent").headers)


def broken(ask):
    return ask("crippled_http").post("/v1/agent-signups", json={"agent_name": "a", "runtime": "b"})


GIVEN_BY = {
    Refusal.INVALID_ARGUMENTS: invalid,
    Refusal.WEBHOOK_SIGNATURE_INVALID: unsigned,
    Refusal.AUTH_REQUIRED: without_token,
    Refusal.SCOPE_MISSING: without_scope,
    Refusal.NOT_THE_MAKER: of_a_sibling,
    Refusal.NOT_FOUND: unknown_path,
    Refusal.METHOD_NOT_ALLOWED: wrong_method,
    Refusal.BODY_TOO_LARGE: too_large,
    Refusal.BODY_TOO_SLOW: too_slow,
    Refusal.RATE_LIMITED: too_often,
    Refusal.CREDIT_QUOTE_CONFLICT: other_terms,
    Refusal.CREDIT_PURCHASE_CONFLICT: other_quote,
    Refusal.CREDIT_QUOTE_PAYMENT_METHOD_MISMATCH: other_rail,
    Refusal.CREDIT_QUOTE_ALREADY_PAID: already_paid,
    Refusal.CREDIT_PURCHASE_IN_PROGRESS: in_progress,
    Refusal.CREDIT_QUOTE_EXPIRED: expired,
    Refusal.PAYMENT_ATTEMPT_ALREADY_PAID: cancel_paid,
    Refusal.PAYMENT_ATTEMPT_NOT_CANCELABLE: cancel_processing,
    Refusal.SPENDER_LIMITED: limited,
    Refusal.LAST_AGENT: last_agent,
    Refusal.AGENT_LIMIT_REACHED: crowded,
    Refusal.SPENDING_CONFLICT: other_spend,
    Refusal.STATE_CONFLICT: letter_that_is_done,
    Refusal.HOLD_EXPIRED: run_out,
    Refusal.HOLD_CLOSED: closed,
    Refusal.HOLD_FROZEN: frozen,
    Refusal.AMOUNT_EXCEEDS_REST: more_than_held,
    Refusal.CREDITS_TOO_FRAGMENTED: scattered,
    Refusal.GROUP_REFUSED: grouped,
    Refusal.SPENDER_PAUSED: paused,
    Refusal.SPEND_CAP_EXCEEDED: capped,
    Refusal.QUOTA_EXCEEDED: short,
    Refusal.CLAIM_CONFLICT: owned,
    Refusal.PAYMENT_PROVIDER_REFUSED: refused_by_stripe,
    Refusal.PAYMENT_METHOD_UNAVAILABLE: not_configured,
    Refusal.PAYMENT_OUTCOME_UNKNOWN: lost,
    Refusal.POSTING_OUTCOME_UNKNOWN: cut_off,
    Refusal.OVERLOADED: crowded_out,
    Refusal.SERVICE_UNAVAILABLE: database_away,
    Refusal.INTERNAL_ERROR: broken,
}


def test_every_refusal_of_the_list_is_given_here_or_on_a_chain_or_to_a_job():
    assert list(GIVEN_BY) == [refusal for refusal in Refusal if refusal not in ON_CHAIN + OF_JOBS]


GIVEN_TO_AN_ITEM = {Refusal.GROUP_REFUSED}
"""Only items of a batch are refused so, never a whole request."""


@pytest.mark.parametrize(
    "refusal", [each for each in GIVEN_BY if each not in GIVEN_TO_AN_ITEM], ids=lambda refusal: refusal.name
)
def test_refusal_is_answered_as_its_rule_says(refusal, request):
    assert_answered_by_rule(GIVEN_BY[refusal](request.getfixturevalue), refusal)


@pytest.mark.parametrize("refusal", GIVEN_TO_AN_ITEM, ids=lambda refusal: refusal.name)
def test_an_item_is_refused_as_its_rule_says(refusal, request):
    error = GIVEN_BY[refusal](request.getfixturevalue)
    assert (error["code"], error["retryable"]) == (refusal.code, refusal.rule.retryable)
    assert error["recovery"]["advice"] == refusal.rule.advice
