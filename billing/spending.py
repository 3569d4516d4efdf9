"""Spending in the words of the books: who asks for whom, which operation that is, what their "no" means. Pure.

An agent spends for itself, under its own id. An operator names the organization, and perhaps the agent whose caps
count; its operations are its key's. An agent that was revoked may still be named: work that it began must be charged.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from billing.packs import CREDIT_PRICE_CENTS, Method, Offer, Wanted
from billing.principals import Principal
from billing.refusals import Refusal, Refused
from ledger import ids
from ledger.operations import PLATFORM, Kind, Operation
from ledger.outcomes import Outcome

REFUSALS: Final[Mapping[Outcome, Refusal]] = {
    Outcome.BOOK_NOT_FOUND: Refusal.NOT_FOUND,
    Outcome.BUSY: Refusal.OVERLOADED,
    Outcome.CATCH_UP: Refusal.OVERLOADED,
    Outcome.EXISTS_WITH_DIFFERENT_CONTENT: Refusal.SPENDING_CONFLICT,
    Outcome.GROUP_REFUSED: Refusal.GROUP_REFUSED,
    Outcome.HOLD_NOT_FOUND: Refusal.NOT_FOUND,
    Outcome.SPEND_NOT_FOUND: Refusal.NOT_FOUND,
    Outcome.HOLD_EXPIRED: Refusal.HOLD_EXPIRED,
    Outcome.HOLD_CLOSED: Refusal.HOLD_CLOSED,
    Outcome.EXCEEDS_TARGET: Refusal.AMOUNT_EXCEEDS_REST,
    Outcome.HOLD_FROZEN: Refusal.HOLD_FROZEN,
    Outcome.DEADLINE_OUT_OF_RANGE: Refusal.INVALID_ARGUMENTS,
    Outcome.SPENDER_PAUSED: Refusal.SPENDER_PAUSED,
    Outcome.CAP_EXCEEDED: Refusal.SPEND_CAP_EXCEEDED,
    Outcome.NOT_ENOUGH_CREDITS: Refusal.QUOTA_EXCEEDED,
    Outcome.TOO_FRAGMENTED: Refusal.CREDITS_TOO_FRAGMENTED,
}
"""What the books may answer to an operation of this module, besides `posted`."""

MESSAGES: Final[Mapping[Outcome, str]] = {
    Outcome.BOOK_NOT_FOUND: "there is no such organization",
    Outcome.HOLD_NOT_FOUND: "there is no such hold",
    Outcome.SPEND_NOT_FOUND: "there is no such spend or capture",
    Outcome.DEADLINE_OUT_OF_RANGE: "deadline must lie in the future, later than before, and at most 30 days after the "
    "hold was made",
}


@dataclass(frozen=True, slots=True)
class Behalf:
    """In whose book, under whose keys (`scope`), and for which agent (`spender`: its caps count) something is asked."""

    organization_id: UUID
    scope: UUID
    spender: UUID | None

    @property
    def counted_as(self) -> str:
        """As whose its refusals are counted: those of who asks, for the agent or the organization that it asks for.

        So nobody's refusals keep anybody else from asking.
        """
        return f"{self.scope} {self.spender or self.organization_id}"


def on_behalf(principal: Principal, organization_id: str | None, agent_id: str | None = None) -> Behalf:
    """On whose behalf the principal asks, from what the request names.

    Raises `Refused`: INVALID_ARGUMENTS for an agent that names anybody or an operator that names no organization,
    NOT_FOUND for ids that can be nobody's. Whether they exist is not looked up here.
    """
    if principal.organization_id is not None:
        named = "organization_id" if organization_id is not None else "agent_id" if agent_id is not None else None
        if named is not None:
            raise Refused(Refusal.INVALID_ARGUMENTS, f"{named} is for operator keys; an agent's token says who it is")
        return Behalf(principal.organization_id, principal.id, principal.id)
    if organization_id is None:
        raise Refused(Refusal.INVALID_ARGUMENTS, "organization_id is required with an operator key")
    found = parsed("org", organization_id, Outcome.BOOK_NOT_FOUND)
    if found == PLATFORM:
        raise not_found(Outcome.BOOK_NOT_FOUND)
    return Behalf(found, principal.id, agent_of(agent_id))


def agent_of(agent_id: str | None) -> UUID | None:
    """The agent that an operator names. Raises `Refused(NOT_FOUND)` for what can be none."""
    try:
        return ids.parse("agt", agent_id) if agent_id is not None else None
    except ids.MalformedId:
        raise unknown_agent() from None


def unknown_agent() -> Refused:
    """The organization has no such agent."""
    return Refused(Refusal.NOT_FOUND, "there is no such agent in that organization")


def parsed(prefix: str, text: str, missing: Outcome) -> UUID:
    """The id inside `text`. Raises `Refused(NOT_FOUND)`, in the words for `missing`, for what is none."""
    try:
        return ids.parse(prefix, text)
    except ids.MalformedId:
        raise not_found(missing) from None


def not_found(missing: Outcome) -> Refused:
    """The refusal for something that is not there, or is somebody else's."""
    return Refused(Refusal.NOT_FOUND, MESSAGES[missing])


