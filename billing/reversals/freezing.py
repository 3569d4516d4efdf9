"""An operator stops an organization: nothing that it has can be spent until it is let go again.

Lots are frozen, not the book: payments still settle and what falls due is still posted. The organization is marked
first; whoever grants credits to a marked one freezes them too, and the worker comes round for what slipped through
between the mark and the lots (`keep_frozen`), so that no order of the two leaves anything open. A freeze that a fraud
warning made belongs to its payment: letting the organization go leaves it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

from sqlmodel import col, or_, select
from sqlmodel.ext.asyncio.session import AsyncSession

from billing.catching_up import catch_up
from billing.database import Sessions
from billing.operator_actions import Act, Acting, record
from billing.refusals import Refusal, Refused
from billing.reversal_tables import ReversalStanding
from billing.tables import Organization
from ledger import posting
from ledger.ids import external
from ledger.operations import LANE, SYSTEM_SCOPE, Kind, Operation
from ledger.tables import LotOpeningRow, LotRow, OperationRow

LOTS_AT_ONCE: Final = 200
ROUNDS_MAX: Final = 500
"""With the bound above: lots of one organization that one call freezes."""


async def freeze(sessions: Sessions, organization_id: UUID, *, reason: str, by: Acting, now: datetime) -> int:
    """Freeze everything the organization has; how many lots. Repeating it freezes what has come since.

    Raises `Refused(NOT_FOUND)`.
    """
    await _mark(sessions, organization_id, now, act=Act.FREEZE, reason=reason, by=by, now=now)
    return await _all(sessions, organization_id, Kind.FREEZE, now)


async def unfreeze(sessions: Sessions, organization_id: UUID, *, reason: str, by: Acting, now: datetime) -> int:
    """Let the organization spend again; how many lots were freed. Raises `Refused(NOT_FOUND)`."""
    await _mark(sessions, organization_id, None, act=Act.UNFREEZE, reason=reason, by=by, now=now)
    return await _all(sessions, organization_id, Kind.UNFREEZE, now)


async def is_frozen(session: AsyncSession, organization_id: UUID) -> bool:
    """Whether an operator has stopped the organization."""
    query = select(Organization.frozen_at).where(col(Organization.id) == organization_id)
    return (await session.exec(query)).first() is not None


async def keep_frozen(sessions: Sessions, *, limit: int, now: datetime) -> int:
    """Freeze what slipped through in organizations that are stopped; how many lots."""
    query = (
        select(Organization.id)
        .join(LotRow, col(LotRow.organization_id) == col(Organization.id))
        .where(
            col(Organization.frozen_at).is_not(None),
            col(LotRow.lane) == LANE,
            col(LotRow.open),
            col(LotRow.frozen).is_(False),
        )
        .distinct()
        .limit(limit)
    )
    async with sessions() as session:
        found = (await session.exec(query)).all()
    return sum([await _all(sessions, organization_id, Kind.FREEZE, now) for organization_id in found])


async def _mark(
    sessions: Sessions,
    organization_id: UUID,
    frozen_at: datetime | None,
    *,
    act: Act,
    reason: str,
    by: Acting,
    now: datetime,
) -> None:
    async with sessions() as session, session.begin():
        query = select(Organization).where(col(Organization.id) == organization_id).with_for_update(key_share=True)
        organization = (await session.exec(query)).first()
        if organization is None:
            raise Refused(Refusal.NOT_FOUND, "there is no such organization")
        organization.frozen_at = None if frozen_at is None else organization.frozen_at or frozen_at
        await record(
            session,
            by,
            act,
            organization_id=organization_id,
            subject=external("org", organization_id),
            reason=reason,
            details={},
            now=now,
        )


async def _all(sessions: Sessions, organization_id: UUID, kind: Kind, now: datetime) -> int:
    changed = 0
    for _ in range(ROUNDS_MAX):
        try:
            async with sessions() as session, session.begin():
                operations = await _of_lots(session, organization_id, kind, now)
                if operations:
                    await posting.post(session, operations)
        except posting.BehindSchedule:
            await catch_up(sessions, organization_id)
            continue
        changed += len(operations)
        if len(operations) < LOTS_AT_ONCE:
            break
    return changed


async def _of_lots(session: AsyncSession, organization_id: UUID, kind: Kind, now: datetime) -> Sequence[Operation]:
    """The next lots to freeze or to free, under the organization's lock, so that two do not free and freeze at once."""
    marked = select(Organization).where(col(Organization.id) == organization_id).with_for_update(key_share=True)
    organization = (await session.exec(marked.execution_options(populate_existing=True))).one()
    if (organization.frozen_at is not None) != (kind is Kind.FREEZE):
        return ()
    warned = select(ReversalStanding.payment_id).where(
        col(ReversalStanding.organization_id) == organization_id, col(ReversalStanding.frozen)
    )
    query = (
        select(OperationRow.id, OperationRow.seq)
        .join(
            LotOpeningRow,
            (col(OperationRow.lane) == col(LotOpeningRow.lane))
            & (col(OperationRow.organization_id) == col(LotOpeningRow.organization_id))
            & (col(OperationRow.seq) == col(LotOpeningRow.seq)),
        )
        .join(
            LotRow,
            (col(LotRow.lane) == col(LotOpeningRow.lane))
            & (col(LotRow.organization_id) == col(LotOpeningRow.organization_id))
            & (col(LotRow.lot) == col(LotOpeningRow.lot)),
        )
        .where(
            col(LotRow.lane) == LANE,
            col(LotRow.organization_id) == organization_id,
            col(LotRow.frozen) == (kind is Kind.UNFREEZE),
            or_(col(LotRow.open), col(LotRow.held) > 0),
            col(OperationRow.key).not_in([f"grant:payment_intent:{one}" for one in (await session.exec(warned)).all()]),
        )
        .order_by(col(LotRow.lot))
        .limit(LOTS_AT_ONCE)
    )
    found = (await session.exec(query)).all()
    return [freezing(organization_id, grant_id, kind, at=now) for grant_id, _ in found]


def freezing(organization_id: UUID, grant_id: UUID, kind: Kind, *, at: datetime) -> Operation:
    """One lot is frozen or freed, named by the operation that opened it."""
    return Operation(
        organization_id=organization_id,
        kind=kind,
        scope=SYSTEM_SCOPE,
        key=f"{kind}:{grant_id}:{int(at.timestamp() * 1_000_000)}",
        event_at=at,
        cause=f"{kind} {external('org', organization_id)}",
        target=grant_id,
    )
