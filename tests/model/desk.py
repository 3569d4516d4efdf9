"""One book, a clock that stands still until told, and short words for what is done to credits in it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import count
from typing import Any
from uuid import UUID

from ledger.money import usd
from ledger.operations import SYSTEM_SCOPE, Caps, Kind, LotCause, LotOpening, Operation, opening
from ledger.outcomes import Outcome, Posted
from tests.model.world import START, World

BOOK = UUID(int=0xB0 << 120)
AGENT = UUID(int=0xA1)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
POSTED = Outcome.POSTED


@dataclass
class Desk:
    """Each call posts one operation, expects `outcome`, and gives the operation; the oracle looks on."""

    world: World
    last: Posted | None = None
    _keys: Any = field(default_factory=count)

    async def open(self) -> None:
        await self.world.post(opening(organization_id=BOOK, event_at=START))

    def new(self, kind: Kind, *, scope: UUID = AGENT, **content: Any) -> Operation:
        return Operation(BOOK, kind, scope, f"k{next(self._keys)}", "test", **content)

    async def do(self, kind: Kind, *, outcome: Outcome = POSTED, **content: Any) -> Operation:
        operation = self.new(kind, **content)
        [self.last] = await self.world.post(operation)
        assert self.last.outcome is outcome
        return operation

    async def grant(
        self,
        credits_: int,
        *,
        cause: LotCause = LotCause.PAID,
        expires_in: timedelta | None = None,
        priority: int = 100,
    ) -> Operation:
        basis = usd(credits_) if cause is LotCause.PAID else None
        at = None if expires_in is None else self.world.now + expires_in
        return await self.do(Kind.GRANT, scope=SYSTEM_SCOPE, lot=LotOpening(cause, credits_, basis, at, priority))

    async def gift(self, credits_: int, **terms: Any) -> Operation:
        return await self.grant(credits_, cause=LotCause.PROMOTIONAL, **terms)

    async def spend(self, credits_: int, *, outcome: Outcome = POSTED, **content: Any) -> Operation:
        return await self.do(Kind.SPEND, outcome=outcome, credits=credits_, **content)

    async def hold(
        self, credits_: int, *, lasts: timedelta = HOUR, outcome: Outcome = POSTED, **content: Any
    ) -> Operation:
        return await self.do(Kind.HOLD, outcome=outcome, credits=credits_, deadline=self.world.now + lasts, **content)

    async def capture(self, hold: Operation, credits_: int, *, outcome: Outcome = POSTED, **content: Any) -> Operation:
        return await self.do(Kind.CAPTURE, outcome=outcome, target=hold.id, credits=credits_, **content)

    async def void(self, hold: Operation, *, outcome: Outcome = POSTED) -> Operation:
        return await self.do(Kind.VOID, outcome=outcome, target=hold.id)

    async def refund(self, spent: Operation, credits_: int, *, outcome: Outcome = POSTED) -> Operation:
        return await self.do(Kind.SPEND_REFUND, outcome=outcome, target=spent.id, credits=credits_)

    async def claw_back(self, grant: Operation, credits_: int, *, outcome: Outcome = POSTED) -> Operation:
        return await self.do(Kind.CLAW_BACK, outcome=outcome, scope=SYSTEM_SCOPE, target=grant.id, credits=credits_)

    async def reinstate(self, grant: Operation, credits_: int, *, outcome: Outcome = POSTED) -> Operation:
        return await self.do(Kind.REINSTATE, outcome=outcome, scope=SYSTEM_SCOPE, target=grant.id, credits=credits_)

    async def write_off(self, grant: Operation, credits_: int, *, outcome: Outcome = POSTED) -> Operation:
        return await self.do(Kind.WRITE_OFF, outcome=outcome, scope=SYSTEM_SCOPE, target=grant.id, credits=credits_)

    async def freeze(self, grant: Operation, *, outcome: Outcome = POSTED) -> None:
        await self.do(Kind.FREEZE, outcome=outcome, scope=SYSTEM_SCOPE, target=grant.id)

    async def unfreeze(self, grant: Operation) -> None:
        await self.do(Kind.UNFREEZE, scope=SYSTEM_SCOPE, target=grant.id)

    async def caps(self, **caps: Any) -> None:
        await self.do(Kind.SET_CAPS, scope=SYSTEM_SCOPE, spender=AGENT, caps=Caps(**caps))

    async def wait(self, passed: timedelta) -> None:
        await self.world.set_clock(self.world.now + passed)

    async def wait_until(self, at: datetime) -> None:
        await self.world.set_clock(at)

    async def due(self) -> None:
        """Post what fell due, and nothing else."""
        assert not await self.world.catch_up(BOOK)

    async def end(self, hold: Operation, ending: str) -> None:
        """Release a whole hold, or all but one credit of it, in one of the three ways there are."""
        if ending == "void":
            await self.void(hold)
        elif ending == "rest":
            await self.capture(hold, 1)
        else:
            assert hold.deadline is not None
            await self.wait_until(hold.deadline)
            await self.due()

    async def lots(self) -> list[dict[str, Any]]:
        """The rows of the lots, after everything was compared with the oracle."""
        await self.world.check()
        return list((await self.world.rows(BOOK))["lots"])

    async def lot(self, number: int = 1) -> dict[str, int]:
        """Where the credits of one lot are and what was reversed of them; what is 0 is left out."""
        row = (await self.lots())[number - 1]
        places = ("remaining", "held", "consumed", "expired", "clawed_back", "owed", "settled", "held_reversed")
        return {name: row[name] for name in places if row[name]}

    async def book(self) -> dict[str, Any]:
        await self.world.check()
        return dict((await self.world.rows(BOOK))["book"])
