"""An operator stops an organization: nothing that it has can be spent until it is let go again.

Lots are frozen, not the book: payments still settle and what falls due is still posted. All lots, also those that are
used up: credits may come back to them. Whoever brings credits by a payment, or takes some back, first asks whether
the organization is stopped and keeps it as it is until he is done (`is_stopped` locks it: letter → organization →
quote → attempt), and what is granted to a stopped one is frozen with its grant. What operators give it meanwhile, and
what comes back in a lot of its own, the worker freezes soon after (`keep_frozen`). A freeze that a fraud warning made
belongs to its payment: letting the organization go leaves it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy import update
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from billing.catching_up import catch_up
from billing.database import Sessions
from billing.operator_actions import Act, Acting, record
from billing.refusals import Refusal, Refused
from billing.reversal_tables import ReversalStanding
from billing.reversals.lots import with_lot
from billing.tables import ExternalPayment, Organization
from ledger import posting
from ledger.ids import external
from ledger.operations import LANE, SYSTEM_SCOPE, Kind, Operation
from ledger.tables import LotRow, OperationRow

LOTS_AT_ONCE: Final = 200
ROUNDS_MAX: Final = 500
"""With the bound above: lots of one organization that one call freezes."""


async def freeze(sessions: Sessions, organization_id: UUID, *, reason: str, by: Acting, now: datetime) -> int:
    """Freeze everything the organization has; how many lots. Repeating it freezes what has come since.

    Raises `Refused(NOT_FOUND)`.
    """
    async with sessions() as session, session.begin():
        organization = await _locked(session, organization_id)
        organization.frozen_at = organization.frozen_at or now
        await _record(session, organization_id, Act.FREEZE, reason=reason, by=by, now=now)
    return await _freeze_all(sessions, organization_id, now)


async def unfreeze(
    sessions: Sessions, organization_id: UUID, *, reason: str, by: Acting, now: datetime, warned: bool = False
) -> int:
    """Let the organization spend again; how many lots were freed. Raises `Refused(NOT_FOUND)`.

    With `warned` also what fraud warnings froze: somebody has looked and found nothing. The mark goes with the last
    lots, in one transaction: what dies before it has freed nothing for good.
    """
    freed = 0
    for _ in range(ROUNDS_MAX):
        try:
            async with sessions() as session, session.begin():
                organization = await _locked(session, organization_id)
                operations = await _of_lots(session, organization_id, Kind.UNFREEZE, now, warned=warned)
                if warned:
                    await _lift_warnings(session, operations, now)
                if len(operations) < LOTS_AT_ONCE:
                    organization.frozen_at = None
                    act = Act.UNFREEZE_WARNED if warned else Act.UNFREEZE
                    await _record(session, organization_id, act, reason=reason, by=by, now=now)
                if operations:
                    await posting.post(session, operations)
        except posting.BehindSchedule:
            await catch_up(sessions, organization_id)
            continue
        freed += len(operations)
        if len(operations) < LOTS_AT_ONCE:
            return freed
    raise RuntimeError(f"organization {organization_id} has more lots than {ROUNDS_MAX} rounds free")


async def is_frozen(session: AsyncSession, organization_id: UUID) -> bool:
    """Whether an operator has stopped the organization, for who only wants to know."""
    query = select(Organization.frozen_at).where(col(Organization.id) == organization_id)
    return (await session.exec(query)).first() is not None


async def is_stopped(session: AsyncSession, organization_id: UUID) -> bool:
    """Whether an operator has stopped the organization. It stays so, or not, until the transaction ends."""
    query = select(Organization.frozen_at).where(col(Organization.id) == organization_id).with_for_update(read=True)
    return (await session.exec(query)).first() is not None


async def keep_frozen(sessions: Sessions, *, limit: int, now: datetime) -> int:
    """Freeze what slipped through in organizations that are stopped; how many lots."""
    query = (
        select(Organization.id)
        .join(LotRow, col(LotRow.organization_id) == col(Organization.id))
        .where(
            col(Organization.frozen_at).is_not(None),
            col(LotRow.lane) == LANE,
            col(LotRow.frozen).is_(False),
        )
        .distinct()
        .limit(limit)
    )
    async with sessions() as session:
        found = (await session.exec(query)).all()
    return sum([await _freeze_all(sessions, organization_id, now) for organization_id in found])


async def _locked(session: AsyncSession, organization_id: UUID) -> Organization:
    """The organization, so that two do not freeze and free it at once. Raises `Refused(NOT_FOUND)`."""
    query = select(Organization).where(col(Organization.id) == organization_id).with_for_update(key_share=True)
    organization = (await session.exec(query.execution_options(populate_existing=True))).first()
    if organization is None:
        raise Refused(Refusal.NOT_FOUND, "there is no such organization")
    return organization


async def _record(
    session: AsyncSession, organization_id: UUID, act: Act, *, reason: str, by: Acting, now: datetime
) -> None:
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


async def _freeze_all(sessions: Sessions, organization_id: UUID, now: datetime) -> int:
    frozen = 0
    for _ in range(ROUNDS_MAX):
        try:
            async with sessions() as session, session.begin():
                if (await _locked(session, organization_id)).frozen_at is None:
                    break
                operations = await _of_lots(session, organization_id, Kind.FREEZE, now)
                if operations:
                    await posting.post(session, operations)
        except posting.BehindSchedule:
            await catch_up(sessions, organization_id)
            continue
        frozen += len(operations)
        if len(operations) < LOTS_AT_ONCE:
            break
    return frozen


async def _lift_warnings(session: AsyncSession, operations: Sequence[Operation], now: datetime) -> None:
    """The payments whose lots are freed are not warned of any more. The organization's lock keeps warnings away."""
    payments = select(ExternalPayment.external_id).where(
        col(ExternalPayment.operation_id).in_([operation.target for operation in operations])
    )
    await session.exec(
        update(ReversalStanding)
        .where(col(ReversalStanding.payment_id).in_(payments), col(ReversalStanding.frozen))
        .values(frozen=False, updated_at=now)
    )


async def _of_lots(
    session: AsyncSession, organization_id: UUID, kind: Kind, now: datetime, *, warned: bool = False
) -> Sequence[Operation]:
    """The next lots to freeze or to free, at most `LOTS_AT_ONCE`; what a warning froze is freed with `warned` only."""
    query = (
        with_lot(select(OperationRow.id, OperationRow.key))
        .where(
            col(LotRow.lane) == LANE,
            col(LotRow.organization_id) == organization_id,
            col(LotRow.frozen) == (kind is Kind.UNFREEZE),
        )
        .order_by(col(LotRow.lot))
        .limit(LOTS_AT_ONCE)
    )
    if kind is Kind.UNFREEZE and not warned:
        under_warning = (
            select(ExternalPayment.operation_id)
            .join(
                ReversalStanding,
                (col(ReversalStanding.payment_kind) == col(ExternalPayment.kind))
                & (col(ReversalStanding.payment_id) == col(ExternalPayment.external_id)),
            )
            .where(col(ReversalStanding.organization_id) == organization_id, col(ReversalStanding.frozen))
        )
        query = query.where(col(OperationRow.id).not_in(under_warning))
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
