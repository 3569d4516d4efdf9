"""The ledger as its owners and operators read it."""

from datetime import UTC, datetime, timedelta

import pytest

from billing.scopes import Scope
from ledger.ids import external
from ledger.operations import PLATFORM, Kind
from tests.flows.operators import new_desk
from tests.giving import about_grant, give, post_operations
from tests.patience import in_time, over
from tests.service import agent_of, data_of, error_of, new_agent, new_key, until

READS = ("accounts", "entries", "balance")
BALANCE = "/v1/ledger/balance"
ENTRIES = "/v1/ledger/entries"


@pytest.fixture(scope="module")
def operator(database, http):
    return new_desk(http, database, Scope.GRANT, Scope.READ, Scope.SPEND)


def now():
    return datetime.now(UTC)


def spend(agent, credits_):
    return agent.post("/v1/spends", {"credits": credits_, "idempotency_key": new_key()})


def hold(agent, credits_, **lasting):
    return agent.post("/v1/holds", {"credits": credits_, "idempotency_key": new_key(), **lasting})


def all_entries(agent, limit, **query):
    page = agent.get(ENTRIES, limit=limit, **query)
    found, pages = page["entries"], 1
    while page["next_cursor"] is not None:
        page = agent.get(ENTRIES, limit=limit, cursor=page["next_cursor"], **query)
        assert len(page["entries"]) <= limit
        found, pages = found + page["entries"], pages + 1
    return found, pages


def with_the_fee(shown):
    """The accounts once the fee of the payment has been posted, which comes a little later."""
    return shown if any(row["account"] == "stripe_fees" for row in shown["accounts"]) else None


def test_accounts_are_a_table_that_balances(operator, agent, sandbox):
    bought = agent.buy(agent.quote(credits_=500))
    sandbox.pay(bought["checkout_session_id"])
    agent.wait_for_state("succeeded", quote_id=bought["quote_id"])
    operator.give(agent, 40)
    spend(agent, 30)
    hold(agent, 5, expires_in_seconds=600)
    shown = until(lambda: with_the_fee(agent.get("/v1/ledger/accounts")))
    balances = {row["account"]: row["balance"] for row in shown["accounts"]}
    credits_ = {"wallet": 505, "held": 5, "consumed": 30, "issued": 540}
    assert balances == {**credits_, "stripe_clearing": 455, "stripe_fees": 45, "deferred_revenue": 500}
    assert shown["totals"] == {
        "CREDIT": {"debits": 540, "credits": 540},
        "USD": {"debits": 545, "credits": 545},
    }
    assert operator.get("/v1/ledger/accounts", agent) == shown


def test_frozen_and_owed_credits_are_named_only_where_there_are_any(agent, database):
    grant_id = give(database, agent, 10, paid=True)
    usual = agent.get("/v1/quota")["limits"]
    assert set(usual) == {"remaining_credits", "payment_backed_remaining_credits", "held_credits"}
    post_operations(database, about_grant(agent, Kind.FREEZE, grant_id))
    for path in ("/v1/quota", BALANCE):
        frozen = agent.get(path)["limits"]
        assert frozen == {**usual, "payment_backed_remaining_credits": 0, "frozen_credits": 10}
    post_operations(database, about_grant(agent, Kind.UNFREEZE, grant_id))
    spend(agent, 7)
    post_operations(database, about_grant(agent, Kind.CLAW_BACK, grant_id, 10))
    assert agent.get(BALANCE)["limits"] == {**usual, "payment_backed_remaining_credits": 0, "owed_credits": 7}


def test_entries_come_in_pages_that_neither_lose_nor_repeat_one(operator, agent):
    operator.give(agent, 10, expires_in_days=1)
    operator.give(agent, 10, expires_in_days=2)
    operator.give(agent, 10)
    spend(agent, 25)
    held = hold(agent, 5, expires_in_seconds=600)
    agent.post(f"/v1/holds/{held['hold_id']}/void", {"idempotency_key": new_key()})
    whole, pages = all_entries(agent, 100)
    assert (len(whole), pages) == (2 * (3 + 3 + 1 + 1), 1)
    assert [entry["seq"] for entry in whole] == sorted(entry["seq"] for entry in whole)
    for limit in (1, 2, 3, 5):
        found, pages = all_entries(agent, limit)
        assert found == whole
        assert pages >= len(whole) // limit
    assert [e["balance_after"] for e in whole if e["account"] == "wallet"] == [10, 20, 30, 20, 10, 5, 0, 5]


