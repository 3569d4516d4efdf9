"""Stripe Checkout as a rail: the calls around `messages`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from rails import stripe_objects
from rails.rail import CheckoutAction, Fact, Found, Order, ProviderRefused, ProviderRequest, Reference
from rails.stripe_checkout import messages
from rails.stripe_door import API_VERSION, StripeDoor
from rails.stripe_pages import CLOCK_SKEW, SEARCHED_PAGES_MAX, Page, first


class StripeCheckout:
    """A human opens a link and pays there. Keeps what `rails.rail.Rail` promises."""

    def __init__(self, door: StripeDoor, terms: messages.Terms = messages.CARDS_ONLY) -> None:
        self._door = door
        self._terms = terms

    @property
    def method_id(self) -> str:
        """The public id, `stripe_checkout`."""
        return messages.METHOD_ID

    def prepare(self, order: Order, /) -> ProviderRequest:
        """The session to create, under `cs:{attempt}:{number}`. Pure."""
        return messages.request(order, api_version=API_VERSION, terms=self._terms)

    async def start(self, request: ProviderRequest, /) -> CheckoutAction:
        """Create the session, or get the one that this request made before."""
        parameters = json.loads(request.parameters)
        session = await self._door.create_checkout_session(parameters, request.provider_key, request.api_version)
        action = messages.action(session)
        if action is None:
            raise ProviderRefused(code="no_checkout_page", message="Stripe made a session without a page to pay on")
        return action

    async def find(self, request: ProviderRequest, /, *, since: datetime, until: datetime) -> Found | None:
        """The session that `request` made, whatever became of it; its page is the action while it is open."""

        async def page(after: str | None) -> Page:
            return await self._door.checkout_sessions_created(since - CLOCK_SKEW, until + CLOCK_SKEW, after)

        def ours(session: Mapping[str, Any]) -> bool:
            return stripe_objects.made_under(session, request.provider_key, method_id=messages.METHOD_ID)

        session = await first(page, ours, pages_max=SEARCHED_PAGES_MAX)
        return None if session is None else Found(session["id"], messages.action(session))

    def references(self, event: Mapping[str, Any], /) -> Sequence[Reference]:
        """The session or payment intent that a decoded Stripe event is about. Pure."""
        return messages.references(event)

    async def read(self, reference: Reference, /) -> Sequence[Fact]:
        """What is true now of a session, or of the session that a payment intent belongs to."""
        if reference.kind == messages.SESSION:
            return messages.facts(await self._door.retrieve_checkout_session(reference.external_id))
        if reference.kind == messages.PAYMENT_INTENT:
            sessions = await self._door.checkout_sessions_of_payment_intent(reference.external_id)
            return tuple(fact for session in sessions for fact in messages.facts(session))
        raise ValueError(f"{messages.METHOD_ID} has no objects of kind {reference.kind!r}")

    async def look(self, object_id: str, /) -> Sequence[Fact]:
        """What is true now of the object that an attempt waits for."""
        return await self.read(Reference(messages.SESSION, object_id))

    async def close(self, object_id: str, /) -> Sequence[Fact]:
        """Expire the session; a session that is not open any more is read instead. Safe to repeat.

        Raises `OutcomeUnknown` like a write, and `ProviderRefused` when the session stays open.
        """
        try:
            session = await self._door.expire_checkout_session(object_id)
        except ProviderRefused:
            session = await self._door.retrieve_checkout_session(object_id)
            if session.get("status") == "open":
                raise
        return messages.facts(session)

    async def probe(self) -> None:
        """Ask Stripe for something cheap."""
        await self._door.probe()
