"""Payments of wallets for an operator: which there are, and what is decided of one that is held."""

from __future__ import annotations

from rich.table import Table

from api.command_line.payments import attempt_id
from api.command_line.tables import moment, table
from api.reasons import CannotGoOn
from api.wiring import House
from billing.database import snapshot
from billing.operating import settlements
from billing.operator_actions import COMMAND_LINE
from billing.settlement_states import SettlementState
from billing.settling import deciding, records
from billing.settling_tables import Decision
from ledger.ids import external


async def listing(house: House, *, state: str | None, limit: int, before: str | None) -> Table:
    """The newest payments as a table. Raises `CannotGoOn` for an unknown state or id, `Refused(NOT_FOUND)`."""
    if state is not None and state not in list(SettlementState):
        raise CannotGoOn(f"--state is one of {', '.join(SettlementState)}.", exit_code=2)
    async with snapshot(house.sessions) as session:
        behind = (await settlements.one(session, attempt_id(before))).id if before is not None else None
        found = await settlements.listed(session, state=state, before=behind, limit=limit + 1)
    names = [external("payatt", one.attempt_id) for one in found]
    return table(
        ("attempt", "created", "state", "payer", "reason"),
        [
            (name, moment(one.created_at), one.state, one.payer, one.reason or "")
            for name, one in zip(names, found, strict=True)
        ],
        whole=("attempt",),
        limit=limit,
        go_on=lambda n: f"purser settlements list --before {names[n]}",
        nothing="no payments of wallets",
    )


async def decided(house: House, name: str, decision: Decision, *, reason: str) -> None:
    """Decide of a held payment. Raises `Refused`."""
    async with snapshot(house.sessions) as session:
        key = records.key_of(await settlements.one(session, attempt_id(name)))
    await deciding.decide(house.sessions, key, decision, reason=reason, by=COMMAND_LINE, now=house.clock())
