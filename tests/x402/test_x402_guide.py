"""The guide where the one method is the native one: followed as it stands, a wallet funds its agent."""

import pytest

from rails.x402.terms import METHOD_ID
from tests.service import data_of, error_of
from tests.x402.buying import buyer_at, paying, signed_for
from tests.x402.paying import REQUIRED
from tests.x402.till import WAIT_S

STAGES = ("quota_required", "ready_to_buy", "payment_pending", "payment_pending", "ready_to_spend")


@pytest.fixture
def payer(shared_chain):
    return shared_chain.payer()


async def test_a_wallet_that_follows_the_guide_pays_once_and_is_funded(open_till, payer):
    till = await open_till(x402_wait_s=WAIT_S)
    buyer = await buyer_at(till)
    required, stages = None, []
    for _ in STAGES:
        told = data_of(await till.client.get("/v1/guide", params={"credits": "100"}, headers=buyer.headers))
        stages.append(told["stage"])
        assert (told["top_up_path"], told["ready"]) == ("browserless_agent_self_fund", told["stage"] == STAGES[-1])
        step = told["next_action"]
        if told["ready"]:
            break
        headers = {**buyer.headers, **paying(signed_for(till, required, payer) if required else None)}
        assert step["command"] is None, "the public client has no words for it"
        answer = await till.client.request(step["method"], step["path"], json=step["body"], headers=headers)
        if step["path"] == "/v1/credit-quotes" or required:
            data_of(answer)
            continue
        error_of(answer, 402, "PAYMENT_REQUIRED")
        assert step["effect"]["no_spend"] is False
        required = answer.headers[REQUIRED] if told["stage"] == "payment_pending" else None
    assert tuple(stages) == STAGES
    assert await buyer.paid_credits() == 100


async def test_what_a_wallet_must_sign_stands_where_the_status_and_the_guide_say(open_till):
    till = await open_till()
    buyer = await buyer_at(till)
    quote_id = await buyer.quote()
    error_of(await buyer.buy(quote_id), 402, "PAYMENT_REQUIRED")
    status = await buyer.status(quote_id=quote_id)
    told = data_of(await till.client.get("/v1/guide", params={"credits": "100"}, headers=buyer.headers))
    for answer in (status, told["payment"]):
        settlement = answer["next_actions"]["recommended_settlement"]
        assert (settlement["purpose"], settlement["method_id"]) == ("settle_x402_credit_top_up", METHOD_ID)
        found = {"data": status if answer is status else told}
        for name in settlement["payable_instructions_path"].split("."):
            found = found[name]
        assert found == status["payment_attempt"]["x402"]["accepts"] != []
        body = {"quote_id": quote_id, "idempotency_key": f"buy-{quote_id}"}
        assert settlement["request"]["body"] == told["next_action"]["body"] == body
