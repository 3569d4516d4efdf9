"""What operators did, by whom and why: written in the transaction of the act, and never changed.

An operator acts over HTTP with a key, whose id and holder are recorded, or on the command line. An act that was asked
for with an idempotency key is recorded under it, once for each operator key: so a request that is sent twice acts once,
also when both arrive at the same moment, because the second record cannot be written and takes its act back with it.
Only a person's address that somebody wrote into a reason is struck out of a record, when that person is erased
(`billing.erasing`).
"""

from __future__ import annotations

import enum
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import insert
from sqlalchemy.exc import IntegrityError
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from billing.database import Sessions, snapshot
from billing.fresh import new_id
from billing.refusals import Refusal, Refused
from billing.reversal_tables import OperatorAction
from ledger import ids

PREFIX: Final = "opact"
REASON_LENGTH_MAX: Final = 500


class Act(enum.StrEnum):
    """What operators do. The value stands in the record."""

    RETRY_LETTER = "retry_letter"
    PARK_LETTER = "park_letter"
    IGNORE_LETTER = "ignore_letter"
    REFUND = "refund"
    WRITE_OFF = "write_off"
    FREEZE = "freeze"
    UNFREEZE = "unfreeze"
    UNFREEZE_WARNED = "unfreeze_warned"
    RELEASE_PAYMENT = "release_payment"
    KEEP_PAYMENT = "keep_payment"
    MAKE_WEBHOOK_ENDPOINT = "make_webhook_endpoint"
    CHANGE_WEBHOOK_ENDPOINT = "change_webhook_endpoint"
    ROTATE_WEBHOOK_SECRET = "rotate_webhook_secret"  # noqa: S105 - the name of an act
    ENABLE_WEBHOOK_ENDPOINT = "enable_webhook_endpoint"
    DISABLE_WEBHOOK_ENDPOINT = "disable_webhook_endpoint"
    TEST_WEBHOOK_ENDPOINT = "test_webhook_endpoint"
    REPLAY_WEBHOOK = "replay_webhook"
    END_OWNERSHIP = "end_ownership"
    ACKNOWLEDGE_EXCEPTION = "acknowledge_exception"
    RESOLVE_EXCEPTION = "resolve_exception"
    APPROVE_EXCEPTION = "approve_exception"
    ERASE_CONTACT = "erase_contact"
    CLOSE_PERIOD = "close_period"
    REOPEN_PERIOD = "reopen_period"
    MAKE_EXPORT = "make_export"
    SOLD_USDC = "sold_usdc"
    BOUGHT_ETHER = "bought_ether"


@dataclass(frozen=True, slots=True)
class Acting:
    """Who acts: the operator key and its holder; `key_id` is none on the command line.

    `idempotency_key` is the one that the act was asked for with, if any.
    """

    key_id: UUID | None
    holder: str
    idempotency_key: str | None = None


COMMAND_LINE: Final = Acting(None, "command line")


async def record(
    session: AsyncSession,
    acting: Acting,
    action: str,
    *,
    organization_id: UUID | None,
    subject: str,
    reason: str,
    details: Mapping[str, Any],
    now: datetime,
) -> UUID:
    """Write down an act in its own transaction; the record's id. `subject` is the outside id of what it is about.

    Raises `IntegrityError` when the operator key has used the idempotency key before: then the act was done already.
    """
    action_id = new_id(now)
    await session.exec(
        insert(OperatorAction).values(
            id=action_id,
            key_id=acting.key_id,
            holder=acting.holder,
            idempotency_key=acting.idempotency_key,
            action=action,
            organization_id=organization_id,
            subject=subject,
            reason=reason,
            details=dict(details),
            created_at=now,
        )
    )
    return action_id


async def done_before(
    session: AsyncSession, acting: Acting, action: str, *, subject: str, reason: str
) -> OperatorAction | None:
    """What was recorded under the idempotency key; none when nothing was.

    Raises `Refused(SPENDING_CONFLICT)` when the key was used for another act, or for another reason.
    """
    if acting.key_id is None or acting.idempotency_key is None:
        return None
    query = select(OperatorAction).where(
        col(OperatorAction.key_id) == acting.key_id, col(OperatorAction.idempotency_key) == acting.idempotency_key
    )
    found = (await session.exec(query)).first()
    if found is not None and (found.action, found.subject, found.reason) != (action, subject, reason):
        raise Refused(Refusal.SPENDING_CONFLICT)
    return found


async def once(
    sessions: Sessions, acting: Acting, action: str, *, subject: str, reason: str, act: Callable[[], Awaitable[object]]
) -> tuple[OperatorAction, bool]:
    """Do `act`, which records itself, once for an idempotency key: its record, and whether it was done before.

    Raises what `act` raises, and `Refused(SPENDING_CONFLICT)` when the key was used for another act.
    """

    async def before() -> OperatorAction | None:
        async with snapshot(sessions) as session:
            return await done_before(session, acting, action, subject=subject, reason=reason)

    found = await before()
    if found is not None:
        return found, True
    try:
        await act()
    except (IntegrityError, Refused):  # perhaps because the same request was faster; or else it is what it says
        found = await before()
        if found is None:
            raise
        return found, True
    found = await before()
    if found is None:
        raise LookupError(f"{action} of {subject} was not recorded")
    return found, False


async def listed(
    session: AsyncSession,
    *,
    organization_id: UUID | None = None,
    action: str | None = None,
    before: UUID | None = None,
    limit: int,
) -> list[OperatorAction]:
    """What operators did, newest first, from behind `before`; all of it, or about one organization or of one kind."""
    query = select(OperatorAction)
    if organization_id is not None:
        query = query.where(col(OperatorAction.organization_id) == organization_id)
    if action is not None:
        query = query.where(col(OperatorAction.action) == action)
    if before is not None:
        query = query.where(col(OperatorAction.id) < before)
    return list((await session.exec(query.order_by(col(OperatorAction.id).desc()).limit(limit))).all())


def public_id(action: OperatorAction) -> str:
    """`opact_…`, as it is shown."""
    return ids.external(PREFIX, action.id)
