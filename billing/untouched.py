"""Whether there is anything in an organization that a stranger could take, or would be taken for."""

from __future__ import annotations

from typing import Any, Final
from uuid import UUID

from sqlalchemy import func
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from billing.claim_states import owner_of
from billing.contact_tables import ClaimRequest, Feedback
from billing.job_tables import Job
from billing.tables import Agent, CreditQuote
from ledger.operations import LANE
from ledger.tables import Book

_TRACES: Final[tuple[type[Any], ...]] = (CreditQuote, Job, Feedback, ClaimRequest)
"""A quote (so an attempt), a job, a word to us, or that it was once offered to a human."""


async def nothing_to_take(session: AsyncSession, organization_id: UUID) -> bool:
    """Never any of `_TRACES`, a grant or a hold (the book holds only its opening), a second agent, or an owner.

    What was offered to a human is not taken over: the token would end up with a stranger in what that human owns.
    Whoever claims waits for the organization's lock, which the caller holds.
    """
    for row in _TRACES:
        trace = select(row.id).where(col(row.organization_id) == organization_id).limit(1)
        if (await session.exec(trace)).first() is not None:
            return False
    agents = select(func.count()).select_from(Agent).where(col(Agent.organization_id) == organization_id)
    book = await session.get(Book, (LANE, organization_id), populate_existing=True)
    return (
        (await session.exec(agents)).one() == 1
        and book is not None
        and book.last_seq == 1
        and await owner_of(session, organization_id) is None
    )
