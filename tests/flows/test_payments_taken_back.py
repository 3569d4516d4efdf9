"""Money that goes back, over HTTP and by letters: what the agent sees of it, and that nothing happens twice."""

import pytest

from tests.service import CHECKOUT, DEPOSIT, Agent, Service, until

pytestmark = pytest.mark.parametrize("method", [CHECKOUT, DEPOSIT])
REVERSAL_TYPES = ("refunded", "disputed", "reinstated", "reversal_pending", "reversal_rejected")


PENDING = ("reversal_pending", "pending")


class Purchase:
    """A purchase of 500 credits that was paid, and what is done with its money afterwards."""

    def __init__(self, agent: Agent, service: Service, method: str) -> None:
        self.agent, self.sandbox, self.service = agent, service.sandbox, service
        bought = agent.buy(agent.quote(method))
        self.quote_id = bought["quote_id"]
        if method == CHECKOUT:
            self.intent = self.sandbox.pay(bought["checkout_session_id"])["payment_intent"]
        else:
            self.intent = self.sandbox.send_usdc(bought["stripe_x402"]["payable_instructions"])["payment_intent"]
        agent.wait_for_state("succeeded", quote_id=self.quote_id)

    def refund(self, **how):
        return self.sandbox.control("POST", "refunds", payment_intent=self.intent, **how)

    def dispute(self, **how):
        return self.sandbox.control("POST", "disputes", payment_intent=self.intent, **how)

    def act(self, thing, act, **how):
        kind = "refunds" if thing["object"] == "refund" else "disputes"
        return self.sandbox.control("POST", f"{kind}/{thing['id']}/{act}", **how)

    def events(self):
        found = self.agent.get("/v1/activity", limit=50)["events"]
        prefix = "credits.payment_backed_"
        return [
            (event["type"].removeprefix(prefix), event["status"])
            for event in reversed(found)
            if event["type"].removeprefix(prefix) in REVERSAL_TYPES
        ]

    def wait(self, *events):
        """Until the feed says exactly these of the reversals, each as type and status.

        A refund on chain is pending at first; whether that is seen depends on when it is read.
        """
        until(lambda: [one for one in self.events() if one != PENDING or one in events] == list(events))
        return self.agent.status(quote_id=self.quote_id)

    @property
    def limits(self):
        return {"owed_credits": 0, "frozen_credits": 0, **self.agent.get("/v1/quota")["limits"]}


@pytest.fixture
def purchase(agent, service, method):
    return Purchase(agent, service, method)


def test_a_refund_takes_the_credits_and_the_purchase_says_so(purchase, method):
    purchase.refund()
    status = purchase.wait(("refunded", "refunded"))
    assert status["state"] == "refunded"
    assert purchase.limits["payment_backed_remaining_credits"] == 0
    [reversal] = status["reversals"]
    assert (reversal["kind"], reversal["status"], reversal["taken_back_cents"]) == ("refund", "refunded", 500)
    [event] = [
        event for event in purchase.agent.get(f"/v1/activity/{reversal['payment_reversal_id']}")["events"]
        if event["status"] == "refunded"
    ]  # fmt: skip
    assert event["links"]["payment_reversal_id"] == reversal["payment_reversal_id"]
    assert event["links"]["quote_id"] == purchase.quote_id
    assert event["links"]["receipt_id"] == status["receipt"]["receipt_id"]
    if method == DEPOSIT:
        assert reversal["details"]["transaction_hash"].startswith("0x")


def test_parts_are_taken_one_after_the_other_and_the_purchase_stays_succeeded_until_the_last(purchase):
    purchase.refund(amount=123)
    until(lambda: purchase.limits["payment_backed_remaining_credits"] == 377)
    assert purchase.agent.status(quote_id=purchase.quote_id)["state"] == "succeeded"
    purchase.refund(amount=377)
    purchase.agent.wait_for_state("refunded", quote_id=purchase.quote_id)
    assert purchase.limits["payment_backed_remaining_credits"] == 0


def test_a_refund_that_fails_after_it_succeeded_gives_the_credits_back(purchase):
    refund = purchase.refund(amount=200)
    purchase.wait(("refunded", "refunded"))
    purchase.act(refund, "fail")
    until(lambda: purchase.events()[-1] == ("reversal_rejected", "rejected"))
    assert purchase.limits["payment_backed_remaining_credits"] == 500


