"""Whose an organization is that was made for a wallet's payment: the wallet's, as soon as it has signed in once.

The first token goes to whoever presents the payment (`billing.settling.claiming`), and that may be a shop which passed
our terms on as its own. Signing in ends that token. So what outlives it waits for the sign-in: whoever has only the
first token invites nobody, links no wallet and revokes no agent. What the token may spend, it may spend.
"""

from __future__ import annotations

from uuid import UUID

from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from billing.refusals import Refusal, Refused
from billing.settling_tables import PayerWallet


async def require_sign_in(session: AsyncSession, organization_id: UUID) -> None:
    """Raise `Refused(WALLET_SIGN_IN_FIRST)` while the wallet that the organization was made for has not signed in.

    The caller holds the organization's lock, under which a sign-in says that it was made. Organizations that signed up
    were made for no wallet and pass.
    """
    waits = select(PayerWallet.address).where(
        col(PayerWallet.organization_id) == organization_id,
        col(PayerWallet.founded),
        col(PayerWallet.signed_in_at).is_(None),
    )
    if (await session.exec(waits)).first() is not None:
        raise Refused(Refusal.WALLET_SIGN_IN_FIRST)
