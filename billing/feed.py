"""What happened in an organization, newest first: the events that were written, and the spends that the journal has.

Theory of operation
-------------------
A spend writes no event: that would cost the hot path more than the spend itself. The journal has all that there is to
say, so its spends, captures and refunds of these are read as events `usage.credit_consumed`. Both lists have an order
of their own that never changes (ids made of the time; numbers given under the book's lock), so a page is a merge of
two lists by their heads, and a place between two pages is a place in each. Whatever was there when the first page was
read comes exactly once, in order; what happens meanwhile is found by whoever begins anew.

Spends may be rare among the operations of a book, so one page looks through a bounded part of the journal. It may come
short, even empty, and still say where to go on.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy import or_
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from billing import activity
from billing.activity import EventType
from billing.job_tables import Job
from billing.jobs import reading
from billing.tables import ActivityEvent
from ledger import ids, statements
from ledger.ids import external
from ledger.operations import LANE, Kind
from ledger.outcomes import Outcome
from ledger.tables import HoldRow, OperationRow, SpendRefundRow

OPERATIONS_READ_MAX: Final = 10_000
"""Operations that one page looks through."""

USAGE_KINDS: Final = (Kind.SPEND, Kind.CAPTURE, Kind.SPEND_REFUND)
"""The operations that are events of usage."""

_PLACE: Final = re.compile(r"feed_([1-9][0-9]{0,17})_[0-9a-z]{26}")
_NEWEST: Final = UUID(int=(1 << 128) - 1)
_NAMES_OF_OPERATIONS: Final = frozenset({"op", "usage", "credit_event", "hold", "evt"})
_NAMES_OF_JOBS: Final = frozenset({"job", "receipt"})
_OPERATIONS: Final = {Kind.SPEND: "credits.spend", Kind.CAPTURE: "credits.capture", Kind.SPEND_REFUND: "credits.refund"}
_SUMMARIES: Final = {
    Kind.SPEND: "Credits were spent: {credits}.",
    Kind.CAPTURE: "Credits were spent from a hold: {credits}.",
    Kind.SPEND_REFUND: "Credits of an earlier spend were given back: {credits}.",
}


@dataclass(frozen=True, slots=True)
class Place:
    """How far a reader has come: it has seen all events from this id on, and all operations from this number on."""

    event_id: UUID
    seq: int

    def text(self) -> str:
        """The place as a cursor."""
        return external(f"feed_{self.seq}", self.event_id)


def place_of(text: str) -> Place:
    """The place inside a cursor. Raises `MalformedId` for what is none."""
    found = _PLACE.fullmatch(text)
    if found is None:
        raise ids.MalformedId("not a place in the feed")
    return Place(ids.parse(f"feed_{found[1]}", text), int(found[1]))


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which part of the feed: from which place on, about what (any id), of which type."""

    limit: int
    start: Place | None = None
    reference: str | None = None
    type: str | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """Some events, newest first, and where to go on; none at the end."""

    events: Sequence[ActivityEvent]
    following: Place | None


@dataclass(frozen=True, slots=True)
class _Stretch:
    """The operations from `floor` up to, but without, `below`; with `about` only that one and those that target it."""

    floor: int
    below: int
    about: UUID | None = None


@dataclass(frozen=True, slots=True)
class Used:
    """Events of usage with the numbers of their operations, and what lies behind them.

    Below `rest` was not looked; nothing is there when that has come down to `floor`.
    """

    events: Sequence[ActivityEvent]
    seqs: Sequence[int]
    rest: int
    floor: int


async def page(session: AsyncSession, organization_id: UUID, wanted: Wanted) -> Page:
    """One page, for a session that sees one moment (`database.snapshot`)."""
    book = await statements.book_of(session, organization_id)
    start = wanted.start or Place(_NEWEST, book.last_seq + 1 if book is not None else 1)
    written: Sequence[ActivityEvent] = ()
    if wanted.type != EventType.USAGE_CREDIT_CONSUMED:
        written = await _written(session, organization_id, wanted, start)
    used = Used((), (), start.seq, start.seq)
    if wanted.type in {None, EventType.USAGE_CREDIT_CONSUMED}:
        stretch = await _stretch(session, organization_id, wanted.reference, start)
        used = await _used(session, organization_id, stretch, wanted.limit + 1)
    return merged(written, used, start, limit=wanted.limit)


