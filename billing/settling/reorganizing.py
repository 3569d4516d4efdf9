"""A payment that was granted is watched until its block is final: what a reorganization takes out is taken back.

Theory of operation
-------------------
Each time the payment is looked for anew. It may stand where it stood, or elsewhere (in another block, or carried out
by somebody else's transaction): then only the place changes. When its block is no longer the chain's and it stands
nowhere, it has vanished: that is a reversal of the payment, of its own kind, with a line that takes the money out of
`usdc_clearing`. When it is back, that reversal ends as a refund does that fails: the line comes back and the credits
with it. Each time it vanishes is a reversal of its own, numbered, so that the same news counts once.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

import structlog
from sqlmodel.ext.asyncio.session import AsyncSession

from billing import facts
from billing.database import Sessions
from billing.judging import Judged
from billing.settlement_states import SettlementState as S
from billing.settlement_states import Turn, after
from billing.settling import granting, records
from billing.settling.records import PAYMENT_KIND, cents, key_of, payment_id
from billing.settling.sighting import Sighting
from billing.settling_tables import Settlement
from ledger.ids import external
from rails.money import BalanceTransaction, RefundSeen

GONE: Final = "succeeded"
BACK: Final = "failed"
"""The words of a refund: money that went, and money that went and came back."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class _Turning:
    """The settlement as the reversal's letter: locked first, and changed in the transaction that posts the reversal."""

    row: Settlement
    turn: Turn
    seen: Sighting | None

    async def lock(self, session: AsyncSession) -> bool:
        """Lock the settlement; False when this news is known already."""
        current = await records.locked(session, key_of(self.row))
        is_same = current.reorganizations == self.row.reorganizations
        return is_same and after(S(current.state), self.turn) != current.state

    async def done(self, session: AsyncSession, now: datetime) -> None:
        """Change its state, and where the payment stands now."""
        current = await records.locked(session, key_of(self.row))
        records.move(current, self.turn, now)
        if self.seen is not None:
            granting.place(current, self.seen)
            current.reorganizations += 1


async def vanished(sessions: Sessions, row: Settlement, *, livemode: bool, now: datetime) -> None:
    """The block that held the payment is not the chain's any more, and the payment stands nowhere else."""
    gone = _reversal(row, gone=True, livemode=livemode, now=now)
    letter = _Turning(row, Turn.REORGANIZED, None)
    judged = await facts.apply(sessions, gone, livemode=livemode, now=now, letter=letter)
    log.error("payment_vanished", **_told(row, judged), block=row.block_number)


async def reappeared(sessions: Sessions, row: Settlement, seen: Sighting, *, livemode: bool, now: datetime) -> None:
    """A payment that had vanished stands in a block again, and is as final as the policy asks."""
    back = _reversal(row, gone=False, livemode=livemode, now=now)
    letter = _Turning(row, Turn.REAPPEARED, seen)
    judged = await facts.apply(sessions, back, livemode=livemode, now=now, letter=letter)
    log.warning("payment_reappeared", **_told(row, judged), block=seen.block_number)


async def moved(sessions: Sessions, row: Settlement, seen: Sighting) -> None:
    """The payment stands elsewhere than before; nothing else has changed."""
    if (row.transaction_hash, row.log_index, row.block_hash) == (
        seen.transaction_hash,
        seen.log_index,
        seen.block_hash,
    ):
        return
    async with sessions() as session, session.begin():
        current = await records.locked(session, key_of(row))
        if current.state == S.SETTLED:
            granting.place(current, seen)


def _told(row: Settlement, judged: Judged) -> dict[str, str | None]:
    return {"attempt_id": external("payatt", row.attempt_id), "verdict": judged.verdict, "reason": judged.reason}


def _reversal(row: Settlement, *, gone: bool, livemode: bool, now: datetime) -> RefundSeen:
    name = f"{payment_id(row)}:{row.reorganizations + 1}"
    out = BalanceTransaction(f"{name}:out", "reorganization", -cents(row), 0, -cents(row), "usdc", name, now)
    back = BalanceTransaction(f"{name}:back", "reorganization", cents(row), 0, cents(row), "usdc", name, now)
    return RefundSeen(
        livemode=livemode,
        occurred_at=now,
        read_at=now,
        payment_kind=PAYMENT_KIND,
        payment_id=payment_id(row),
        refund_id=name,
        amount=cents(row),
        currency="usd",
        status=GONE if gone else BACK,
        request_key=None,
        details={"network": row.network, "transaction_hash": row.transaction_hash or ""},
        transactions=(out,) if gone else (out, back),
        is_reorganization=True,
    )
