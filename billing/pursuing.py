"""What became of a request whose outcome nobody knows: learned, never guessed.

Theory of operation
-------------------
While the provider keeps the key, the same bytes are sent again, and its answer is the outcome. When that tells nothing
(the key is too old, the provider keeps a failure as its answer, or a page's end has come too near), the provider's own
list of what was created since is searched for the key in our metadata. What is found is recorded as if the answer had
come. Only when all of the list was read and nothing is there was nothing made; only then does the attempt get its next
request, under the next number, while it may still be paid, and else it ends. So an attempt never has two objects that
can be paid, and no payer is asked twice.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

from sqlmodel.ext.asyncio.session import AsyncSession

from billing import fulfillment, purchases, quotes, requests
from billing.attempts import AttemptState, Happening, RequestState, after
from billing.database import Sessions
from billing.purchases import Place
from billing.requests import Clock, RequestId
from billing.tables import CreditQuote, PaymentAttempt
from rails.rail import OutcomeStored, ProviderRequest, Rail

NEVER_MADE: Final = "the payment provider never made what was asked for"


async def pursue(
    sessions: Sessions, rail: Rail, request_id: RequestId, *, livemode: bool, place: Place, clock: Clock
) -> None:
    """Learn what became of the request, and go on from there.

    Raises `OutcomeUnknown`, `RailUnavailable` or `ProviderRefused` after recording it.
    """
    try:
        await requests.carry_out(sessions, rail, request_id, clock=clock)
    except (OutcomeStored, requests.TooOld, requests.TooLate):
        renewed = await _search(sessions, rail, request_id, livemode=livemode, place=place, clock=clock)
        if renewed is not None:
            await requests.carry_out(sessions, rail, renewed, clock=clock)


async def _search(
    sessions: Sessions, rail: Rail, request_id: RequestId, *, livemode: bool, place: Place, clock: Clock
) -> RequestId | None:
    """The request to send instead, when there is one."""
    row = await requests.read(sessions, request_id)
    request = ProviderRequest(row.provider_key, row.parameters, row.api_version)
    last_call_over = row.created_at + requests.REPLAY_WINDOW + requests.CALLS_OVER
    try:
        found = await rail.find(request, since=row.created_at, until=min(clock(), last_call_over))
    except Exception as error:  # also a bug in reading the list must not be sent for at every turn
        await requests.record_failure(sessions, request_id, RequestState.UNKNOWN, error, clock())
        raise
    if found is None:
        return await _give_up(sessions, rail, request_id, place=place, now=clock())
    await requests.keep(sessions, rail, request_id, found, clock=clock)
    if found.action is None:
        # It is past the payer already: paid, expired or failed. What it is now is a fact like any other.
        for fact in await rail.look(found.object_id):
            await fulfillment.apply(sessions, fact, livemode=livemode, now=clock())
    return None


async def _give_up(
    sessions: Sessions, rail: Rail, request_id: RequestId, *, place: Place, now: datetime
) -> RequestId | None:
    """Nothing came of the request: store the attempt's next one, or end the attempt that waits for it."""
    async with sessions() as session, session.begin():
        quote = await _locked_quote(session, request_id)
        attempt, row = await requests.both_locked(session, request_id)
        if row.state in {RequestState.ANSWERED, RequestState.REFUSED}:
            return None
        row.state, row.error, row.answered_at = RequestState.REFUSED, NEVER_MADE, now
        if attempt.state != AttemptState.CREATED or attempt.request_number != row.number:
            return None
        if attempt.cancel_requested_at is not None:
            _end(attempt, Happening.CANCELED, now, reason=None)
        elif not purchases.may_be_asked_anew(attempt, quote, now):
            _end(attempt, Happening.FAILED, now, reason=NEVER_MADE)
        else:
            await purchases.ask_anew(session, attempt, quote, rail, place=place, now=now)
            return RequestId(attempt.organization_id, attempt.id, attempt.request_number)
        return None


async def _locked_quote(session: AsyncSession, request_id: RequestId) -> CreditQuote:
    """The quote of the request's attempt: before the attempt in the lock order. An attempt never changes its quote."""
    attempt = await session.get_one(PaymentAttempt, (request_id.organization_id, request_id.attempt_id))
    quote = await quotes.locked(session, attempt.organization_id, attempt.quote_id)
    if quote is None:
        raise LookupError(f"attempt {attempt.id} has lost its quote")
    return quote


def _end(attempt: PaymentAttempt, happening: Happening, now: datetime, *, reason: str | None) -> None:
    attempt.state = after(AttemptState(attempt.state), happening)
    attempt.reason, attempt.updated_at = reason, now