def merged(written: Sequence[ActivityEvent], used: Used, start: Place, *, limit: int) -> Page:
    """The newest `limit` of both, each newest first and, when there are more than `limit` of them, one more.

    It stops where the rest of the journal may have something newer. Of the same millisecond, what was written is first.
    """
    taken: list[ActivityEvent] = []
    place, n, m = start, 0, 0
    while len(taken) < limit:
        usage = used.events[m] if m < len(used.events) else None
        if usage is None and used.rest > used.floor:
            break
        if n < len(written) and (usage is None or _written_at(written[n]) >= _millisecond(usage.occurred_at)):
            place = replace(place, event_id=written[n].id)
            taken.append(written[n])
            n += 1
        elif usage is not None:
            # What is written after this page is never put behind it.
            place = Place(min(place.event_id, UUID(int=_millisecond(usage.occurred_at) << 80)), used.seqs[m])
            taken.append(usage)
            m += 1
        else:
            break
    if m == len(used.events):
        place = replace(place, seq=min(place.seq, used.rest))
    over = n == len(written) and m == len(used.events) and used.rest <= used.floor
    return Page(taken, None if over else place)


def _written_at(event: ActivityEvent) -> int:
    """The millisecond inside its id, by which events are ordered."""
    return event.id.int >> 80


def _millisecond(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)


async def _written(
    session: AsyncSession, organization_id: UUID, wanted: Wanted, start: Place
) -> Sequence[ActivityEvent]:
    prefix, own_id = _own(wanted.reference)
    if prefix == "evt" and own_id is not None:
        event = await activity.by_id(session, organization_id, own_id)
        wrong = event is None or event.id >= start.event_id or wanted.type not in {None, event.type}
        return () if event is None or wrong else (event,)
    return await activity.events(
        session,
        organization_id,
        before=start.event_id,
        limit=wanted.limit + 1,
        type_=wanted.type,
        reference=wanted.reference,
    )


async def _stretch(session: AsyncSession, organization_id: UUID, reference: str | None, start: Place) -> _Stretch:
    """Where in the journal the spends are that `reference` names: at its operation, and above it what targets that."""
    if reference is None:
        return _Stretch(1, start.seq)
    prefix, own_id = _own(reference)
    if own_id is not None and prefix in _NAMES_OF_JOBS:
        job = await session.get(Job, (organization_id, own_id))
        own_id = job.capture_id if job is not None else None
    elif prefix not in _NAMES_OF_OPERATIONS:
        own_id = None
    row = await statements.operation(session, organization_id, own_id) if own_id is not None else None
    if row is None:
        return _Stretch(start.seq, start.seq)
    alone = prefix == "evt" or not await _is_targeted(session, row)
    return _Stretch(row.seq, min(start.seq, row.seq + 1) if alone else start.seq, row.id)


def _own(reference: str | None) -> tuple[str, UUID | None]:
    """The prefix of a reference and, when it can be one of our ids, what is inside."""
    prefix = (reference or "").rpartition("_")[0]
    try:
        return prefix, ids.parse(prefix, reference or "")
    except ids.MalformedId:
        return prefix, None


async def _is_targeted(session: AsyncSession, row: OperationRow) -> bool:
    """Whether later operations can be about this one: captures of a hold, refunds of what was spent."""
    return row.kind == Kind.HOLD or await session.get(SpendRefundRow, (LANE, row.organization_id, row.id)) is not None


