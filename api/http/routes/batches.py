"""Up to a thousand spends in one request, for one organization or many."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final
from uuid import UUID

from litestar import post

from api.http import fields_spending as fields
from api.http import posting
from api.http.authentication import allowed
from api.http.context import AnyRequest, house_of, principal_of
from api.http.envelope import Envelope, answer
from api.http.fields import is_key
from api.http.rate_limits import count_refusal, refusals_left, too_many_refusals
from api.http.reading import body_of, item_of
from api.http.refusal_answers import error_of
from api.http.routes.describe import described
from api.http.views import spending as views
from billing import asking, spending
from billing.database import snapshot
from billing.fresh import new_key
from billing.refusals import Refusal, Refused
from billing.scopes import Scope
from billing.spending import Behalf, on_behalf, unknown_agent
from billing.standing import Standing, existing_agents, standing
from ledger.operations import Operation
from ledger.outcomes import FREEZES_KEY, Outcome, Posted

STANDINGS_MAX: Final = 100
"""Spenders out of credits of whom one batch tells how they stand now."""

Standings = dict[tuple[UUID, UUID | None], Standing]


@dataclass
class Item:
    """One item on its way: read, asked of the books unless it was refused before, answered."""

    raw: Any
    group: int = 0
    behalf: Behalf | None = None
    names_agent: bool = False
    operation: Operation | None = None
    posted: Posted | None = None
    refused: Refused | None = None

    @property
    def key(self) -> str | None:
        """The item's key, as far as it has one."""
        key = self.raw.get("idempotency_key") if isinstance(self.raw, dict) else None
        return key if is_key(key) else None


@post(
    "/v1/spends/batch",
    status_code=200,
    guards=[allowed(Scope.SPEND)],
    request_max_body_size=fields.BATCH_BYTES_MAX,
    opt=described(
        "spends batch", body=fields.BatchAsked, refuses=(Refusal.POSTING_OUTCOME_UNKNOWN, Refusal.RATE_LIMITED)
    ),
)
async def spend_batch(request: AnyRequest) -> Envelope:
    """Up to 1,000 spends, one result each: none disturbs another, except neighbours of the same group.

    When it is not known whether they were posted, the whole answer is a refusal: send all again under the same keys.
    """
    items = [Item(raw) for raw in (await body_of(request, fields.BatchAsked)).items]
    _number_groups(items)
    for item in items:
        _read(request, item)
    await _refuse_unknown_agents(request, items)
    _refuse_broken_groups(items)
    asked = [item for item in items if item.refused is None]
    await _post(request, asked)
    standings = await _standings(request, asked)
    results = [
        {"index": n, "idempotency_key": item.key, **await _result(request, item, items, standings)}
        for n, item in enumerate(items)
    ]
    succeeded = sum(result["ok"] for result in results)
    return answer(request, {"results": results, "posted": succeeded, "refused": len(results) - succeeded})


def _number_groups(items: Sequence[Item]) -> None:
    """Neighbours with the same group get the same number, and no others do: one between them ends a group."""
    last: Any = None
    for n, item in enumerate(items, 1):
        named = item.raw.get("group") if isinstance(item.raw, dict) else None
        if named is not None:
            item.group = items[n - 2].group if named == last else n
        last = named


def _read(request: AnyRequest, item: Item) -> None:
    """Make the item's operation, or keep why it cannot be asked."""
    try:
        asked = item_of(item.raw, fields.BatchItem)
        item.behalf = on_behalf(principal_of(request), asked.organization_id, asked.agent_id)
        item.names_agent = asked.agent_id is not None
        item.operation = spending.spend(item.behalf, asked.idempotency_key, asked.credits, group=item.group)
    except Refused as refused:
        item.refused = refused


async def _refuse_unknown_agents(request: AnyRequest, items: Sequence[Item]) -> None:
    naming = [(item, item.behalf) for item in items if item.names_agent and item.behalf is not None]
    if not naming:
        return
    async with snapshot(house_of(request).sessions) as session:
        existing = await existing_agents(session, [behalf for _, behalf in naming])
    for item, behalf in naming:
        if (behalf.organization_id, behalf.spender) not in existing:
            item.refused = item.refused or unknown_agent()


def _refuse_broken_groups(items: Sequence[Item]) -> None:
    """Where one of a group cannot be asked, none is. A group is of one organization."""
    books: dict[int, set[UUID | None]] = {}
    for item in items:
        usable = item.behalf if item.refused is None else None
        books.setdefault(item.group, set()).add(usable.organization_id if usable else None)
    for item in items:
        found = books[item.group]
        if not item.group or item.refused is not None or found == {item.behalf and item.behalf.organization_id}:
            continue
        if None in found:
            item.refused = Refused(Refusal.GROUP_REFUSED)
        else:
            item.refused = Refused(Refusal.INVALID_ARGUMENTS, "group must be of one organization")


