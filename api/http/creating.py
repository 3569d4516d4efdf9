"""An order of a job: found again under its key, or else priced, held for, and turned once before it is answered.

Theory of operation
-------------------
The key is looked for before anything else, so that a repeated order is answered with its job whatever the price list
says by now. Then come the model, its parameters, and the budget; nothing has been stored until then, and a refusal
leaves the key free. The order itself stores the job and holds its credits in one transaction. After that nothing can be
lost: the request makes one turn of its own and waits `PURSER_JOB_WAIT_S` for it, but never cuts it, and whatever
becomes of the turn, the answer is the job as it stands. The worker goes on where a turn left off.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any, Final

import structlog

from api.http import posting
from api.http.commands import Commands
from api.http.context import AnyRequest, house_of
from api.http.fields_jobs import CreateAsked
from api.http.rate_limits import count_refusal, measured, require_few_refusals
from api.http.views import job_refusals
from api.wiring import House
from billing.fresh import new_id, new_key
from billing.identity import Actor, Buyer
from billing.job_tables import Job
from billing.jobs import ordering, reading, turning
from billing.jobs.ending import JobKey
from billing.jobs.ordering import Bounds, DailyLimitReached, HoldRefused, Order
from billing.jobs.turning import LEASE
from billing.pricing import NoSuchModel, NotExecutable, Selection, checked_parameters, choose
from billing.refusals import Refusal, Refused
from billing.spending import Behalf
from ledger.ids import external
from outbound.executor import NotReached

CREATE: Final = "create"
CENTS: Final = 100

_under_way: Final[set[asyncio.Task[None]]] = set()
"""Turns that requests have begun: the event loop itself holds tasks weakly."""

log = structlog.get_logger()


async def ordered(request: AnyRequest, actor: Actor, asked: CreateAsked) -> tuple[Job, bool]:
    """The job of an order, or the plan of a dry run, and whether it was there before.

    Raises `Refused`: SPENDING_CONFLICT, CAPABILITY_UNAVAILABLE, INVALID_ARGUMENTS, BUDGET_EXCEEDED,
    DAILY_JOB_LIMIT_REACHED, RATE_LIMITED, and what the books say to a hold.
    """
    try:
        job, replayed = await _stored(request, Buyer(actor.organization_id, actor.agent_id), asked)
    except HoldRefused as refused:
        raise await _not_held(request, asked, refused) from None
    except Refused as refused:
        if refused.refusal is not Refusal.SPENDING_CONFLICT:
            raise
        raise job_refusals.used(asked, fresh_key=new_key(CREATE)) from None
    if not asked.dry_run and not replayed:
        await _turn_once(house_of(request), JobKey(job.organization_id, job.id))
    return job, replayed


async def _stored(request: AnyRequest, buyer: Buyer, asked: CreateAsked) -> tuple[Job, bool]:
    """The job under the key, and whether it was there before. Two that come at once are told the same job."""
    house = house_of(request)
    if asked.idempotency_key is not None:
        fingerprint = reading.fingerprint(asked.wanted)
        job = await ordering.before(house.sessions, buyer, asked.idempotency_key, fingerprint)
        if job is not None:
            return job, True
    wanted = order_of(house, asked)
    if asked.dry_run:
        await measured(request, request.route_handler)
        job = await ordering.plan(house.sessions, buyer, wanted, now=house.clock())
    else:
        job = await _hold(request, buyer, wanted)
    return job, job.id != wanted.job_id


async def _hold(request: AnyRequest, buyer: Buyer, wanted: Order) -> Job:
    """The job, with its credits held. Refusals are counted as those of spends are."""
    house = house_of(request)
    counted_as = Behalf(buyer.organization_id, buyer.agent_id, buyer.agent_id).counted_as
    require_few_refusals(request, counted_as)
    now = house.clock()
    try:
        return await ordering.order(
            house.sessions,
            buyer,
            wanted,
            bounds=Bounds(house.settings.jobs_per_day, house.settings.jobs_open_max),
            # The turn of this request is not cut when the answer goes out, so the worker leaves the job alone so long.
            wait=LEASE if house.settings.job_wait_s else timedelta(0),
            now=now,
        )
    except DailyLimitReached as reached:
        raise job_refusals.daily_limit(reached, now) from None
    except HoldRefused as refused:
        if not refused.posted.replayed:
            count_refusal(request, counted_as)
        raise


async def _not_held(request: AnyRequest, asked: CreateAsked, refused: HoldRefused) -> Refused:
    """The refusal of the hold, as that of a spend; where it keeps the key, with the same order under a fresh one."""
    found = await posting.refusal(request, refused.operation, refused.posted)
    if not found.refusal.rule.freezes_key:
        return found
    found.recovery.pop("operation_id", None)  # which leads nowhere: the books have no trace of it
    return Refused(
        found.refusal,
        found.message,
        recovery=found.recovery | job_refusals.next_order(asked, fresh_key=new_key(CREATE)),
    )


def order_of(house: House, asked: CreateAsked) -> Order:
    """What is ordered, by which model, at which price. Nothing is stored.

    Raises `Refused`: CAPABILITY_UNAVAILABLE, INVALID_ARGUMENTS, BUDGET_EXCEEDED.
    """
    commands, executor = Commands(house.settings.url), house.outside.executor
    try:
        selection = choose(
            house.outside.prices.current(),
            operation=CREATE,
            model=asked.model,
            provider=asked.provider,
            intent=asked.intent,
        )
    except (NoSuchModel, NotExecutable) as error:
        raise job_refusals.unavailable(str(error), commands) from None
    if executor is None:
        raise job_refusals.unavailable("nothing here carries jobs out", commands)
    model = selection.model
    request = _executors_request(selection, asked)
    unit_credits = -(-model.price.credits_for(asked.units) // asked.units)
    most = asked.max_estimated_usd_per_image
    if most is not None and unit_credits > int(most * CENTS):
        raise job_refusals.over_budget(unit_credits, asked, commands)
    return Order(
        key=asked.idempotency_key or new_key(CREATE),
        asked=reading.fingerprint(asked.wanted),
        operation=CREATE,
        model_id=model.id,
        executor=executor,
        request=request,
        units=asked.units,
        price=model.price,
        lasting=model.deadline,
        job_id=new_id(house.clock()),
    )


def _executors_request(selection: Selection, asked: CreateAsked) -> dict[str, Any]:
    """What the executor is told. Raises `Refused(INVALID_ARGUMENTS)` for what the model does not take."""
    model = selection.model
    if asked.units > model.units_max:
        raise Refused(Refusal.INVALID_ARGUMENTS, f"output_count must be at most {model.units_max} for {model.id}")
    try:
        parameters = checked_parameters(model, asked.parameters)
    except ValueError as error:
        raise Refused(Refusal.INVALID_ARGUMENTS, str(error)) from None
    return {
        "prompt": asked.prompt,
        "aspect_ratio": asked.aspect_ratio,
        "intent": asked.intent,
        "references": asked.references or [],
        "output_count": asked.units,
        "model_parameters": dict(parameters),
        "selection": {
            "model_id": model.id,
            "provider": model.provider,
            "capability": model.capability(CREATE),
            "policy": selection.policy,
            "reason": selection.reason,
        },
    }


async def _turn_once(house: House, key: JobKey) -> None:
    """Turn the job, and wait for that as long as an order may wait. The turn itself is never cut in a transaction."""
    if not house.settings.job_wait_s:
        return
    turn = asyncio.create_task(_turned(house, key), name="job-turn")
    _under_way.add(turn)
    turn.add_done_callback(_under_way.discard)
    await asyncio.wait([turn], timeout=house.settings.job_wait_s)


async def _turned(house: House, key: JobKey) -> None:
    """One turn. What goes wrong in it is no matter of the request: the job is stored, and the worker tries again."""
    job_id = external("job", key.job_id)
    try:
        await turning.turn(house.outside.desk, key)
    except NotReached as error:
        log.warning("job_executor_not_reached", job_id=job_id, reason=str(error))
    except Exception:
        log.exception("job_turn_failed", job_id=job_id)
