"""What people decide of an exception: that somebody knows of it, or that it is settled by an adjustment.

Theory of operation
-------------------
open, acknowledged → resolve → resolved, or above the limit → proposed → approve → resolved. Above the limit both act
with an operator key each, of two holders: whoever sits at the command line without a key cannot be told from anybody
else, and resolves up to the limit only. Whoever approves names the proposal, so that nobody agrees to one that took the
place of what he had looked at. Acknowledging a proposed one takes the proposal back. The adjustment is posted in the
transaction in which the exception is resolved, which holds its row: it is posted with that or not at all, and its key,
made of the exception and of how often that was resolved, makes it happen once.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlmodel.ext.asyncio.session import AsyncSession

from billing import operator_actions
from billing.catching_up import once_more
from billing.database import Sessions
from billing.operator_actions import Act, Acting
from billing.refusals import Refusal, Refused
from finance.reconciling import adjusting
from finance.reconciling.adjusting import Proposal
from finance.reconciling.listing import public_id, without_proposal
from finance.statement_tables import ExceptionState, ReconciliationException
from ledger import ids, posting
from ledger.money import usd
from ledger.operations import PLATFORM, SYSTEM_SCOPE, Kind, Operation

KEY: Final = "adjustment:"
"""How the keys of adjustments begin: the exception follows, and how often it was resolved."""
RESOLVABLE: Final = frozenset({ExceptionState.OPEN, ExceptionState.ACKNOWLEDGED})


async def acknowledge(
    sessions: Sessions, exception_id: UUID, *, reason: str, by: Acting, now: datetime
) -> ReconciliationException:
    """Somebody knows of it, and says why it stands. Raises `Refused`: NOT_FOUND, STATE_CONFLICT."""
    async with sessions() as session, session.begin():
        row = await _locked(session, exception_id, frozenset({ExceptionState.OPEN, ExceptionState.PROPOSED}))
        was = row.state
        row.state, row.reason, row.updated_at = ExceptionState.ACKNOWLEDGED, reason, now
        row.holder, row.holder_key, row.adjustment = by.holder, by.key_id, without_proposal(row.adjustment)
        await _record(session, by, Act.ACKNOWLEDGE_EXCEPTION, row, reason=reason, details={"was": was}, now=now)
        return row


async def resolve(
    sessions: Sessions,
    exception_id: UUID,
    *,
    account: str | None,
    against: str | None,
    alone_up_to_cents: int,
    reason: str,
    by: Acting,
    now: datetime,
) -> ReconciliationException:
    """Settle it by an adjustment; above `alone_up_to_cents` a key holder proposes that, for a second one to approve.

    `account` is told what was missing, `against` is the other one; without them those of its source, or where something
    is posted for it, those. Raises `Refused`: INVALID_ARGUMENTS for accounts that are not to be adjusted, and for
    others than those that have what is posted; NOT_FOUND; STATE_CONFLICT, also for a large one without an
    operator key.
    """

    async def resolved() -> ReconciliationException:
        async with sessions() as session, session.begin():
            row = await _locked(session, exception_id, RESOLVABLE)
            found = _proposal(row, account, against)
            alone = found.cents <= alone_up_to_cents
            if not alone and by.key_id is None:
                limit = usd(alone_up_to_cents).decimal()
                raise Refused(
                    Refusal.STATE_CONFLICT, f"above {limit} USD an adjustment is proposed with an operator key"
                )
            row.reason, row.holder, row.holder_key = reason, by.holder, by.key_id
            row.approver = row.approver_key = None
            row.state, row.updated_at = ExceptionState.PROPOSED, now
            row.adjustment = {"number": 0, "posted": {}, **(row.adjustment or {}), "proposal": found.as_json()}
            details = found.as_json() | {"posted": alone}
            act_id = await _record(session, by, Act.RESOLVE_EXCEPTION, row, reason=reason, details=details, now=now)
            row.adjustment = {**_kept(row), "proposal_id": _act_name(act_id)}
            if alone:
                await _post(session, row, act_id)
            return row

    return await once_more(sessions, resolved)


async def approve(
    sessions: Sessions, exception_id: UUID, *, proposal_id: str, reason: str, by: Acting, now: datetime
) -> ReconciliationException:
    """Agree to what somebody else proposed, which is then posted. `proposal_id` is the act of proposing, `opact_…`.

    Raises `Refused`: NOT_FOUND; STATE_CONFLICT when nothing is proposed, when it is another proposal by now, when `by`
    is who proposed it, or when either has no operator key.
    """

    async def approved() -> ReconciliationException:
        async with sessions() as session, session.begin():
            row = await _locked(session, exception_id, frozenset({ExceptionState.PROPOSED}))
            kept = _kept(row)
            if kept["proposal_id"] != proposal_id:
                raise Refused(Refusal.STATE_CONFLICT, f"what is proposed by now is {kept['proposal_id']}; look at it")
            if None in {by.key_id, row.holder_key} or by.key_id == row.holder_key or _same(by.holder, row.holder):
                message = "another key holder than the one who proposed it must approve it, with an operator key"
                raise Refused(Refusal.STATE_CONFLICT, message)
            row.approver, row.approver_key, row.updated_at = by.holder, by.key_id, now
            details = {"proposed_by": row.holder, "proposal_id": proposal_id, **kept["proposal"]}
            act_id = await _record(session, by, Act.APPROVE_EXCEPTION, row, reason=reason, details=details, now=now)
            await _post(session, row, act_id)
            return row

    return await once_more(sessions, approved)


def _same(holder: str, other: str | None) -> bool:
    return other is None or holder.strip().casefold() == other.strip().casefold()


def _proposal(row: ReconciliationException, account: str | None, against: str | None) -> Proposal:
    kept = row.adjustment or {}
    posted, told = kept.get("posted", {}), kept.get("account")
    # What was posted is taken back, or added to, where it was posted.
    if posted.get(told):
        for named, code, before in (("account", account, told), ("against", against, kept["against"])):
            if code not in {None, before}:
                message = f"{named} is {before}, where the part is that was posted before"
                raise Refused(Refusal.INVALID_ARGUMENTS, message)
        account, against = told, kept["against"]
    try:
        return adjusting.proposal(
            source=row.source, currency=row.currency, amount=row.amount, account=account, against=against, posted=posted
        )
    except ValueError as error:
        raise Refused(Refusal.INVALID_ARGUMENTS, str(error)) from None


async def _post(session: AsyncSession, row: ReconciliationException, act_id: UUID) -> None:
    """Resolve it and post what was proposed. The last statement of its transaction."""
    kept = _kept(row)
    found = Proposal.parse(kept["proposal"])
    posted = dict(kept["posted"])
    transfers = found.transfers(posted.get(found.account, 0))
    for transfer in transfers:
        for code, amount in ((transfer.debit, transfer.money.amount), (transfer.credit, -transfer.money.amount)):
            posted[code] = posted.get(code, 0) + amount
    row.state = ExceptionState.RESOLVED
    # Where nothing is posted, what was named for it is no place to take anything back from.
    where = {"account": found.account, "against": found.against} if transfers else {}
    row.adjustment = {**kept, "number": kept["number"] + 1, "posted": posted, **where}
    if not transfers:
        return
    operation = Operation(
        organization_id=PLATFORM,
        kind=Kind.MONEY,
        scope=SYSTEM_SCOPE,
        key=f"{KEY}{row.id}:{kept['number'] + 1}",
        cause=f"adjustment of {public_id(row.id)} ({row.source} {row.subject}), {_act_name(act_id)}",
        transfers=transfers,
    )
    row.operation_id = operation.id
    await session.flush()
    await posting.post(session, [operation])


def _act_name(act_id: UUID) -> str:
    return ids.external(operator_actions.PREFIX, act_id)


def _kept(row: ReconciliationException) -> dict[str, Any]:
    if row.adjustment is None:
        raise LookupError(f"{row.id} is proposed, and what is not said")
    return row.adjustment


async def _locked(
    session: AsyncSession, exception_id: UUID, states: frozenset[ExceptionState]
) -> ReconciliationException:
    """The exception, locked. Raises `Refused`: NOT_FOUND, STATE_CONFLICT when it is in none of the states."""
    row = await session.get(ReconciliationException, exception_id, with_for_update=True)
    if row is None:
        raise Refused(Refusal.NOT_FOUND, "there is no such exception")
    if row.state not in states:
        raise Refused(Refusal.STATE_CONFLICT, f"the exception is {row.state}")
    return row


async def _record(
    session: AsyncSession,
    by: Acting,
    act: Act,
    row: ReconciliationException,
    *,
    reason: str,
    details: dict[str, Any],
    now: datetime,
) -> UUID:
    return await operator_actions.record(
        session,
        by,
        act,
        organization_id=row.organization_id,
        subject=public_id(row.id),
        reason=reason,
        details=details,
        now=now,
    )
