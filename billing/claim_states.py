"""Whether a human owns an organization, in the contract's words."""

from __future__ import annotations

from typing import Final
from uuid import UUID

from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from billing.contact_tables import ClaimRequest, Owner

UNCLAIMED: Final = "unclaimed"
CLAIMED: Final = "claimed"
REQUESTED: Final = "requested"
NONE: Final = "none"


async def owner_of(session: AsyncSession, organization_id: UUID) -> Owner | None:
    """Who owns the organization now. It stays so for who holds the organization's lock."""
    query = select(Owner).where(col(Owner.organization_id) == organization_id, col(Owner.ended_at).is_(None))
    return (await session.exec(query.execution_options(populate_existing=True))).first()


async def claim_state(session: AsyncSession, organization_id: UUID) -> str:
    """`claimed` while the organization has an owner, and else `unclaimed`."""
    return CLAIMED if await owner_of(session, organization_id) is not None else UNCLAIMED


async def claim_request_state(session: AsyncSession, organization_id: UUID) -> str:
    """`requested` once an agent has named a contact that may own the organization, and else `none`."""
    query = select(ClaimRequest.id).where(col(ClaimRequest.organization_id) == organization_id).limit(1)
    return REQUESTED if (await session.exec(query)).first() is not None else NONE
