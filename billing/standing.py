"""How things stand around a spend: the holds it is about, the agents it names, and what a refused one is told now."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import tuple_
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from billing.operator_keys import KEY_PREFIX
from billing.principals import Principal
from billing.refusals import Refusal, Refused
from billing.spending import Behalf, CapNow, not_found, unknown_agent
from billing.tables import Agent
from ledger import ids, statements
from ledger.allowances import Allowance, Window, allowance
from ledger.operations import LANE, SYSTEM_SCOPE, Operation
from ledger.outcomes import Outcome
from ledger.statements import Balance
from ledger.tables import Book, HoldRow, SpendRefundRow


@dataclass(frozen=True, slots=True)
class Standing:
    """What a refused spend is told besides its refusal: `missing` credits must be bought before it would go through.

    Of them `owed` go into what an earlier payment that was taken back left open.
    """

    at: datetime
    balance: Balance
    required: int
    allowance: Allowance | None

    @property
    def missing(self) -> int:
        """Credits to buy; 0 when there are enough now."""
        short = self.required - self.balance.spendable
        return short + self.balance.owed if short > 0 else 0

    @property
    def caps(self) -> tuple[CapNow, ...]:
        """The caps of the spender; empty when it has none."""
        return caps_now(self.allowance, self.required) if self.allowance is not None else ()


async def standing(
    session: AsyncSession, organization_id: UUID, spender: UUID | None, *, required: int, now: datetime
) -> Standing:
    """How an organization stands now towards a spend of `required` credits by `spender`."""
    balance = await statements.balance(session, organization_id, now)
    found = await allowance(session, organization_id, spender, now) if spender is not None else None
    return Standing(now, balance, required, found)


def caps_now(stands: Allowance, required: int) -> tuple[CapNow, ...]:
    """The caps that are set, as they stand towards `required` more credits."""
    found = []
    if stands.per_spend is not None:
        found.append(CapNow("per_spend", stands.per_spend, None, None, required > stands.per_spend))
    for name in ("per_hour", "per_day", "per_month", "total"):
        window: Window = getattr(stands, name)
        if window.limit is not None:
            exceeded = window.used + required > window.limit
            found.append(CapNow(name, window.limit, window.used, window.frees_up_at, exceeded))
    return tuple(found)


async def existing_agents(session: AsyncSession, behalves: Iterable[Behalf]) -> set[tuple[UUID, UUID]]:
    """Which of the (organization, agent) that an operator names exist, in one read."""
    named = {(each.organization_id, each.spender) for each in behalves if each.spender is not None}
    query = select(Agent.organization_id, Agent.id).where(tuple_(col(Agent.organization_id), col(Agent.id)).in_(named))
    return {(organization_id, agent_id) for organization_id, agent_id in (await session.exec(query)).all()}


async def require_agent(session: AsyncSession, behalf: Behalf) -> None:
    """Raises `Refused(NOT_FOUND)` unless the agent that an operator names is one of the organization's."""
    if (behalf.organization_id, behalf.spender) not in await existing_agents(session, [behalf]):
        raise unknown_agent()


async def require_book(session: AsyncSession, organization_id: UUID) -> None:
    """Raises `Refused(NOT_FOUND)` when there is no such organization."""
    if await session.get(Book, (LANE, organization_id)) is None:
        raise not_found(Outcome.BOOK_NOT_FOUND)


async def hold_to_end(session: AsyncSession, principal: Principal, behalf: Behalf, hold_id: UUID) -> HoldRow:
    """The hold that the principal wants to capture, void or extend.

    Raises `Refused`: NOT_FOUND when the organization has none, NOT_THE_MAKER when another principal made it.
    """
    row = await statements.hold(session, behalf.organization_id, hold_id)
    if row is None:
        raise not_found(Outcome.HOLD_NOT_FOUND)
    if not principal.may_end_hold_of(row.maker):
        raise Refused(Refusal.NOT_THE_MAKER, recovery={"made_by": maker_of(row, to=principal)})
    return row


def maker_of(row: HoldRow, *, to: Principal) -> str:
    """Who made a hold, as `to` may know it: agents are not told which operator key.

    An agent holds for itself, so a hold whose maker is not its spender is an operator's, or of a job: the service's.
    """
    if row.maker == SYSTEM_SCOPE:
        return "service"
    if row.maker == row.spender:
        return ids.external("agt", row.maker)
    return "operator" if to.is_agent else ids.external(KEY_PREFIX, row.maker)


async def refundable(session: AsyncSession, organization_id: UUID, operation_id: UUID) -> int:
    """What of a spend or a capture was not yet given back; 0 when there is none such."""
    row = await statements.operation(session, organization_id, operation_id)
    if row is None:
        return 0
    entries = statements.entries_of(row)
    spent = sum(entry.amount for entry in entries if entry.account == "consumed" and entry.side == "debit")
    refunds = await session.get(SpendRefundRow, (LANE, organization_id, operation_id))
    return spent - (sum(refunds.amounts) if refunds is not None else 0)


async def as_first_asked(session: AsyncSession, operation: Operation, lasting: timedelta) -> Operation | None:
    """The operation as a request that says how long, not until when, first asked it; none when it never did.

    Its deadline is so long after it was first asked, and that time stands in the journal. So the same request is the
    same operation whenever it is repeated, and one with another length is not.
    """
    row = await statements.operation(session, operation.organization_id, operation.id)
    return None if row is None else replace(operation, event_at=row.event_at, deadline=row.happened_at + lasting)
