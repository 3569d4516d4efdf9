"""Payments for an operator: attempts, what is owed, refunds, stopping an organization, and who did what."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import Any, Final
from uuid import UUID

from rich.table import Table

from api.command_line.tables import moment, parse, table
from api.http.views import operator as views
from api.reasons import CannotGoOn
from api.refunds import carry_out, refunder, to_sign
from api.wiring import House
from billing import operator_actions
from billing.attempts import AttemptState
from billing.database import snapshot
from billing.operating import attempts, refunds
from billing.operator_actions import COMMAND_LINE
from billing.posting_rules import ON_CHAIN
from billing.reversals import freezing, refunding, writing_off
from billing.reversals.refunding import Preview
from ledger.ids import external
from ledger.money import AMOUNT_MAX, usd

LISTED_MAX: Final = 200


def attempt_id(name: str) -> UUID:
    """The id inside `payatt_…`. Raises `CannotGoOn`."""
    return parse(attempts.PREFIX, name, "a payment attempt")


def organization_id(name: str) -> UUID:
    """The id inside `org_…`. Raises `CannotGoOn`."""
    return parse("org", name, "an organization")


def cents(amount: str) -> int:
    """`5`, `5.00` or `0.05` in US dollars as cents. Raises `CannotGoOn`."""
    try:
        found = Decimal(amount) * 100
        whole = int(found)
    except (InvalidOperation, OverflowError, ValueError):
        whole, found = 0, Decimal(-1)
    if whole != found or not 0 < whole <= AMOUNT_MAX:
        raise CannotGoOn("--amount is a sum of dollars, as in 5.00.", exit_code=2)
    return whole


async def attempts_table(
    house: House, *, state: str | None, organization: str | None, stuck: bool, limit: int, before: str | None
) -> Table:
    """The newest attempts as a table. Raises `CannotGoOn` for an unknown state or id."""
    if state is not None and state not in list(AttemptState):
        raise CannotGoOn(f"--state is one of {', '.join(AttemptState)}.", exit_code=2)
    whose = None if organization is None else organization_id(organization)
    behind = None if before is None else attempt_id(before)
    async with snapshot(house.sessions) as session:
        found = await attempts.listed(
            session,
            state=state,
            organization_id=whose,
            stuck_at=house.clock() if stuck else None,
            before=behind,
            limit=limit + 1,
        )
    names = [external("payatt", one.id) for one in found]
    return table(
        ("attempt", "created", "state", "method", "reason"),
        [
            (name, moment(one.created_at), one.state, one.method, one.reason or "")
            for name, one in zip(names, found, strict=True)
        ],
        whole=("attempt",),
        limit=limit,
        go_on=lambda n: f"purser attempts list --before {names[n]}",
        nothing="no attempts",
    )


async def attempt_shown(house: House, name: str) -> dict[str, Any]:
    """One attempt with all that belongs to it. Raises `Refused(NOT_FOUND)`."""
    async with snapshot(house.sessions) as session:
        return views.whole_attempt(await attempts.whole(session, attempt_id(name)))


async def owed_table(house: House, *, limit: int, after: str | None) -> Table:
    """Who owes how many credits, for which payment, since when."""
    async with snapshot(house.sessions) as session:
        found = await writing_off.owed(session, after=after, limit=limit + 1)
    return table(
        ("attempt", "organization", "credits", "since", "payment"),
        [
            (
                external("payatt", one.attempt_id),
                external("org", one.organization_id),
                str(one.credits),
                f"{one.updated_at:%Y-%m-%d}",
                one.payment_id,
            )
            for one in found
        ],
        whole=("attempt", "organization", "since"),
        limit=limit,
        go_on=lambda n: f"purser owed list --after {found[n].payment_id}",
        nothing="nothing is owed",
    )


async def written_off(house: House, name: str, *, credits_: int | None, reason: str) -> int:
    """Give up what is owed for an attempt's payment; how many credits. Raises `Refused`."""
    return await writing_off.write_off(
        house.sessions,
        attempt_id=attempt_id(name),
        credits_=credits_,
        reason=reason,
        by=COMMAND_LINE,
        now=house.clock(),
    )


async def frozen(house: House, name: str, *, reason: str) -> int:
    """Let an organization spend nothing; how many lots were frozen. Raises `Refused(NOT_FOUND)`."""
    return await freezing.freeze(
        house.sessions, organization_id(name), reason=reason, by=COMMAND_LINE, now=house.clock()
    )


async def freed(house: House, name: str, *, reason: str, warned: bool) -> int:
    """Let an organization spend again, with `warned` also what fraud warnings froze; how many lots were freed.

    Raises `Refused(NOT_FOUND)`.
    """
    return await freezing.unfreeze(
        house.sessions, organization_id(name), reason=reason, by=COMMAND_LINE, now=house.clock(), warned=warned
    )


async def previewed(house: House, name: str, *, amount_cents: int | None) -> Preview:
    """What a refund would do. Raises `Refused`."""
    async with snapshot(house.sessions) as session:
        found = await refunding.preview(session, attempt_id(name), amount_cents=amount_cents, now=house.clock())
    refunder(house, found.payment_kind)
    return found


def told(found: Preview) -> list[str]:
    """A preview in sentences."""
    amount, paid, rest = (usd(one).decimal() for one in (found.amount_cents, found.paid_cents, found.refundable_cents))
    whose = external("org", found.organization_id)
    taken = f"{found.credits_unspent} unspent, {found.credits_held} on hold, {found.credits_expired} expired"
    lines = [
        f"{amount} USD of {paid} USD go back to the payer of {found.payment_id}; {rest} USD can still be refunded.",
        f"{found.credits} credits of {whose} are taken back for it: {taken}.",
    ]
    if found.credits_owed:
        lines.append(f"{found.credits_owed} were spent and will be owed; the next purchase pays them back.")
    if found.payment_kind in ON_CHAIN:
        lines.append("It was paid on chain: you will get a transaction that the treasury has to sign and send.")
    return lines


async def refunded(house: House, name: str, *, amount_cents: int | None, reason: str, key: str) -> dict[str, Any]:
    """Ask for a refund and send it; the request as it is then. Raises `Refused`."""
    stored = await refunding.ask(
        house.sessions,
        attempt_id=attempt_id(name),
        amount_cents=amount_cents,
        reason=reason,
        by=COMMAND_LINE,
        idempotency_key=key,
        now=house.clock(),
    )
    await carry_out(house, stored)
    async with snapshot(house.sessions) as session:
        found = await refunds.one(session, stored.id)
    return views.asked_refund(found, to_sign(house, found))


async def actions_table(house: House, *, organization: str | None, limit: int, before: str | None) -> Table:
    """What operators did, newest first."""
    whose = None if organization is None else organization_id(organization)
    behind = None if before is None else parse(operator_actions.PREFIX, before, "an action")
    async with snapshot(house.sessions) as session:
        found = await operator_actions.listed(session, organization_id=whose, before=behind, limit=limit + 1)
    return table(
        ("at", "holder", "action", "about", "reason"),
        [(moment(one.created_at), one.holder, one.action, one.subject, one.reason) for one in found],
        whole=("at", "about"),
        limit=limit,
        go_on=lambda n: f"purser actions --before {operator_actions.public_id(found[n])}",
        nothing="no actions",
    )
