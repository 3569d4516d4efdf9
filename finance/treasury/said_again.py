"""What is booked under a reference beside what is said under it again: the same trade, or another one by mistake."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from billing.operator_actions import Act
from billing.refusals import Refusal, Refused
from billing.reversal_tables import OperatorAction
from ledger.money import ether, usd, usdc


def _dollars(cents: int) -> str:
    return f"{usd(cents).decimal()} USD"


def _day(at: str) -> str:
    return datetime.fromisoformat(at).astimezone(UTC).date().isoformat()


_SAID: Final[Mapping[str, tuple[str, Callable[[Any], str]]]] = {
    "usdc_atomic": ("sold", lambda atomic: f"{usdc(int(atomic)).decimal()} USDC"),
    "gwei": ("bought", lambda gwei: f"{ether(int(gwei)).decimal()} ETH"),
    "received_cents": ("received", _dollars),
    "paid_cents": ("paid", _dollars),
    "fee_cents": ("fee", _dollars),
    "transaction_hash": ("transaction", lambda name: name or "none"),
    "sold_at": ("day", _day),
    "bought_at": ("day", _day),
}
"""What a trade must share with the one that is booked: how that is called, and as what it is compared and shown."""
_WHAT: Final = {Act.SOLD_USDC: "sale", Act.BOUGHT_ETHER: "purchase"}


async def require_same(
    session: AsyncSession, act: Act, subject: str, details: Mapping[str, Any], *, day_is_said: bool
) -> None:
    """Nothing, when the trade that is booked as `subject` is what `details` say; the day counts only where it was said.

    Raises `Refused(STATE_CONFLICT)` with each figure that differs, and what to do.
    """
    query = select(OperatorAction).where(col(OperatorAction.action) == act, col(OperatorAction.subject) == subject)
    booked = (await session.exec(query.order_by(col(OperatorAction.id)).limit(1))).one().details
    differing = [
        f"{name} {shown(booked[key])}, not {shown(details[key])}"
        for key, (name, shown) in _SAID.items()
        if key in details and shown(booked[key]) != shown(details[key]) and (name != "day" or day_is_said)
    ]
    if differing:
        raise Refused(
            Refusal.STATE_CONFLICT,
            f"the {_WHAT[act]} {details['reference']} is booked already, and otherwise: {'; '.join(differing)}. "
            "Say the booked figures to repeat it, or give another trade a reference of its own; "
            "what is booked wrong is put right by resolving its exceptions of `purser reconcile`",
        )
