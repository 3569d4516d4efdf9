"""Credits that an operator gives."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from billing import grants
from billing.fresh import new_id
from billing.grants import Gift
from billing.refusals import Refusal, Refused
from billing.scopes import Scope
from billing.spending import Behalf
from ledger import ids
from ledger.ids import external
from ledger.operations import PLATFORM, LotCause
from tests.flows.operators import new_desk
from tests.service import error_of, new_agent, new_key


@pytest.fixture(scope="module")
def operator(database, http):
    return new_desk(http, database, Scope.GRANT, Scope.READ)


def days_from_now(days):
    return (datetime.now(UTC) + timedelta(days=days)).isoformat()


def test_a_gift_is_answered_with_the_balance_after_it(operator, agent):
    given = operator.give(agent, 40, reason="welcome")
    assert (given["kind"], given["status"], given["replayed"]) == ("grant", "posted", False)
    assert (given["credits"], given["cause"], given["expires_at"]) == (40, "promotional", None)
    assert given["position"]["seq"] == 2
    assert given["limits"] == {
        "remaining_credits": 40,
        "payment_backed_remaining_credits": 0,
        "held_credits": 0,
    }
    assert agent.get("/v1/quota")["limits"] == given["limits"]


def test_a_correction_is_spendable_and_never_counts_as_paid(operator, agent):
    operator.give(agent, 7, cause="correction")
    assert agent.get("/v1/quota")["limits"]["remaining_credits"] == 7
    assert agent.paid_credits() == 0


def test_a_repeated_grant_gives_once_and_gets_its_first_answer(operator, agent):
    key = new_key()
    first = operator.give(agent, 40, key=key)
    operator.give(agent, 5)
    again = operator.give(agent, 40, key=key)
    assert again == {**first, "replayed": True}
    assert agent.get("/v1/quota")["limits"]["remaining_credits"] == 45


@pytest.mark.parametrize(
    "changes", [{"credits": 41}, {"cause": "correction"}, {"reason": "other"}, {"expires_in_days": 3}, {"priority": 5}]
)
def test_another_grant_under_the_same_key_is_a_conflict(operator, agent, changes):
    key = new_key()
    first = operator.give(agent, 40, key=key)
    body = {"cause": "promotional", "credits": 40, "idempotency_key": key, **changes}
    error = error_of(operator.send("POST", "/v1/grants", agent, body), 409, "SPENDING_CONFLICT")
    assert error["retryable"] is False
    assert error["recovery"]["operation_id"] == first["operation_id"]
    assert error["recovery"]["idempotency_key"] != key
    assert agent.get("/v1/quota")["limits"]["remaining_credits"] == 40


def test_the_same_key_in_another_organization_is_another_grant(operator, agent, http):
    key, other = new_key(), new_agent(http)
    assert operator.give(agent, 40, key=key)["operation_id"] != operator.give(other, 40, key=key)["operation_id"]


@pytest.mark.usefixtures("same_hour")
def test_days_end_with_a_utc_day_so_that_equal_gifts_join_one_lot(operator, agent):
    first, second = (operator.give(agent, 10, expires_in_days=3) for _ in range(2))
    ends = datetime.fromisoformat(first["expires_at"])
    assert ends.time() == datetime.min.time()
    assert timedelta(days=3) < ends - datetime.now(UTC) <= timedelta(days=4)
    assert second["expires_at"] == first["expires_at"]
    (expiring,) = agent.get("/v1/ledger/balance")["expires"]
    assert (expiring["credits"], expiring["expires_at"]) == (20, first["expires_at"])


async def test_a_grant_in_days_that_is_repeated_on_another_day_gets_its_first_answer(agent, house):
    behalf = Behalf(ids.parse("org", agent.organization_id), new_id(house.clock()), None)
    gift = Gift(LotCause.PROMOTIONAL, 40, expires_in_days=10)
    today, later = house.clock(), house.clock() + timedelta(days=3)
    async with house.lane:
        first, posted = await grants.give(house.sessions, house.lane, behalf, gift, "key", now=today)
        again, replayed = await grants.give(house.sessions, house.lane, behalf, gift, "key", now=later)
        assert again.lot == first.lot
        assert replayed == replace(posted, replayed=True)
        for other in (replace(gift, expires_in_days=9), replace(gift, expires_in_days=None)):
            with pytest.raises(Refused) as refused:
                await grants.give(house.sessions, house.lane, behalf, other, "key", now=later)
            assert refused.value.refusal is Refusal.SPENDING_CONFLICT
    assert agent.get("/v1/quota")["limits"]["remaining_credits"] == 40


def test_an_expiry_in_the_past_is_refused_and_leaves_no_trace(operator, agent):
    key = new_key()
    body = {"cause": "promotional", "credits": 40, "idempotency_key": key, "expires_at": days_from_now(-1)}
    error_of(operator.send("POST", "/v1/grants", agent, body), 400, "INVALID_ARGUMENTS")
    assert operator.give(agent, 40, key=key, expires_at=days_from_now(1))["replayed"] is False


def test_a_smaller_priority_and_a_sooner_expiry_are_burned_first(operator, agent):
    operator.give(agent, 10, expires_at=days_from_now(20))
    operator.give(agent, 10, expires_at=days_from_now(10))
    operator.give(agent, 10, priority=1)
    agent.post("/v1/spends", {"credits": 15, "idempotency_key": new_key()})
    burned = agent.get("/v1/ledger/entries", kind="spend", account="consumed")["entries"]
    assert [(entry["lot_id"], entry["amount"]) for entry in burned] == [("lot_3", 10), ("lot_2", 5)]


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"cause": "paid"}, "cause"),
        ({"cause": None}, "cause"),
        ({"credits": 0}, "credits"),
        ({"credits": 1.0}, "credits"),
        ({"credits": True}, "credits"),
        ({"credits": 2**53}, "credits"),
        ({"expires_in_days": 0}, "expires_in_days"),
        ({"expires_in_days": 4000}, "expires_in_days"),
        ({"expires_at": "2099-01-01"}, "expires_at"),
        ({"expires_at": 4_000_000_000}, "expires_at"),
        ({"expires_at": "2099-01-01T00:00:00Z", "expires_in_days": 3}, "at most one of expires_at"),
        ({"priority": -1}, "priority"),
        ({"priority": 1001}, "priority"),
        ({"reason": ""}, "reason"),
        ({"idempotency_key": ""}, "idempotency_key"),
        ({"idempotency_key": "x" * 256}, "idempotency_key"),
        ({"organization_id": None}, "organization_id"),
    ],
)
def test_a_grant_that_makes_no_sense_is_refused_naming_the_field(operator, agent, changes, named):
    body = {"cause": "promotional", "credits": 40, "idempotency_key": new_key(), **changes}
    error = error_of(operator.send("POST", "/v1/grants", agent, body), 400, "INVALID_ARGUMENTS")
    assert error["message"].startswith(named)
    assert agent.get("/v1/quota")["limits"]["remaining_credits"] == 0


@pytest.mark.parametrize(
    "organization_id", ["org_00000000000000000000000000", "org_x", external("org", PLATFORM), "agt_" + "0" * 26]
)
def test_nobody_is_given_credits_where_there_is_no_organization(operator, organization_id):
    body = {
        "cause": "promotional", "credits": 1, "idempotency_key": new_key(), "organization_id": organization_id,
    }  # fmt: skip
    error_of(operator.send("POST", "/v1/grants", None, body), 404, "NOT_FOUND")


def test_agents_and_keys_without_the_scope_give_nothing(agent, database, http):
    body = {"cause": "promotional", "credits": 40, "idempotency_key": new_key()}
    error_of(agent.send("POST", "/v1/grants", body), 403, "SCOPE_MISSING")
    poor = new_desk(http, database, Scope.SPEND, Scope.READ, Scope.OPERATE)
    error_of(poor.send("POST", "/v1/grants", agent, body), 403, "SCOPE_MISSING")
    assert new_desk(http, database, Scope.ADMIN).give(agent, 40)["credits"] == 40
