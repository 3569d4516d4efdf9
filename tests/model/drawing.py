"""Operations drawn by Hypothesis: mostly such as make sense to the books as they are, some that do not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from hypothesis import strategies as st

from ledger.money import usd
from ledger.operations import SYSTEM_SCOPE, Caps, Kind, LotCause, LotOpening, Operation, Transfer, opening
from tests.model.kinds import HOLD_MAX
from tests.model.world import START

Draw = Callable[[st.SearchStrategy[Any]], Any]

BOOKS = (UUID(int=0xB1 << 120), UUID(int=0xB2 << 120))
AGENTS = (UUID(int=0xA1), UUID(int=0xA2))
NOBODY = UUID(int=0xFF)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)

KINDS = st.sampled_from(
    [Kind.SPEND] * 6 + [Kind.GRANT] * 5 + [Kind.HOLD] * 6 + [Kind.CAPTURE] * 4 + [Kind.CLAW_BACK] * 4
    + [Kind.VOID, Kind.EXTEND, Kind.REINSTATE, Kind.FREEZE, Kind.UNFREEZE, Kind.SET_CAPS] * 2
    + [Kind.SPEND_REFUND] * 4 + [Kind.SETTLE_OWED, Kind.MONEY] + [Kind.WRITE_OFF] * 3
)  # fmt: skip
EXPIRIES = st.sampled_from([None, START + HOUR, START + 5 * HOUR, START + DAY, START + 40 * DAY])
LASTS = st.sampled_from([HOUR, 2 * HOUR, timedelta(minutes=1), DAY, HOLD_MAX, HOLD_MAX + HOUR, -HOUR])
PASSES = st.sampled_from([timedelta(minutes=20), HOUR, timedelta(microseconds=1), 5 * HOUR, DAY, 12 * DAY])
CAPS = st.builds(
    Caps,
    per_spend=st.sampled_from([None, 8]),
    per_hour=st.sampled_from([None, 10, 0]),
    per_day=st.sampled_from([None, 15]),
    per_month=st.sampled_from([None, 25]),
    total=st.sampled_from([None, 40]),
    paused=st.sampled_from([False, False, False, True]),
)
OPENING_LOTS = {Kind.GRANT, Kind.SPEND_REFUND, Kind.REINSTATE}
ABOUT = {
    Kind.CAPTURE: {Kind.HOLD}, Kind.VOID: {Kind.HOLD}, Kind.EXTEND: {Kind.HOLD},
    Kind.SPEND_REFUND: {Kind.SPEND, Kind.CAPTURE}, Kind.CLAW_BACK: {Kind.GRANT}, Kind.REINSTATE: {Kind.GRANT},
    Kind.FREEZE: OPENING_LOTS, Kind.UNFREEZE: OPENING_LOTS,
}  # fmt: skip
COUNTED = {
    Kind.SPEND, Kind.HOLD, Kind.CAPTURE, Kind.SPEND_REFUND, Kind.CLAW_BACK, Kind.REINSTATE, Kind.SETTLE_OWED,
    Kind.WRITE_OFF,
}  # fmt: skip
MONEY = st.builds(
    Transfer,
    st.sampled_from(["stripe_fees", "disputes", "refunds_payable"]),
    st.sampled_from(["stripe_clearing", "deferred_revenue"]),
    st.builds(usd, st.integers(1, 500)),
)


def openings() -> list[Operation]:
    return [opening(organization_id=book, event_at=START) for book in BOOKS]


@dataclass
class Pen:
    """Writes operations, and remembers what it wrote, so that later ones can be about them."""

    written: list[Operation] = field(default_factory=list)

    def beginning(self) -> list[Operation]:
        """Something of everything in each book, so that what is drawn has something to be about."""
        for book in BOOKS:
            for credits_, expires_at in ((40, None), (25, START + 5 * HOUR)):
                lot = LotOpening(LotCause.PAID, credits_, usd(credits_), expires_at)
                self._write(book, Kind.GRANT, lot=lot)
            self._write(book, Kind.GRANT, lot=LotOpening(LotCause.PROMOTIONAL, 15, None, START + DAY))
            self._write(book, Kind.SPEND, credits=12, spender=AGENTS[0])
            for credits_, lasts in ((12, DAY), (9, 2 * HOUR), (14, HOLD_MAX)):
                self._write(book, Kind.HOLD, credits=credits_, spender=AGENTS[0], deadline=START + lasts)
            self._write(book, Kind.GRANT, lot=LotOpening(LotCause.PROMOTIONAL, 10, None, None, priority=200))
            reversed_ = self._write(book, Kind.GRANT, lot=LotOpening(LotCause.PAID, 9, usd(9), None, priority=1))
            self._write(book, Kind.SPEND, credits=9)
            self._write(book, Kind.CLAW_BACK, credits=9, target=reversed_.id)
        return list(self.written)

    def _write(self, book: UUID, kind: Kind, **content: Any) -> Operation:
        self.written.append(Operation(book, kind, AGENTS[0], f"k{len(self.written)}", "model", **content))
        return self.written[-1]

    def operation(self, draw: Draw, now: datetime, *, book: UUID | None = None) -> Operation:
        """One operation under a new key, or, sometimes, other content under an old one."""
        kind = draw(KINDS)
        book = book or draw(st.sampled_from(BOOKS))
        scope, key = draw(st.sampled_from((*AGENTS, SYSTEM_SCOPE))), f"k{len(self.written)}"
        if self.written and draw(st.integers(0, 9)) == 9:
            old = draw(st.sampled_from(self.written))
            book, scope, key = old.organization_id, old.scope, old.key
        made = Operation(book, kind, scope, key, "model", **self._content(draw, kind, book, now))
        self.written.append(made)
        return made

    def batch(self, draw: Draw, now: datetime, *, most: int) -> list[Operation]:
        """Single operations, repetitions and groups, over all books."""
        batch: list[Operation] = []
        for number in range(1, draw(st.integers(1, most)) + 1):
            form = draw(st.sampled_from(["single", "single", "group", "again"]))
            if form == "group":
                book = draw(st.sampled_from(BOOKS))
                size = draw(st.integers(2, 3))
                batch += [replace(self.operation(draw, now, book=book), group=number) for _ in range(size)]
                batch[-size:] = [replace(made, group=number) for made in _of_one_book(batch[-size:])]
            elif form == "again" and self.written:
                batch.append(draw(st.sampled_from(self.written[::-1])))
            else:
                batch.append(self.operation(draw, now))
        return batch

    def _content(self, draw: Draw, kind: Kind, book: UUID, now: datetime) -> dict[str, Any]:
        content: dict[str, Any] = {"event_at": draw(st.sampled_from([None, None, now - 40 * DAY]))}
        if kind in COUNTED:
            content["credits"] = draw(st.integers(1, 12))
        if kind in {Kind.SPEND, Kind.HOLD, Kind.CAPTURE}:
            content["spender"] = draw(st.sampled_from([*AGENTS, None]))
        if kind in {Kind.HOLD, Kind.EXTEND}:
            content["deadline"] = now + draw(LASTS)
        if kind in ABOUT:
            content["target"] = draw(st.sampled_from(self._known(ABOUT[kind], book) or [NOBODY]))
        if kind is Kind.WRITE_OFF:
            content |= {"credits": draw(st.integers(1, 5)), "target": draw(st.sampled_from(self._reversed(book)))}
        if kind is Kind.CAPTURE:
            content["final"] = draw(st.booleans())
        if kind is Kind.SET_CAPS:
            content |= {"spender": draw(st.sampled_from(AGENTS)), "caps": draw(CAPS)}
        if kind is Kind.GRANT:
            content |= _grant(draw)
        if kind is Kind.MONEY:
            content["transfers"] = tuple(draw(st.lists(MONEY, min_size=1, max_size=3)))
        return content

    def _reversed(self, book: UUID) -> list[UUID]:
        """What was to be clawed back, the newest first: something of it may be owed."""
        backs = [made for made in reversed(self.written) if made.kind is Kind.CLAW_BACK]
        return [made.target for made in backs if made.target and made.organization_id == book] or [NOBODY]

    def _known(self, kinds: set[Kind], book: UUID) -> list[UUID]:
        """The newest first; one in a while is of the other book."""
        ids = [made.id for made in reversed(self.written) if made.kind in kinds and made.organization_id == book]
        foreign = [made.id for made in self.written if made.kind in kinds and made.organization_id != book]
        return ids[:8] + foreign[:1]


def _of_one_book(operations: list[Operation]) -> list[Operation]:
    """A group stays in one book: what reuses a key of the other book is left out."""
    return [made for made in operations if made.organization_id == operations[0].organization_id]


def _grant(draw: Draw) -> dict[str, Any]:
    cause = draw(st.sampled_from([LotCause.PAID, LotCause.PAID, LotCause.PROMOTIONAL, LotCause.CORRECTION]))
    credits_ = draw(st.integers(1, 20))
    basis = usd(credits_) if cause is LotCause.PAID else None
    lot = LotOpening(cause, credits_, basis, draw(EXPIRIES), priority=draw(st.sampled_from([100, 100, 50])))
    money = (Transfer("stripe_clearing", "deferred_revenue", basis),) if basis else ()
    return {"lot": lot, "transfers": money}
