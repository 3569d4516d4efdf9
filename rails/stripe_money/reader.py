"""Stripe's objects of money, read again, and refunds sent: the calls around `messages`."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from rails import stripe_objects
from rails.money import BalanceTransaction, MoneyFact, PayoutTold, RefundOrder
from rails.rail import ProviderRequest, Reference
from rails.stripe_door import API_VERSION, StripeDoor
from rails.stripe_money import messages
from rails.stripe_pages import Page, walk

REFUND_PAGES_MAX: Final = 10
"""Of one payment: a thousand refunds, of a cent each."""
PAYOUT_PAGES_MAX: Final = 1000
"""Of one payout, or of a day: a hundred thousand transactions."""
PAYOUT_LIST_PAGES_MAX: Final = 100
"""Of the list of payouts: ten thousand, a day each for 27 years."""


class StripeMoney:
    """What became of money at Stripe: keeps the promises of `MoneyReader`, `StatementReader` and `Refunder`."""

    def __init__(self, door: StripeDoor, *, clock: Callable[[], datetime]) -> None:
        """The door is this reader's own, for its owner to close; `clock` says when a reading begins."""
        self.door = door
        self._clock = clock

    def references(self, event: Mapping[str, Any], /) -> Sequence[Reference]:
        """The objects of money that a decoded Stripe event is about. Pure."""
        return messages.references(event)

    async def read(self, reference: Reference, /) -> Sequence[MoneyFact]:
        """What is true now of a payment's charge, of a refund or all of a payment's, a dispute, a warning, a payout."""
        read_at = self._clock()
        object_id = reference.external_id
        match reference.kind:
            case messages.PAYMENT_INTENT:
                intent = await self.door.retrieve_booked_payment_intent(object_id)
                return messages.charge_booked(intent, read_at=read_at)
            case messages.REFUND:
                return messages.refund_seen(await self.door.retrieve_refund(object_id), read_at=read_at)
            case messages.REFUNDS_OF_PAYMENT:
                refunds = await self._refunds(object_id)
                return tuple(fact for one in refunds for fact in messages.refund_seen(one, read_at=read_at))
            case messages.DISPUTE:
                return messages.dispute_seen(await self.door.retrieve_dispute(object_id), read_at=read_at)
            case messages.EARLY_FRAUD_WARNING:
                warning = await self.door.retrieve_early_fraud_warning(object_id)
                return messages.fraud_warned(warning, read_at=read_at)
            case messages.PAYOUT:
                payout = await self.door.retrieve_payout(object_id)
                return (messages.payout_seen(payout, await self._contents(payout), read_at=read_at),)
            case kind:
                raise ValueError(f"Stripe has no money of kind {kind!r}")

    async def told_lines(self, since: datetime, until: datetime, /) -> Sequence[BalanceTransaction]:
        """Every line of the balance of at most a day, newest first."""

        async def page(after: str | None) -> Page:
            return await self.door.balance_transactions_created(since, until, after)

        return [messages.line_told(line) async for line in walk(page, pages_max=PAYOUT_PAGES_MAX)]

    async def told_payouts(self, since: datetime, until: datetime, /) -> Sequence[PayoutTold]:
        """Every payout of a time, newest first."""

        async def page(after: str | None) -> Page:
            return await self.door.payouts_created(since, until, after)

        return [messages.payout_told(payout) async for payout in walk(page, pages_max=PAYOUT_LIST_PAGES_MAX)]

    async def told_contents(self, payout_id: str, /) -> Sequence[BalanceTransaction]:
        """What an automatic payout was made of, its own line included."""

        async def page(after: str | None) -> Page:
            return await self.door.transactions_of_payout(payout_id, after)

        return [messages.line_told(line) async for line in walk(page, pages_max=PAYOUT_PAGES_MAX)]

    def prepare_refund(self, order: RefundOrder, /) -> ProviderRequest:
        """The refund to create, under the key that billing has chosen. Pure."""
        return ProviderRequest(order.provider_key, stripe_objects.refund_parameters(order), API_VERSION)

    async def start_refund(self, request: ProviderRequest, /) -> str:
        """Create the refund, or get the one that this request made before; its id."""
        parameters = json.loads(request.parameters)
        refund = await self.door.create_refund(parameters, request.provider_key, request.api_version)
        return str(refund["id"])

    async def find_refund(self, payment_id: str, request: ProviderRequest, /) -> str | None:
        """The id of the payment's refund that was made under the request's key; None only when all of them were read.

        Raises `RailUnavailable` or `ProviderRefused`.
        """
        for refund in await self._refunds(payment_id):
            if (refund.get("metadata") or {}).get(stripe_objects.KEY) == request.provider_key:
                return str(refund["id"])
        return None

    async def _refunds(self, payment_intent_id: str) -> list[dict[str, Any]]:
        async def page(after: str | None) -> Page:
            return await self.door.refunds_of_payment_intent(payment_intent_id, after)

        return [refund async for refund in walk(page, pages_max=REFUND_PAGES_MAX)]

    async def _contents(self, payout: Mapping[str, Any]) -> list[dict[str, Any]] | None:
        if not messages.tells_contents(payout):
            return None

        async def page(after: str | None) -> Page:
            return await self.door.transactions_of_payout(payout["id"], after)

        return [line async for line in walk(page, pages_max=PAYOUT_PAGES_MAX)]