def test_a_dispute_that_is_won_after_the_credits_were_spent(purchase):
    purchase.agent.do("/v1/spends", credits=400)
    dispute = purchase.dispute()
    status = purchase.wait(("disputed", "disputed"))
    assert status["state"] == "disputed"
    assert (purchase.limits["payment_backed_remaining_credits"], purchase.limits["owed_credits"]) == (0, 400)
    purchase.act(dispute, "win")
    status = purchase.wait(("disputed", "disputed"), ("reinstated", "reinstated"))
    assert status["state"] == "succeeded"
    assert (purchase.limits["payment_backed_remaining_credits"], purchase.limits["owed_credits"]) == (100, 0)


def test_an_inquiry_that_becomes_a_dispute_is_lost_and_appealed(purchase):
    dispute = purchase.dispute(inquiry=True)
    purchase.wait(PENDING)
    assert purchase.limits["payment_backed_remaining_credits"] == 500
    purchase.act(dispute, "escalate")
    until(lambda: purchase.limits["payment_backed_remaining_credits"] == 0)
    purchase.act(dispute, "lose")
    told = [PENDING, ("disputed", "disputed"), ("disputed", "lost")]
    purchase.wait(*told)
    purchase.act(dispute, "appeal")
    purchase.act(dispute, "win")
    purchase.wait(*told, ("reinstated", "reinstated"))
    assert purchase.limits["payment_backed_remaining_credits"] == 500


def test_an_inquiry_that_closes_took_nothing(purchase):
    dispute = purchase.dispute(inquiry=True)
    purchase.act(dispute, "win")
    until(lambda: purchase.events()[-1:] == [("reversal_rejected", "rejected")])
    assert purchase.limits["payment_backed_remaining_credits"] == 500


def test_a_fraud_warning_freezes_what_is_unspent(purchase):
    purchase.agent.do("/v1/spends", credits=100)
    purchase.sandbox.control("POST", "fraud_warnings", payment_intent=purchase.intent)
    purchase.wait(PENDING)
    until(lambda: purchase.limits["payment_backed_remaining_credits"] == 0)
    assert purchase.limits["frozen_credits"] == 400


def test_what_is_owed_is_announced_in_the_next_quote_and_settled_by_its_payment(purchase, agent, service, method):
    purchase.agent.do("/v1/spends", credits=300)
    purchase.refund()
    until(lambda: purchase.limits["owed_credits"] == 300)
    quote = agent.quote(method)
    assert (quote["owed_credits"], quote["usable_credits"]) == (300, 200)
    again = Purchase(agent, service, method)
    assert again.limits["payment_backed_remaining_credits"] == 200
    assert again.limits["owed_credits"] == 0


@pytest.mark.parametrize(
    "mode", [pytest.param("twice", marks=pytest.mark.long), "shuffled", pytest.param("late", marks=pytest.mark.long)]
)
def test_letters_about_reversals_in_any_order_and_number_count_once(purchase, mode):
    purchase.sandbox.control("PUT", "deliveries", mode=mode, delay_seconds=0.3)
    try:
        purchase.refund(amount=100)
        failing = purchase.refund(amount=50)
        purchase.act(failing, "fail")
        dispute = purchase.dispute(amount=400)
        purchase.act(dispute, "win")
    finally:
        purchase.sandbox.control("PUT", "deliveries", mode="normal")
    until(lambda: all_brought(purchase) and not waiting_letters(purchase))
    assert (purchase.limits["payment_backed_remaining_credits"], purchase.limits["owed_credits"]) == (400, 0)


def all_brought(purchase):
    """Whether every event about the payment has come in by the webhook: the credits come to 400 on the way, too."""
    return all(event["pending_webhooks"] == 0 for event in purchase.sandbox.events_about(purchase.intent))


def waiting_letters(purchase):
    query = "SELECT count(*) FROM webhooks.letters WHERE state = 'pending' AND position($1::bytea IN body) > 0"
    return purchase.service.database.rows(query, purchase.intent.encode())[0][0]