@pytest.mark.parametrize("limit", [1, 2, 100])
def test_entries_are_filtered_by_account_and_by_kind(operator, agent, limit):
    operator.give(agent, 4)  # account number 4 is `consumed`: an amount that looks like one is no entry of it
    operator.give(agent, 10)
    spend(agent, 5)
    hold(agent, 4, expires_in_seconds=600)
    consumed, _ = all_entries(agent, limit, account="consumed")
    assert [(e["account"], e["amount"], e["kind"]) for e in consumed] == [("consumed", 5, "spend")]
    granted, _ = all_entries(agent, limit, kind="grant")
    assert [(e["account"], e["side"], e["amount"]) for e in granted] == [
        ("wallet", "debit", 4), ("issued", "credit", 4), ("wallet", "debit", 10), ("issued", "credit", 10),
    ]  # fmt: skip
    both, _ = all_entries(agent, limit, kind="spend", account="wallet")
    assert [(e["side"], e["amount"], e["balance_after"]) for e in both] == [("credit", 5, 9)]
    assert all_entries(agent, limit, account="bank")[0] == []


def test_a_balance_that_has_passed_is_what_was_answered_then(operator, agent):
    times = []
    for credits_ in (100, 20, 3):
        operator.give(agent, credits_, expires_in_days=credits_)
        spend(agent, 1)
        hold(agent, 2, expires_in_seconds=600)
        times.append(agent.get(BALANCE))
    spend(agent, 50)
    for answered in times:
        again = agent.get(BALANCE, at=answered["at"])
        assert again["limits"] == answered["limits"]
        assert "expires" not in again
    before = (now() - timedelta(days=1)).isoformat()
    assert set(agent.get(BALANCE, at=before)["limits"].values()) == {0}


def test_a_balance_to_come_says_what_expires_when(operator, agent):
    operator.give(agent, 10, expires_at=(now() + timedelta(days=5)).isoformat())
    operator.give(agent, 20, expires_at=(now() + timedelta(days=2)).isoformat())
    operator.give(agent, 40)
    hold(agent, 25, deadline=(now() + timedelta(days=3)).isoformat())
    coming = agent.get(BALANCE, at=(now() + timedelta(days=4)).isoformat())
    # 20 credits of the second lot and 5 of the first are on hold: those expire with the hold, these come back
    assert [(e["credits"], e["lot_id"], e["cause"]) for e in coming["expires"]] == [(20, "lot_2", "promotional")]
    assert coming["limits"]["remaining_credits"] == 50
    assert coming["limits"]["held_credits"] == 0
    current = agent.get(BALANCE)
    assert current["limits"]["remaining_credits"] == 45
    assert current["limits"]["held_credits"] == 25
    assert [(e["credits"], e["lot_id"]) for e in current["expires"]] == [(20, "lot_2"), (10, "lot_1")]
    assert current["more_expires"] is False
    times = [e["expires_at"] for e in current["expires"]]
    assert times == sorted(times)
    assert agent.get(BALANCE, at=(now() + timedelta(days=6)).isoformat())["limits"]["remaining_credits"] == 40


def test_what_ran_out_is_gone_before_anybody_posts_it_and_stays_so_afterwards(operator, http):
    def given_until(soon):
        agent = new_agent(http)
        operator.give(agent, 10)
        body = {"cause": "promotional", "credits": 7, "expires_at": soon.isoformat(), "idempotency_key": new_key()}
        given, before = operator.send("POST", "/v1/grants", agent, body), agent.get(BALANCE)
        if over(soon):
            return None
        assert (given.status_code, before["limits"]["remaining_credits"]) == (200, 17)
        return agent, before

    agent, before = in_time(given_until)
    gone = until(lambda: (found := agent.get(BALANCE))["limits"]["remaining_credits"] == 10 and found)
    assert agent.get(ENTRIES, kind="lot_expiry")["entries"] == []
    spend(agent, 4)
    (expired, wallet) = agent.get(ENTRIES, kind="lot_expiry")["entries"]
    assert (expired["account"], expired["amount"], wallet["balance_after"]) == ("expired", 7, 10)
    assert expired["event_at"] <= gone["at"] < expired["posted_at"]
    for answered in (before, gone):
        assert agent.get(BALANCE, at=answered["at"])["limits"] == answered["limits"]