def spend(behalf: Behalf, key: str, credits_: int, *, group: int = 0) -> Operation:
    """Spend credits at once. Neighbours of one `group` above 0 are posted all or none."""
    return _of(behalf, Kind.SPEND, key, credits=credits_, spender=behalf.spender, group=group)


def hold(behalf: Behalf, key: str, credits_: int, *, deadline: datetime, now: datetime) -> Operation:
    """Reserve credits until the deadline. `now` is when it was asked for."""
    return _of(behalf, Kind.HOLD, key, credits=credits_, spender=behalf.spender, deadline=deadline, event_at=now)


def capture(behalf: Behalf, key: str, hold_id: UUID, credits_: int, *, final: bool) -> Operation:
    """Spend from a hold. A `final` capture gives the rest back."""
    return _of(behalf, Kind.CAPTURE, key, target=hold_id, credits=credits_, final=final)


def void(behalf: Behalf, key: str, hold_id: UUID) -> Operation:
    """Give all of a hold back."""
    return _of(behalf, Kind.VOID, key, target=hold_id)


def extend(behalf: Behalf, key: str, hold_id: UUID, *, deadline: datetime, now: datetime) -> Operation:
    """Move a hold's deadline. `now` is when it was asked for."""
    return _of(behalf, Kind.EXTEND, key, target=hold_id, deadline=deadline, event_at=now)


def refund(behalf: Behalf, key: str, operation_id: UUID, credits_: int) -> Operation:
    """Give credits of a spend or a capture back."""
    return _of(behalf, Kind.SPEND_REFUND, key, target=operation_id, credits=credits_)


def _of(
    behalf: Behalf,
    kind: Kind,
    key: str,
    *,
    credits: int = 0,  # noqa: A002 - the field's name
    spender: UUID | None = None,
    target: UUID | None = None,
    deadline: datetime | None = None,
    event_at: datetime | None = None,
    final: bool = True,
    group: int = 0,
) -> Operation:
    return Operation(
        behalf.organization_id, kind, behalf.scope, key, kind.value, event_at, credits, spender, target, deadline,
        final, group=group,
    )  # fmt: skip


def refused(outcome: Outcome, recovery: Mapping[str, object]) -> Refused:
    """The refusal behind an outcome of the books."""
    return Refused(REFUSALS[outcome], MESSAGES.get(outcome), recovery=recovery)


@dataclass(frozen=True, slots=True)
class CapNow:
    """One spend cap as it is now. `used` and `frees_up_at` are none where there is no window that ends."""

    name: str
    limit: int
    used: int | None
    frees_up_at: datetime | None
    exceeded: bool


def what_to_buy(missing: int, offer: Offer, method: Method) -> Wanted:
    """The least that is sold on the method and brings `missing` credits; the most there is when nothing does."""
    least = max(offer.custom_credits_min, -(-method.min_amount_cents // CREDIT_PRICE_CENTS))
    if missing <= offer.custom_credits_max and least <= offer.custom_credits_max:
        return Wanted(max(missing, least), None, method.method_id)
    packs = sorted((pack.credits, pack.pack_id) for pack in offer.packs)
    enough = [pack_id for credits_, pack_id in packs if credits_ >= missing]
    return Wanted(None, enough[0] if enough else packs[-1][1], method.method_id)
