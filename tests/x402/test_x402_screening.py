"""Payers that must not pay: refused before anything is taken, held when the money has come, kept when that is final."""

import pytest

from api.refunds import carry_out
from billing.attempts import RequestState
from billing.operator_actions import COMMAND_LINE
from billing.reversals import refunding
from billing.settlement_states import SettlementState as S
from ledger.ids import external
from tests.service import error_of
from tests.x402.till import DOLLAR

NOBODY = "# nobody yet\n"


@pytest.fixture
def deny_list(tmp_path):
    path = tmp_path / "denied.txt"
    path.write_text(NOBODY)
    return path


@pytest.fixture
async def till(open_till, deny_list):
    return await open_till(x402_deny_list=deny_list)


async def denied_when_it_has_come(till, deny_list):
    """A payment that is carried out, and whose payer is denied before it is granted."""
    key = await till.claimed_by(till.onchain.payer())
    deny_list.write_text(f"{(await till.row(key)).payer.lower()}  # since now\n")
    assert await till.turn(key, times=2) == S.HELD
    return key


async def shown(till, key):
    """What anybody who knows the attempt's id is told of it."""
    attempt_id = external("payatt", (await till.attempt(key)).id)
    answer = await till.client.get(f"/v1/x402/payments/{attempt_id}")
    return answer.json()["data"]["state"]


async def test_a_denied_payer_is_refused_and_nothing_is_kept(till, deny_list):
    payer = till.onchain.payer()
    before = till.counts()
    deny_list.write_text(f"{payer.address}\n")
    error_of(await till.ask(till.sign(payer)), 403, "PAYER_REFUSED")
    assert till.counts() == before
    assert till.onchain.received == 0
    deny_list.write_text(NOBODY + "#\n")
    assert (await till.ask(till.sign(payer))).status_code == 202


async def test_a_payer_who_is_denied_before_the_grant_gets_none_and_the_money_is_kept(till, deny_list):
    before = await till.platform()
    key = await denied_when_it_has_come(till, deny_list)
    assert (await shown(till, key), (await till.attempt(key)).state) == ("under_review", "processing")
    assert await till.turn(key, times=2) == S.HELD, "a reorganization could still take it"
    assert await till.books(key.organization_id) == {}

    till.finalize()
    assert await till.turn(key) == S.KEPT
    assert (await till.attempt(key)).state == "failed"
    kept = await till.platform()
    changed = {code: kept[code] - before.get(code, 0) for code in kept if kept[code] != before.get(code, 0)}
    received = {"usdc_clearing": DOLLAR, "conversion_usdc": DOLLAR, "conversion": 100}
    assert changed == {**received, "unallocated_deposits": 100}
    assert await till.spendable(key) == 0
    await till.turn(key)
    assert (await till.row(key)).final
    assert "deny" in (await till.row(key)).reason


async def test_what_is_kept_can_be_sent_back(till, deny_list):
    key = await denied_when_it_has_come(till, deny_list)
    till.finalize()
    assert await till.turn(key) == S.KEPT
    request = await refunding.ask(
        till.house.sessions, attempt_id=(await till.attempt(key)).id, amount_cents=None, reason="denied",
        by=COMMAND_LINE, idempotency_key=str(key.settlement_id), now=till.clock(),
    )  # fmt: skip
    await carry_out(till.house, request)
    async with till.house.sessions() as session:
        asked = await session.get_one(type(request), (request.organization_id, request.id))
    assert (asked.state, asked.amount_cents, asked.error) == (RequestState.ANSWERED, 100, None)


async def test_a_payer_who_is_let_off_before_it_is_final_stays_with_a_person(till, deny_list):
    key = await denied_when_it_has_come(till, deny_list)
    deny_list.write_text(NOBODY + "##\n")
    till.finalize()
    assert await till.turn(key, times=2) == S.HELD
    assert await till.spendable(key) == 0


async def test_a_held_payment_that_a_reorganization_takes_for_good_is_over(till, deny_list):
    key = await denied_when_it_has_come(till, deny_list)
    till.onchain.chain.reorg(1)
    await till.turn(key)
    till.pass_time(400)
    assert await till.turn(key) == S.HELD
    till.finalize()
    assert await till.turn(key) == S.FAILED
    assert (await till.attempt(key)).state == "failed"


@pytest.mark.parametrize("broken", [None, "not an address\n", b"\xff\xfe"], ids=["gone", "nonsense", "binary"])
async def test_a_list_that_cannot_be_read_holds_everybody(till, deny_list, broken):
    key = await till.claimed_by(till.onchain.payer())
    if broken is None:
        deny_list.unlink()
    else:
        deny_list.write_bytes(broken if isinstance(broken, bytes) else broken.encode())
    assert await till.turn(key, times=3) == S.HELD
    assert "cannot be read" in (await till.row(key)).reason
    assert (await till.spendable(key), till.onchain.received) == (0, DOLLAR)
    deny_list.write_text(NOBODY + "###\n")
    till.finalize()
    assert await till.turn(key) == S.HELD, "who let nobody through lets nobody through by itself"
