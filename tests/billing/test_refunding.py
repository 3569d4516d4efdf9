"""An operator's refund: previewed, stored before it is sent, sent once whatever is lost, never more than was paid."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import pytest

from billing.attempts import RequestState
from billing.operator_actions import COMMAND_LINE, Acting
from billing.refusals import Refusal, Refused
from billing.reversal_tables import RefundRequest
from billing.reversals import refunding
from rails.money import RefundOrder
from rails.rail import OutcomeStored, OutcomeUnknown, ProviderRefused, ProviderRequest, RailUnavailable
from tests.billing.conftest import Buyer
from tests.billing.reversing import Paid, paid


class Provider:
    """Makes refunds under keys, and answers as it is told: it loses answers, keeps failures, refuses, is away."""

    def __init__(self, *answers: Exception) -> None:
        self.answers = list(answers)
        self.made: dict[str, str] = {}
        self.sent: list[ProviderRequest] = []
        self.makes = True

    def prepare_refund(self, order: RefundOrder, /) -> ProviderRequest:
        return ProviderRequest(order.provider_key, f"{order.payment_id} {order.amount}", "v1")

    async def start_refund(self, request: ProviderRequest, /) -> str:
        self.sent.append(request)
        answer = self.answers.pop(0) if self.answers else None
        if self.makes and not isinstance(answer, ProviderRefused | RailUnavailable):
            self.made.setdefault(request.provider_key, f"re_{len(self.made)}_{request.provider_key}")
        if answer is not None:
            raise answer
        return self.made[request.provider_key]

    async def find_refund(self, _payment_id: str, request: ProviderRequest, /) -> str | None:
        return self.made.get(request.provider_key)


@pytest.fixture
async def payment(buyer: Buyer) -> Paid:
    return await paid(buyer)


async def ask(payment: Paid, amount: int | None = None, *, key: str = "k", by: Acting = COMMAND_LINE) -> RefundRequest:
    return await refunding.ask(
        payment.buyer.house.sessions, attempt_id=payment.attempt_id, amount_cents=amount, reason="asked for", by=by,
        idempotency_key=f"{key} {payment.attempt_id}", now=payment.buyer.house.clock(),
    )  # fmt: skip


async def carry_out(
    payment: Paid, provider: Provider, request: RefundRequest, *, later: timedelta = timedelta()
) -> str | None:
    return await refunding.carry_out(
        payment.buyer.house.sessions, provider, request, clock=lambda: payment.buyer.house.clock() + later
    )


async def stored(payment: Paid, request: RefundRequest) -> RefundRequest:
    async with payment.buyer.house.sessions() as session:
        return await session.get_one(RefundRequest, (request.organization_id, request.id))


async def preview(payment: Paid, amount: int | None = None) -> refunding.Preview:
    async with payment.buyer.house.sessions() as session:
        return await refunding.preview(
            session, payment.attempt_id, amount_cents=amount, now=payment.buyer.house.clock()
        )


async def test_a_preview_says_what_would_be_taken_and_what_would_be_owed(payment: Paid):
    await payment.spend(300)
    await payment.hold(150)
    seen = await preview(payment)
    assert (seen.refundable_cents, seen.amount_cents, seen.credits) == (500, 500, 500)
    assert (seen.credits_unspent, seen.credits_held, seen.credits_expired, seen.credits_owed) == (50, 150, 0, 300)
    part = await preview(payment, 40)
    assert (part.credits_unspent, part.credits_held, part.credits_owed) == (40, 0, 0)


async def test_a_preview_does_what_the_refund_then_does(payment: Paid):
    await payment.spend(300)
    seen = await preview(payment, 333)
    before = await payment.balance()
    await payment.apply(payment.refund("a", 333))
    after = await payment.balance()
    assert before.spendable - after.spendable == seen.credits_unspent
    assert after.owed == seen.credits_owed


async def test_a_refund_is_sent_once_and_known_by_its_id(payment: Paid):
    provider = Provider()
    request = await ask(payment, 200)
    refund_id = await carry_out(payment, provider, request)
    assert await carry_out(payment, provider, request) == refund_id
    assert len(provider.sent) == 1
    assert (await stored(payment, request)).state == RequestState.ANSWERED


async def test_the_same_key_gives_the_same_request_and_other_content_is_a_conflict(payment: Paid):
    first = await ask(payment, 200)
    assert (await ask(payment, 200)).id == first.id
    with pytest.raises(Refused) as refused:
        await ask(payment, 201)
    assert refused.value.refusal is Refusal.SPENDING_CONFLICT


async def test_never_more_is_asked_for_than_was_paid_however_many_ask_at_once(payment: Paid):
    asked = await asyncio.gather(*(ask(payment, 200, key=f"k{n}") for n in range(5)), return_exceptions=True)
    refused = [one for one in asked if isinstance(one, Refused)]
    assert len(refused) == 3
    assert all(one.refusal is Refusal.AMOUNT_EXCEEDS_REST for one in refused)
    assert (await preview(payment)).refundable_cents == 100


async def test_a_refund_that_was_read_is_not_counted_twice(payment: Paid):
    provider = Provider()
    request = await ask(payment, 200)
    refund_id = await carry_out(payment, provider, request)
    assert refund_id is not None
    await payment.apply(replace(payment.refund("a", 200), refund_id=refund_id))
    assert (await preview(payment)).refundable_cents == 300


async def test_a_lost_answer_is_asked_for_again_with_the_same_bytes(payment: Paid):
    provider = Provider(OutcomeUnknown("lost"))
    request = await ask(payment)
    with pytest.raises(OutcomeUnknown):
        await carry_out(payment, provider, request)
    assert (await stored(payment, request)).state == RequestState.UNKNOWN
    assert await carry_out(payment, provider, request) is not None
    assert provider.sent[0] == provider.sent[1]
    assert len(provider.made) == 1


async def test_what_is_unknown_stays_unknown_while_the_provider_is_away(payment: Paid):
    provider = Provider(OutcomeUnknown("lost"), RailUnavailable("away"))
    request = await ask(payment)
    for error in (OutcomeUnknown, RailUnavailable):
        with pytest.raises(error):
            await carry_out(payment, provider, request)
    assert (await stored(payment, request)).state == RequestState.UNKNOWN


async def test_a_stored_failure_is_looked_for_among_the_refunds(payment: Paid):
    provider = Provider(OutcomeStored("a 500 again"))
    request = await ask(payment)
    assert await carry_out(payment, provider, request) == provider.made[request.provider_key]


async def test_a_stored_failure_that_made_nothing_ends_the_request_and_frees_the_amount(payment: Paid):
    provider = Provider(OutcomeStored("a 500 again"))
    provider.makes = False
    request = await ask(payment)
    assert await carry_out(payment, provider, request) is None
    assert (await stored(payment, request)).state == RequestState.REFUSED
    assert (await preview(payment)).refundable_cents == 500


async def test_after_the_key_is_forgotten_nothing_is_sent_and_the_refund_is_found(payment: Paid):
    provider = Provider(OutcomeUnknown("lost"))
    request = await ask(payment)
    with pytest.raises(OutcomeUnknown):
        await carry_out(payment, provider, request)
    assert await carry_out(payment, provider, request, later=timedelta(hours=24)) is not None
    assert len(provider.sent) == 1


async def test_a_refusal_is_kept_with_its_reason_and_frees_the_amount(payment: Paid):
    provider = Provider(ProviderRefused(code="charge_disputed", message="it is disputed"))
    request = await ask(payment)
    assert await carry_out(payment, provider, request) is None
    row = await stored(payment, request)
    assert (row.state, row.error) == (RequestState.REFUSED, "charge_disputed: it is disputed")
    assert (await preview(payment)).refundable_cents == 500


async def test_what_was_never_paid_cannot_be_refunded(buyer: Buyer):
    attempt_id = await buyer.buy(await buyer.quote())
    never = Paid(buyer, attempt_id, "pi_none", 500, 0)
    for unknown in (never, replace(never, attempt_id=UUID(int=7))):
        with pytest.raises(Refused) as refused:
            await ask(unknown)
        assert refused.value.refusal is Refusal.NOT_FOUND