async def _post(request: AnyRequest, asked: Sequence[Item]) -> None:
    """Ask the books, in parts no larger than the refusals that whoever asks may still get. Groups stay whole.

    What a part was answered stays, whatever becomes of the next: then its items are told why they were not asked.
    """
    waiting = deque(_groups(asked))
    stopped: Refused | None = None
    while waiting:
        part: list[Item] = []
        left: dict[str, int] = {}
        while waiting and _fits(request, waiting[0], left):
            part += waiting.popleft()
        if stopped is not None or not part:
            for item in part or waiting.popleft():
                item.refused = stopped or too_many_refusals(request, counted_as(item))
            continue
        stopped = await _post_part(request, part)
        if stopped is not None and not any(item.posted for item in asked):
            raise stopped  # then the whole request may be sent again


def _groups(asked: Sequence[Item]) -> list[list[Item]]:
    found: list[list[Item]] = []
    for item in asked:
        if item.group and found and found[-1][0].group == item.group:
            found[-1].append(item)
        else:
            found.append([item])
    return found


def _fits(request: AnyRequest, group: Sequence[Item], left: dict[str, int]) -> bool:
    """Whether everybody in the group may still be refused; then that is taken from what is `left` to them."""
    names = {counted_as(item) for item in group}
    for name in names:
        left.setdefault(name, refusals_left(request, name))
    if any(left[name] <= 0 for name in names):
        return False
    for name in names:
        left[name] -= 1  # of a group at most one refusal is kept
    return True


def counted_as(item: Item) -> str:
    """As whose its refusal is counted."""
    return item.behalf.counted_as if item.behalf else ""


async def _post_part(request: AnyRequest, part: Sequence[Item]) -> Refused | None:
    """Ask the books about some of the items. Gives why nothing more can be asked now.

    Raises `Refused(POSTING_OUTCOME_UNKNOWN)`: then nobody can say what became of the items.
    """
    try:
        answers = await asking.post_all(house_of(request).lane, [item.operation for item in part if item.operation])
    except Refused as refused:
        if refused.refusal is Refusal.POSTING_OUTCOME_UNKNOWN:
            raise
        for item in part:
            item.refused = refused
        return refused
    for item, posted in zip(part, answers, strict=True):
        item.posted = posted
        if posted.outcome in FREEZES_KEY and not posted.replayed:
            count_refusal(request, counted_as(item))
    return None


async def _standings(request: AnyRequest, asked: Sequence[Item]) -> Standings:
    """How those stand now whose spends were refused for ever: at most `STANDINGS_MAX` of them are looked up."""
    short = dict.fromkeys(
        (item.operation.organization_id, item.operation.spender)
        for item in asked
        if item.operation and item.posted and item.posted.outcome in FREEZES_KEY
    )
    if not short:
        return {}
    house = house_of(request)
    now = house.clock()
    async with snapshot(house.sessions) as session:
        return {
            (organization_id, spender): await standing(session, organization_id, spender, required=0, now=now)
            for organization_id, spender in list(short)[:STANDINGS_MAX]
        }


async def _result(request: AnyRequest, item: Item, items: Sequence[Item], standings: Standings) -> dict[str, Any]:
    operation, posted = item.operation, item.posted
    if operation is not None and posted is not None and item.behalf is not None:
        if posted.outcome is Outcome.POSTED:
            return {"ok": True, "data": views.posted_view(operation, posted)}
        item.refused = await _refusal(request, operation, posted, standings, _required(item, items))
    return {"ok": False, "error": error_of(request, item.refused or Refused(Refusal.INTERNAL_ERROR))}


def _required(item: Item, items: Sequence[Item]) -> int:
    """What must be there for the item to go through: with it, in its group, all before it; towards caps its agent's."""
    asked = item.operation
    if asked is None or item.posted is None or not item.group:
        return asked.credits if asked else 0
    with_it = items[: items.index(item) + 1]
    capped = item.posted.outcome is Outcome.CAP_EXCEEDED
    return sum(
        other.operation.credits
        for other in with_it
        if other.group == item.group and other.operation and (not capped or other.operation.spender == asked.spender)
    )


async def _refusal(
    request: AnyRequest, operation: Operation, posted: Posted, standings: Standings, required: int
) -> Refused:
    """As of a single spend, but without all the ways to top up, which are the same for all items."""
    if posted.outcome not in FREEZES_KEY:
        return await posting.refusal(request, operation, posted)
    recovery: dict[str, Any] = views.frozen(posted)
    found = standings.get((operation.organization_id, operation.spender))
    if found is not None:
        recovery = posting.frozen_recovery(request, posted, replace(found, required=required), in_full=False)
    return spending.refused(posted.outcome, recovery | {"idempotency_key": new_key(operation.kind.value)})


ROUTES: Final[list[Any]] = [spend_batch]