async def _used(session: AsyncSession, organization_id: UUID, stretch: _Stretch, limit: int) -> Used:
    """The newest `limit` events of usage in a stretch, of what may be looked through at once."""
    low = max(stretch.floor, stretch.below - OPERATIONS_READ_MAX)
    if low >= stretch.below:
        return Used((), (), stretch.floor, stretch.floor)
    query = select(OperationRow).where(
        col(OperationRow.lane) == LANE,
        col(OperationRow.organization_id) == organization_id,
        col(OperationRow.seq) >= low,
        col(OperationRow.seq) < stretch.below,
        col(OperationRow.kind).in_(USAGE_KINDS),
        col(OperationRow.outcome) == Outcome.POSTED,
    )
    if stretch.about is not None:
        query = query.where(or_(col(OperationRow.id) == stretch.about, col(OperationRow.target) == stretch.about))
    rows = (await session.exec(query.order_by(col(OperationRow.seq).desc()).limit(limit))).all()
    events = await usage_events(session, organization_id, rows)
    return Used(events, [row.seq for row in rows], rows[-1].seq if len(rows) == limit else low, stretch.floor)


async def usage_events(
    session: AsyncSession, organization_id: UUID, rows: Sequence[OperationRow]
) -> list[ActivityEvent]:
    """The events that these operations of usage are, in the same order; they are read, never stored.

    A job's charge names the job, and a capture the agent that its hold was made for.
    """
    targets = {row.target for row in rows if row.kind == Kind.SPEND_REFUND and row.target is not None}
    spent = {row.id: row for row in [*await _by_id(session, organization_id, targets), *rows]}
    captured = {row.id: row.target for row in spent.values() if row.kind == Kind.CAPTURE and row.target is not None}
    jobs = await reading.by_captures(session, organization_id, captured) if captured else {}
    agents = await _spenders(session, organization_id, captured.values())
    events = []
    for row in rows:
        use = spent.get(row.target, row) if row.kind == Kind.SPEND_REFUND and row.target is not None else row
        hold_id = captured.get(use.id)
        agent_id = agents.get(hold_id) if hold_id is not None else use.spender
        events.append(_usage(row, use.id, job=jobs.get(use.id), agent_id=agent_id, hold_id=hold_id))
    return events


def _usage(
    row: OperationRow, use_id: UUID, *, job: Job | None, agent_id: UUID | None, hold_id: UUID | None
) -> ActivityEvent:
    """One event. What is given back is below zero, so that the costs of all events add up to what was consumed."""
    kind = Kind(row.kind)
    side = "credit" if kind is Kind.SPEND_REFUND else "debit"
    credits_ = sum(e.amount for e in statements.entries_of(row) if e.account == "consumed" and e.side == side)
    usage_id = external("usage", use_id)
    links = {
        "usage_event_id": usage_id,
        "operation_id": external("op", row.id),
        "credit_event_id": external("credit_event", row.id),
    }
    links |= {"agent_id": external("agt", agent_id)} if agent_id is not None else {}
    links |= {"hold_id": external("hold", hold_id)} if hold_id is not None and kind is Kind.CAPTURE else {}
    links |= {"job_id": external("job", job.id)} if job is not None else {}
    links |= {"refunded_operation_id": external("op", use_id)} if kind is Kind.SPEND_REFUND else {}
    return ActivityEvent(
        organization_id=row.organization_id,
        id=row.id,
        type=EventType.USAGE_CREDIT_CONSUMED,
        occurred_at=row.posted_at,
        summary=_SUMMARIES[kind].format(credits=credits_),
        operation=job.operation if job is not None else _OPERATIONS[kind],
        subject_type="usage",
        subject_id=usage_id,
        status="refunded" if kind is Kind.SPEND_REFUND else "succeeded",
        links=links,
        cost={"credits": -credits_ if kind is Kind.SPEND_REFUND else credits_},
    )


async def _by_id(session: AsyncSession, organization_id: UUID, wanted: Iterable[UUID]) -> Sequence[OperationRow]:
    found = list(wanted)
    if not found:
        return ()
    query = select(OperationRow).where(
        col(OperationRow.id).in_(found), col(OperationRow.organization_id) == organization_id
    )
    return (await session.exec(query)).all()


async def _spenders(session: AsyncSession, organization_id: UUID, hold_ids: Iterable[UUID]) -> dict[UUID, UUID | None]:
    """For whom these holds were made."""
    found = list(hold_ids)
    if not found:
        return {}
    query = select(HoldRow.id, HoldRow.spender).where(
        col(HoldRow.lane) == LANE, col(HoldRow.organization_id) == organization_id, col(HoldRow.id).in_(found)
    )
    return dict((await session.exec(query)).all())
