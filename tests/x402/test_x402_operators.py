"""A held payment waits for a person: who decides once, with a reason, and the next turn does what was decided."""

import pytest

from api.command_line import settlements as commands
from api.reasons import CannotGoOn
from billing import operator_keys
from billing.refusals import Refusal, Refused
from billing.scopes import Scope
from billing.settlement_states import SettlementState as S
from billing.settling_tables import Decision
from ledger.ids import external
from tests.service import data_of, error_of
from tests.x402.till import DOLLAR

LIST = "/v1/operator/settlements"


@pytest.fixture
async def holding(open_till, tmp_path):
    """A till whose deny list is not there, so that it holds every payment."""
    return await open_till(x402_deny_list=tmp_path / "lost")


async def held(till):
    key = await till.claimed_by(till.onchain.payer())
    assert await till.turn(key, 3) == S.HELD
    return key, external("payatt", (await till.row(key)).attempt_id)


async def asked(till, method, path, *scopes, **body):
    """What an operator with a fresh key of `scopes` is answered."""
    made = await operator_keys.create(till.house.sessions, name="of the tests", scopes=scopes, now=till.clock())
    headers = {"authorization": f"Bearer {made.token}"}
    return await till.client.request(method, path, headers=headers, json=body or None)


async def test_what_the_screening_holds_is_paid_granted_nothing_and_shown_to_operators_without_its_signature(holding):
    key, attempt = await held(holding)
    assert holding.onchain.received == DOLLAR
    assert await holding.spendable(key) == 0
    answer = await asked(holding, "GET", f"{LIST}?state=held", Scope.READ)
    [shown] = [one for one in data_of(answer)["settlements"] if one["payment_attempt_id"] == attempt]
    assert (shown["state"], shown["amount_atomic"], shown["decision"]) == ("held", str(DOLLAR), None)
    assert "deny list" in shown["reason"]
    assert (await holding.row(key)).signature.hex() not in answer.text
    told = data_of(await holding.client.get(f"/v1/x402/payments/{attempt}"))
    assert told == {"state": "under_review", "payment_attempt_id": attempt}


async def test_a_released_payment_is_granted_by_the_next_turn(holding):
    key, attempt = await held(holding)
    body = {"reason": "known to us", "idempotency_key": "release-it"}
    done = data_of(await asked(holding, "POST", f"{LIST}/{attempt}/release", Scope.OPERATE, **body))
    assert (done["settlement"]["decision"], done["action"]["action"]) == ("release", "release_payment")
    assert await holding.turn(key) == S.SETTLED
    assert await holding.spendable(key) == 100


async def test_a_kept_payment_is_unallocated_once_its_block_is_final_and_its_attempt_has_failed(holding):
    key, attempt = await held(holding)
    await commands.decided(holding.house, attempt, Decision.KEEP, reason="sanctioned")
    assert await holding.turn(key) == S.HELD
    holding.finalize()
    assert await holding.turn(key) == S.KEPT
    assert (await holding.attempt(key)).state == "failed"
    assert await holding.spendable(key) == 0
    assert (await holding.platform())["unallocated_deposits"] >= 100
    assert await holding.turn(key) == S.KEPT
    assert (await holding.row(key)).final


async def test_an_operator_keeps_a_payment_over_http(holding):
    key, attempt = await held(holding)
    body = {"reason": "sanctioned", "idempotency_key": "keep-it"}
    done = data_of(await asked(holding, "POST", f"{LIST}/{attempt}/keep", Scope.OPERATE, **body))
    assert (done["settlement"]["decision"], done["action"]["action"]) == ("keep", "keep_payment")
    assert await holding.turn(key) == S.HELD


async def test_a_decision_is_made_once(holding):
    key, attempt = await held(holding)
    await commands.decided(holding.house, attempt, Decision.RELEASE, reason="known")
    with pytest.raises(Refused) as refused:
        await commands.decided(holding.house, attempt, Decision.KEEP, reason="changed my mind")
    assert refused.value.refusal is Refusal.STATE_CONFLICT
    assert await holding.turn(key) == S.SETTLED
    again = await asked(
        holding, "POST", f"{LIST}/{attempt}/release", Scope.OPERATE, reason="late", idempotency_key="late-release"
    )
    error_of(again, 409, "STATE_CONFLICT")


async def test_who_may_only_read_decides_nothing(holding):
    _, attempt = await held(holding)
    body = {"reason": "mine", "idempotency_key": "not-mine"}
    error_of(await asked(holding, "POST", f"{LIST}/{attempt}/keep", Scope.READ, **body), 403, "SCOPE_MISSING")


@pytest.mark.long
async def test_the_list_is_paged_and_an_unknown_attempt_is_not_found(holding):
    names = [(await held(holding))[1] for _ in range(3)]
    first = data_of(await asked(holding, "GET", f"{LIST}?limit=2", Scope.READ))
    assert [one["payment_attempt_id"] for one in first["settlements"]] == names[:0:-1]
    rest = data_of(await asked(holding, "GET", f"{LIST}?limit=2&cursor={first['next_cursor']}", Scope.READ))
    assert rest["settlements"][0]["payment_attempt_id"] == names[0]
    unknown = external("payatt", (await holding.row((await held(holding))[0])).id)
    body = {"reason": "which", "idempotency_key": "which"}
    error_of(await asked(holding, "POST", f"{LIST}/{unknown}/keep", Scope.OPERATE, **body), 404, "NOT_FOUND")


@pytest.mark.long
async def test_the_command_line_lists_them_and_knows_the_states(holding):
    _, attempt = await held(holding)
    found = await commands.listing(holding.house, state="held", limit=5, before=None)
    assert attempt in [str(cell) for cell in found.columns[0].cells]
    with pytest.raises(CannotGoOn):
        await commands.listing(holding.house, state="lost", limit=5, before=None)
