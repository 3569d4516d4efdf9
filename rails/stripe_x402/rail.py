"""Stripe's crypto deposits as a rail: the calls around `messages`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from ledger.money import usdc_atomic_of_cents
from rails import stripe_objects
from rails.rail import DepositAction, Fact, Found, Order, ProviderRefused, ProviderRequest, Reference
from rails.stripe_door import StripeDoor
from rails.stripe_pages import CLOCK_SKEW, SEARCHED_PAGES_MAX, Page, first
from rails.stripe_x402 import messages
from rails.stripe_x402.addresses import checksummed
from rails.stripe_x402.networks import BASE, Network

API_VERSION: Final = "2026-05-27.preview"
"""The preview version of Stripe's current sample for machine payments."""


class StripeX402:
    """A wallet sends the exact amount of USDC to an address of its own. Keeps what `rails.rail.Rail` promises."""

    def __init__(
        self, door: StripeDoor, *, api_version: str = API_VERSION, network: Network = BASE, any_amount: bool = False
    ) -> None:
        self._door = door
        self._api_version = api_version
        self._network = network
        self._any_amount = any_amount

    @property
    def method_id(self) -> str:
        """The public id, `stripe_x402.exact.usdc`."""
        return messages.METHOD_ID

    def prepare(self, order: Order, /) -> ProviderRequest:
        """The payment intent to create, under `pi:{attempt}:{number}`. Pure."""
        return messages.request(
            order, network=self._network, api_version=self._api_version, any_amount=self._any_amount
        )

    async def start(self, request: ProviderRequest, /) -> DepositAction:
        """Create the intent, or get the one that this request made before.

        `ProviderRefused` also when Stripe's instructions cannot be trusted with money: no address, one with a wrong
        checksum, or another token than the network's.
        """
        parameters = json.loads(request.parameters)
        intent = await self._door.create_payment_intent(parameters, request.provider_key, request.api_version)
        return self._action(intent, parameters)

    async def find(self, request: ProviderRequest, /, *, since: datetime, until: datetime) -> Found | None:
        """The intent that `request` made, whatever became of it; its deposit is the action while it waits for one.

        There is no action either when Stripe's instructions cannot be trusted with money.
        """

        async def page(after: str | None) -> Page:
            start, end = since - CLOCK_SKEW, until + CLOCK_SKEW
            return await self._door.payment_intents_created(start, end, after, request.api_version)

        def ours(intent: Mapping[str, Any]) -> bool:
            return stripe_objects.made_under(intent, request.provider_key, method_id=messages.METHOD_ID)

        intent = await first(page, ours, pages_max=SEARCHED_PAGES_MAX)
        if intent is None:
            return None
        if intent.get("status") != "requires_action":
            return Found(intent["id"], None)
        try:
            return Found(intent["id"], self._action(intent, json.loads(request.parameters)))
        except ProviderRefused:
            return Found(intent["id"], None)

    def references(self, event: Mapping[str, Any], /) -> Sequence[Reference]:
        """The payment intent that a decoded Stripe event is about. Pure."""
        return messages.references(event)

    async def read(self, reference: Reference, /) -> Sequence[Fact]:
        """What is true now of a payment intent."""
        if reference.kind != messages.PAYMENT_INTENT:
            raise ValueError(f"{messages.METHOD_ID} has no objects of kind {reference.kind!r}")
        return messages.facts(await self._retrieve(reference.external_id))

    async def look(self, object_id: str, /) -> Sequence[Fact]:
        """What is true now of the object that an attempt waits for."""
        return await self.read(Reference(messages.PAYMENT_INTENT, object_id))

    async def close(self, object_id: str, /) -> Sequence[Fact]:
        """Cancel the intent; one that is past that (paid, in part too, processing, canceled) is read instead.

        Safe to repeat. Raises `OutcomeUnknown` like a write, and `ProviderRefused` when the intent stays payable.
        """
        if self._any_amount:
            intent = await self._retrieve(object_id)
            if intent.get("amount_received"):
                return messages.facts(intent)  # canceling would part the money from what it was sent for
        try:
            intent = await self._door.cancel_payment_intent(object_id)
        except ProviderRefused:
            intent = await self._retrieve(object_id)
            if intent.get("status") == "requires_action":
                raise
        return messages.facts(intent)

    async def probe(self) -> None:
        """Ask Stripe for something cheap."""
        await self._door.probe()

    async def _retrieve(self, payment_intent_id: str) -> dict[str, Any]:
        return await self._door.retrieve_payment_intent(payment_intent_id, self._api_version)

    def _action(self, intent: Mapping[str, Any], parameters: Mapping[str, Any]) -> DepositAction:
        network = self._network
        deposit = messages.deposit_address(intent, network=network)
        if deposit is None:
            raise ProviderRefused(code="no_deposit_address", message="Stripe gave no deposit address")
        address = checksummed(deposit.get("address"))
        if address is None:
            raise ProviderRefused(code="bad_deposit_address", message="Stripe's deposit address is not a valid one")
        if checksummed(messages.token_contract(deposit, network=network)) != network.token_contract_address:
            raise ProviderRefused(code="unexpected_token", message="Stripe's deposit does not take the network's USDC")
        return DepositAction(
            payment_intent_id=intent["id"],
            network=network.name,
            token_currency=network.token_currency,
            token_decimals=network.token_decimals,
            token_contract_address=network.token_contract_address,
            deposit_address=address,
            token_amount_atomic=usdc_atomic_of_cents(parameters["amount"]),
            expires_at=messages.payable_until(parameters),
        )