def test_the_times_of_the_books_are_told_exactly_so_that_asking_about_one_is_about_that_one(operator, agent):
    operator.give(agent, 10)
    for _ in range(5):
        asked = agent.get(BALANCE)
        assert agent.get(BALANCE, at=asked["at"])["limits"] == asked["limits"]
        spent = agent.post("/v1/spends", {"credits": 1, "idempotency_key": new_key()})
        operation = agent.get(f"/v1/ledger/operations/{spent['operation_id']}")
        then = agent.get(BALANCE, at=operation["posted_at"])
        assert (then["at"], then["limits"]) == (operation["posted_at"], operation["limits"])


def test_an_operation_is_shown_with_its_entries_and_the_head_of_the_journal(operator, agent):
    given = operator.give(agent, 10, reason="welcome")
    sibling = agent_of(agent.client, agent.post("/v1/agents", {"agent_name": "sibling", "runtime": "pytest"}))
    key = new_key()
    spent = agent.post("/v1/spends", {"credits": 3, "idempotency_key": key})
    shown = agent.get(f"/v1/ledger/operations/{spent['operation_id']}")
    assert (shown["kind"], shown["status"], shown["seq"]) == ("spend", "posted", 3)
    assert shown["asked_by"] == {"type": "agent", "agent_id": agent.agent_id}
    assert shown["agent_id"] == agent.agent_id
    assert shown["limits"] == spent["limits"]
    assert [(e["account"], e["side"], e["amount"], e["balance_after"]) for e in shown["entries"]] == [
        ("consumed", "debit", 3, 3), ("wallet", "credit", 3, 7),
    ]  # fmt: skip
    assert shown["idempotency_key"] == key
    assert sibling.get(f"/v1/ledger/operations/{spent['operation_id']}") == {**shown, "idempotency_key": None}
    assert agent.get("/v1/ledger/accounts")["journal"] == {"seq": 3, "head": shown["head"]}
    grant = agent.get(f"/v1/ledger/operations/{given['operation_id']}")
    assert (grant["cause"], grant["asked_by"]) == ("promotional: welcome", {"type": "operator", "agent_id": None})
    assert operator.get(f"/v1/ledger/operations/{given['operation_id']}", agent)["idempotency_key"]


def test_holds_are_named_by_their_operations_and_deadlines_are_times(operator, agent):
    operator.give(agent, 10)
    deadline = "2099-01-01T00:00:00.000Z"
    error_of(
        agent.send("POST", "/v1/holds", {"credits": 1, "deadline": deadline, "idempotency_key": new_key()}),
        400, "INVALID_ARGUMENTS",
    )  # fmt: skip
    deadline = (now() + timedelta(days=2)).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    held = hold(agent, 4, deadline=deadline)
    made = agent.get(f"/v1/ledger/operations/{held['operation_id']}")
    assert (made["hold_id"], made["terms"]) == (held["hold_id"], {"deadline": deadline})
    captured = agent.post(f"/v1/holds/{held['hold_id']}/capture", {"credits": 3, "idempotency_key": new_key()})
    shown = agent.get(f"/v1/ledger/operations/{captured['operation_id']}")
    assert (shown["hold_id"], shown["target_operation_id"]) == (held["hold_id"], None)
    refund = {"operation_id": captured["operation_id"], "credits": 1, "idempotency_key": new_key()}
    refunded = data_of(operator.send("POST", "/v1/refunds-of-spends", agent, refund))
    shown = agent.get(f"/v1/ledger/operations/{refunded['operation_id']}")
    assert (shown["hold_id"], shown["target_operation_id"]) == (None, captured["operation_id"])


def test_a_reversal_tells_which_holds_it_took_from(agent, database):
    grant_id = give(database, agent, 10, paid=True)
    held = hold(agent, 8, expires_in_seconds=600)
    reversal = about_grant(agent, Kind.CLAW_BACK, grant_id, 6)
    post_operations(database, reversal)
    shown = agent.get(f"/v1/ledger/operations/{external('op', reversal.id)}")
    assert shown["target_operation_id"] == external("op", grant_id)
    assert shown["terms"]["held"] == [[held["hold_id"], 4]]
    assert [(e["account"], e["amount"]) for e in shown["entries"]] == [("clawed_back", 2), ("wallet", 2)]


def test_a_refusal_that_froze_its_key_is_an_operation_without_entries(agent):
    body = {"credits": 5, "idempotency_key": new_key()}
    error = error_of(agent.send("POST", "/v1/spends", body), 402, "QUOTA_EXCEEDED")
    shown = agent.get(f"/v1/ledger/operations/{error['recovery']['operation_id']}")
    assert (shown["status"], shown["entries"], shown["terms"]) == ("not_enough_credits", [], None)
    assert agent.get(ENTRIES)["entries"] == []


