"""The one place that knows the `stripe` package: calls go out here, plain dicts and our own errors come back.

Theory of operation
-------------------
A call is made once. The package's own retries are off, because a creation is governed by the stored key and bytes, and
because billing and the worker have their own back-off. A failure becomes a `Failure` (what came back), and the table in
`stripe_errors` says what it means. Every call leaves its mark in `health`, which the rails that share the door share.

The package's types lack the crypto deposit options, so those intents are created by a raw request with a preview
`Stripe-Version`. Sources: stripe 16.1.0, https://docs.stripe.com/api.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

import httpx
import stripe

from rails import stripe_errors
from rails.health import Health
from rails.rail import RailUnavailable
from rails.stripe_errors import Failure, Outcome
from rails.stripe_pages import PAGE, Page, window

if TYPE_CHECKING:
    from stripe.params import (
        BalanceTransactionListParams,
        EventListParams,
        PaymentIntentListParams,
        PaymentIntentRetrieveParams,
        PayoutListParams,
        RefundCreateParams,
        RefundListParams,
    )
    from stripe.params.checkout import SessionCreateParams, SessionListParams

API_VERSION: Final = stripe.api_version
"""The version that the pinned package speaks: of every call that names no other."""
CONNECT_TIMEOUT_S: Final = 5.0
TIMEOUT_S: Final = 20.0
SESSIONS_MAX: Final = 10
"""Sessions read of one payment intent. Stripe makes an intent for one session, so that ten is a bound, not a page."""

_Answer = TypeVar("_Answer")
_Parameters = TypeVar("_Parameters", bound=Mapping[str, object])
_NOTHING_SENT: Final = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)

# Telemetry would write an id into the home folder and send facts about this machine along with each call.
stripe.enable_telemetry = False


class StripeDoor:
    """Stripe's API as this service uses it. Safe to share between tasks of one event loop.

    Writes raise `ProviderRefused`, `RailUnavailable` or `OutcomeUnknown`; reads only the first two.
    """

    def __init__(
        self,
        secret_key: str,
        *,
        clock: Callable[[], datetime],
        api_base: str | None = None,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        """`api_base` is another address than Stripe's, as of a sandbox; `timeout_s` bounds a whole call."""
        self.health = Health()
        self._clock = clock
        self._api_base = api_base or stripe.DEFAULT_API_BASE
        self._timeout_s = timeout_s
        connect_s = min(CONNECT_TIMEOUT_S, timeout_s / 2)
        self._http = stripe.HTTPXClient(timeout=httpx.Timeout(timeout_s, connect=connect_s, pool=connect_s))
        self._client = stripe.StripeClient(
            secret_key,
            base_addresses={"api": self._api_base},
            http_client=self._http,
            max_network_retries=0,
        )

    def __repr__(self) -> str:
        return f"StripeDoor({self._api_base!r})"

    async def aclose(self) -> None:
        """Close the connections. The door cannot be used afterwards."""
        await self._http.close_async()  # type: ignore[no-untyped-call]

    async def create_checkout_session(
        self, parameters: Mapping[str, Any], provider_key: str, api_version: str
    ) -> dict[str, Any]:
        """A new Checkout Session, or the one that was made under `provider_key` before."""
        return await self._object(
            self._client.v1.checkout.sessions.create_async(
                cast("SessionCreateParams", parameters),
                {"idempotency_key": provider_key, "stripe_version": api_version},
            ),
            writing=True,
        )

    async def retrieve_checkout_session(self, session_id: str) -> dict[str, Any]:
        """A session with its payment intent and that one's latest charge expanded."""
        return await self._object(
            self._client.v1.checkout.sessions.retrieve_async(session_id, {"expand": ["payment_intent.latest_charge"]}),
            writing=False,
        )

    async def checkout_sessions_of_payment_intent(self, payment_intent_id: str) -> list[dict[str, Any]]:
        """The sessions that made a payment intent, expanded like `retrieve_checkout_session`; at most ten."""
        page = await self._object(
            self._client.v1.checkout.sessions.list_async(
                {
                    "payment_intent": payment_intent_id,
                    "limit": SESSIONS_MAX,
                    "expand": ["data.payment_intent.latest_charge"],
                }
            ),
            writing=False,
        )
        return list(page.get("data", []))

    async def checkout_sessions_created(self, since: datetime, until: datetime, after: str | None) -> Page:
        """A page of the sessions that were created from `since` until before `until`; `after` is the cursor."""
        start, end = window(since, until)
        wanted: SessionListParams = {"created": {"gte": start, "lt": end}, "limit": PAGE}
        return await self._page(self._client.v1.checkout.sessions.list_async(_behind(after, wanted)))

    async def expire_checkout_session(self, session_id: str) -> dict[str, Any]:
        """Make an open session unpayable. `ProviderRefused` when it is not open any more."""
        return await self._object(self._client.v1.checkout.sessions.expire_async(session_id), writing=True)

    async def create_payment_intent(
        self, parameters: Mapping[str, Any], provider_key: str, api_version: str
    ) -> dict[str, Any]:
        """A new payment intent in a preview version, or the one that was made under `provider_key` before."""
        response = await self._call(
            self._client.raw_request_async(
                "post", "/v1/payment_intents", stripe_version=api_version, idempotency_key=provider_key, **parameters
            ),
            writing=True,
        )
        return cast("dict[str, Any]", json.loads(response.body))

    async def retrieve_payment_intent(self, payment_intent_id: str, api_version: str | None = None) -> dict[str, Any]:
        """A payment intent with its latest charge expanded, in the pinned API version or in `api_version`."""
        expand: PaymentIntentRetrieveParams = {"expand": ["latest_charge"]}
        return await self._object(
            self._client.v1.payment_intents.retrieve_async(payment_intent_id, expand, {"stripe_version": api_version}),
            writing=False,
        )

    async def retrieve_booked_payment_intent(self, payment_intent_id: str) -> dict[str, Any]:
        """A payment intent with its latest charge and that one's balance transaction expanded."""
        return await self._object(
            self._client.v1.payment_intents.retrieve_async(
                payment_intent_id, {"expand": ["latest_charge.balance_transaction"]}
            ),
            writing=False,
        )

    async def payment_intents_created(
        self, since: datetime, until: datetime, after: str | None, api_version: str
    ) -> Page:
        """A page of the intents that were created from `since` until before `until`, as `api_version` shows them."""
        start, end = window(since, until)
        wanted: PaymentIntentListParams = {"created": {"gte": start, "lt": end}, "limit": PAGE}
        return await self._page(
            self._client.v1.payment_intents.list_async(_behind(after, wanted), {"stripe_version": api_version})
        )

    async def cancel_payment_intent(self, payment_intent_id: str) -> dict[str, Any]:
        """Make a payment intent unpayable. `ProviderRefused` when it is past that."""
        return await self._object(self._client.v1.payment_intents.cancel_async(payment_intent_id), writing=True)

    async def create_refund(self, parameters: Mapping[str, Any], provider_key: str, api_version: str) -> dict[str, Any]:
        """A new refund, or the one that was made under `provider_key` before."""
        return await self._object(
            self._client.v1.refunds.create_async(
                cast("RefundCreateParams", parameters),
                {"idempotency_key": provider_key, "stripe_version": api_version},
            ),
            writing=True,
        )

    async def retrieve_refund(self, refund_id: str) -> dict[str, Any]:
        """A refund with its payment intent and its balance transactions expanded."""
        return await self._object(
            self._client.v1.refunds.retrieve_async(
                refund_id, {"expand": ["payment_intent", "balance_transaction", "failure_balance_transaction"]}
            ),
            writing=False,
        )

    async def refunds_of_payment_intent(self, payment_intent_id: str, after: str | None) -> Page:
        """A page of the refunds of a payment intent, expanded like `retrieve_refund`; `after` is the cursor."""
        expand = ["data.payment_intent", "data.balance_transaction", "data.failure_balance_transaction"]
        wanted: RefundListParams = {"payment_intent": payment_intent_id, "limit": PAGE, "expand": expand}
        return await self._page(self._client.v1.refunds.list_async(_behind(after, wanted)))

    async def retrieve_dispute(self, dispute_id: str) -> dict[str, Any]:
        """A dispute with its payment intent expanded; its balance transactions always are."""
        return await self._object(
            self._client.v1.disputes.retrieve_async(dispute_id, {"expand": ["payment_intent"]}), writing=False
        )

    async def retrieve_early_fraud_warning(self, warning_id: str) -> dict[str, Any]:
        """An early fraud warning with its payment intent expanded."""
        return await self._object(
            self._client.v1.radar.early_fraud_warnings.retrieve_async(warning_id, {"expand": ["payment_intent"]}),
            writing=False,
        )

    async def retrieve_payout(self, payout_id: str) -> dict[str, Any]:
        """A payout with its own balance transactions expanded."""
        return await self._object(
            self._client.v1.payouts.retrieve_async(
                payout_id, {"expand": ["balance_transaction", "failure_balance_transaction"]}
            ),
            writing=False,
        )

    async def transactions_of_payout(self, payout_id: str, after: str | None) -> Page:
        """A page of what an automatic payout was made of, its own transaction included.

        The source of each (a charge, a refund, a dispute, …) is expanded, with its payment intent if it has one.
        """
        expand = ["data.source.payment_intent"]
        wanted: BalanceTransactionListParams = {"payout": payout_id, "limit": PAGE, "expand": expand}
        return await self._page(self._client.v1.balance_transactions.list_async(_behind(after, wanted)))

    async def balance_transactions_created(self, since: datetime, until: datetime, after: str | None) -> Page:
        """A page of the lines of the balance that were made from `since` until before `until`."""
        start, end = window(since, until)
        wanted: BalanceTransactionListParams = {"created": {"gte": start, "lt": end}, "limit": PAGE}
        return await self._page(self._client.v1.balance_transactions.list_async(_behind(after, wanted)))

    async def payouts_created(self, since: datetime, until: datetime, after: str | None) -> Page:
        """A page of the payouts that were made from `since` until before `until`."""
        start, end = window(since, until)
        wanted: PayoutListParams = {"created": {"gte": start, "lt": end}, "limit": PAGE}
        return await self._page(self._client.v1.payouts.list_async(_behind(after, wanted)))

    async def events(
        self, *, created_gte: datetime, created_lt: datetime, after: str | None = None, limit: int = PAGE
    ) -> Page:
        """A page of what happened in a time, newest first; `after` is the cursor. Stripe keeps events for 30 days."""
        start, end = window(created_gte, created_lt)
        wanted: EventListParams = {"created": {"gte": start, "lt": end}, "limit": limit}
        return await self._page(self._client.v1.events.list_async(_behind(after, wanted)))

    async def probe(self) -> None:
        """Read the account's balance, the cheapest call that needs the key."""
        await self._object(self._client.v1.balance.retrieve_async(), writing=False)

    async def _object(self, call: Awaitable[stripe.StripeObject], *, writing: bool) -> dict[str, Any]:
        return (await self._call(call, writing=writing)).to_dict(for_json=True)

    async def _page(self, call: Awaitable[stripe.StripeObject]) -> Page:
        answer = await self._object(call, writing=False)
        items, has_more = answer.get("data"), answer.get("has_more")
        if not isinstance(items, list) or not isinstance(has_more, bool):
            raise RailUnavailable("Stripe's answer is not a list")
        return Page(items, has_more)

    async def _call(self, call: Awaitable[_Answer], *, writing: bool) -> _Answer:
        try:
            async with asyncio.timeout(self._timeout_s):
                answer = await call
        except (stripe.StripeError, TimeoutError) as error:
            failure = _failure(error)
            self._note(failure)
            # Without its cause: a Stripe error carries the whole body, in which a client secret may stand.
            raise stripe_errors.exception(failure, writing=writing) from None
        self.health.succeeded(self._clock())
        return answer

    def _note(self, failure: Failure) -> None:
        match stripe_errors.outcome(failure):
            case Outcome.REFUSED | Outcome.CONFLICT | Outcome.STORED:
                self.health.succeeded(self._clock())
            case outcome:
                at_once = outcome is Outcome.KEY_REFUSED
                self.health.failed(self._clock(), stripe_errors.reason(failure), at_once=at_once)


def _behind(after: str | None, wanted: _Parameters) -> _Parameters:
    """The parameters of the page behind `after`; of the first one without."""
    return wanted if after is None else cast("_Parameters", {**wanted, "starting_after": after})


def _failure(error: stripe.StripeError | TimeoutError) -> Failure:
    """What came back, without anything of the `stripe` package."""
    if isinstance(error, TimeoutError):
        return Failure(status=None, cause="TimeoutError")
    if isinstance(error, stripe.APIConnectionError):
        cause = error.__cause__
        return Failure(status=None, sent=not isinstance(cause, _NOTHING_SENT), cause=type(cause).__name__)
    body = error.json_body
    details = body.get("error") if isinstance(body, Mapping) else None
    replayed = str((error.headers or {}).get("idempotent-replayed", "")).lower() == "true"
    if not isinstance(details, Mapping):
        return Failure(status=error.http_status, replayed=replayed)
    return Failure(
        status=error.http_status,
        replayed=replayed,
        type=_text(details.get("type")),
        code=_text(details.get("code")),
        message=_text(details.get("message")),
    )


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
