"""The door for letters: `POST /webhooks/stripe`. Verify the raw bytes, store once, answer; nothing else is done here.

Source: https://docs.stripe.com/webhooks. An answer other than 2xx makes Stripe send the letter again for three days, so
that a database that fails is told with 503 and nothing is lost.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from litestar import Request, post
from litestar.handlers import HTTPRouteHandler

from billing.database import Sessions
from billing.refusals import Refusal, Refused
from billing.requests import Clock
from webhooks import inbox, signature
from webhooks.inbox import Envelope

AnyRequest = Request[Any, Any, Any]
Answer = Callable[[AnyRequest, Mapping[str, Any]], Any]

PATH: Final = "/webhooks/stripe"
SOURCE: Final = "stripe"
EVENT_ID_LENGTH_MAX: Final = 255
EVENT_TYPE_LENGTH_MAX: Final = 255


def webhook_routes(
    *,
    sessions: Sessions,
    secrets: Sequence[str],
    clock: Clock,
    arrived: asyncio.Event,
    bytes_max: int,
    answer: Answer,
) -> list[HTTPRouteHandler]:
    """The routes. `arrived` is set for each new letter; `answer` puts data into the shape of every answer."""

    @post(PATH, status_code=200, request_max_body_size=bytes_max, opt={"command": "webhooks receive"})
    async def stripe(request: AnyRequest) -> Any:
        """A letter of Stripe. Raises `Refused`: WEBHOOK_SIGNATURE_INVALID, INVALID_ARGUMENTS, SERVICE_UNAVAILABLE."""
        if not secrets:
            raise Refused(Refusal.SERVICE_UNAVAILABLE, "no webhook secret is configured")
        body = await request.body()
        signed = request.headers.getall("stripe-signature", [])
        if len(signed) != 1 or not signature.is_valid(body, signed[0], secrets=secrets, now=clock()):
            raise Refused(Refusal.WEBHOOK_SIGNATURE_INVALID)
        is_new = await inbox.store(sessions, envelope(body), now=clock())
        if is_new:
            arrived.set()
        return answer(request, {"received": True, "duplicate": not is_new})

    return [stripe]


def envelope(body: bytes) -> Envelope:
    """What is on the outside of a signed body. Raises `Refused(INVALID_ARGUMENTS)` unless it is an event."""
    try:
        event = json.loads(body)
    except (ValueError, RecursionError):
        raise Refused(Refusal.INVALID_ARGUMENTS, "the body must be JSON") from None
    if not isinstance(event, dict) or event.get("object") != "event":
        raise Refused(Refusal.INVALID_ARGUMENTS, "the body must be a Stripe event")
    return Envelope(
        source=SOURCE,
        provider_event_id=_text(event, "id", EVENT_ID_LENGTH_MAX),
        type=_text(event, "type", EVENT_TYPE_LENGTH_MAX),
        body=body,
    )


def _text(event: Mapping[str, Any], name: str, most: int) -> str:
    value = event.get(name)
    if not isinstance(value, str) or not 0 < len(value) <= most or not value.isprintable():
        raise Refused(Refusal.INVALID_ARGUMENTS, f"the event's {name} must be 1 to {most} printable characters")
    return value