def test_a_receipt_publishes_the_head_of_the_journal_at_its_grant(agent, sandbox):
    bought = agent.buy(agent.quote())
    assert agent.status(quote_id=bought["quote_id"])["receipt"] is None
    sandbox.pay(bought["checkout_session_id"])
    receipt = agent.wait_for_state("succeeded", quote_id=bought["quote_id"])["receipt"]
    published = receipt["journal"]
    now = agent.get("/v1/ledger/accounts")["journal"]  # the fee may have been posted behind it already
    assert now["seq"] > published["seq"] or now == {"seq": published["seq"], "head": published["head"]}
    spend(agent, 1)
    assert agent.status(quote_id=bought["quote_id"])["receipt"] == receipt
    shown = agent.get(f"/v1/ledger/operations/{published['operation_id']}")
    assert (shown["seq"], shown["head"], shown["kind"]) == (published["seq"], published["head"], "grant")
    assert shown["asked_by"] == {"type": "system", "agent_id": None}
    assert shown["idempotency_key"] is None


@pytest.mark.parametrize("name", READS)
def test_agents_name_no_organization_and_operators_always_do(operator, agent, name):
    path = f"/v1/ledger/{name}"
    named = agent.send("GET", path, organization_id=agent.organization_id)
    error_of(named, 400, "INVALID_ARGUMENTS")
    error_of(operator.send("GET", path, None), 400, "INVALID_ARGUMENTS")
    assert operator.get(path, agent)["organization_id"] == agent.organization_id
    for unknown in ("org_00000000000000000000000000", "org_x", external("org", PLATFORM)):
        error_of(operator.send("GET", path, None, organization_id=unknown), 404, "NOT_FOUND")


def test_operations_of_others_are_not_told_apart_from_none(operator, agent, http):
    other = new_agent(http)
    theirs = operator.give(other, 10)["operation_id"]
    refusals = [
        error_of(agent.send("GET", f"/v1/ledger/operations/{name}"), 404, "NOT_FOUND")
        for name in (theirs, "op_00000000000000000000000000", "op_x", theirs.replace("op_", "hold_"))
    ]
    assert all(refusal == refusals[0] for refusal in refusals)
    error_of(operator.send("GET", f"/v1/ledger/operations/{theirs}", agent), 404, "NOT_FOUND")


@pytest.mark.parametrize(
    ("path", "query", "named"),
    [
        (BALANCE, {"at": "yesterday"}, "at"),
        (BALANCE, {"at": "2026-11-21T08:00:00"}, "at"),
        (BALANCE, {"at": "0001-01-01T00:00:00+14:00"}, "at"),
        (ENTRIES, {"cursor": "1"}, "cursor"),
        (ENTRIES, {"cursor": "entry_0_0"}, "cursor"),
        (ENTRIES, {"cursor": "entry_9999999999999999999_0"}, "cursor"),
        (ENTRIES, {"limit": 0}, "limit"),
        (ENTRIES, {"limit": 101}, "limit"),
        (ENTRIES, {"account": "savings"}, "account"),
        (ENTRIES, {"kind": "theft"}, "kind"),
    ],
)
def test_questions_that_make_no_sense_are_refused_naming_the_field(agent, path, query, named):
    error = error_of(agent.send("GET", path, **query), 400, "INVALID_ARGUMENTS")
    assert error["message"].startswith(f"{named} ")


def test_a_cursor_behind_the_end_finds_nothing(agent):
    assert agent.get(ENTRIES, cursor="entry_999999999999999_0") == {
        **agent.get(ENTRIES), "entries": [], "next_cursor": None,
    }  # fmt: skip


def test_the_far_ends_of_time_are_answered(operator, agent):
    operator.give(agent, 10)
    assert agent.get(BALANCE, at="9999-12-31T23:59:59Z")["limits"]["remaining_credits"] == 10
    assert agent.get(BALANCE, at="0001-01-01T00:00:00Z")["limits"]["remaining_credits"] == 0


def test_keys_without_the_scope_read_nothing(agent, database, http):
    poor = new_desk(http, database, Scope.SPEND, Scope.GRANT, Scope.OPERATE)
    for name in READS:
        error_of(poor.send("GET", f"/v1/ledger/{name}", agent), 403, "SCOPE_MISSING")
