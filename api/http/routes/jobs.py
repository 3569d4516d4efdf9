"""Metered jobs: ordering one or planning it, how it stands, its end, and what was made.

All agents of an organization see its jobs and may cancel them, as they share its credits; the key of an order is its
agent's own.
"""

from __future__ import annotations

import re
from contextlib import suppress
from typing import Any, Final
from uuid import UUID

from litestar import Response, get, post
from litestar.params import FromPath

from api.http import creating
from api.http.authentication import agents_only, presented
from api.http.commands import Commands
from api.http.context import AnyRequest, actor_of, house_of, sets_actor
from api.http.envelope import Envelope, answer
from api.http.fields_jobs import CreateAsked, JobsAsked
from api.http.rate_limits import measured
from api.http.reading import body_of, json_object, query_of
from api.http.routes.catalog import reasons
from api.http.routes.describe import SPENDING, described
from api.http.routes.people import cursor
from api.http.views import job_refusals
from api.http.views import jobs as views
from api.http.views.jobs import Found, Scene
from api.outside import PLACEHOLDER
from api.price_list import UNITS_MAX
from api.wiring import House
from billing.database import snapshot
from billing.fresh import new_key
from billing.job_states import JobState
from billing.job_tables import Job
from billing.jobs import ending, reading
from billing.jobs.ending import JobKey
from billing.refusals import Refusal, Refused
from ledger import ids, statements
from outbound import calling, placeholder, signing
from outbound.calling import BadResult
from outbound.executor import Made
from outbound.signing import BadSignature

FOR_EVER: Final = "public, max-age=31536000, immutable"
_ASSET_ID: Final = re.compile(r"(image|video|audio|mask|thumb|file|asset)_[A-Za-z0-9._-]{1,128}", re.ASCII)
_PICTURE: Final = re.compile(r"image_([0-9a-z]{26})_([1-9][0-9]{0,2})", re.ASCII)
_NOT_MADE: Final = frozenset({JobState.FAILED, JobState.CANCELED})


@post(
    "/v1/create",
    status_code=200,
    opt=described(
        "create",
        body=CreateAsked,
        refuses=(
            Refusal.AUTH_REQUIRED,
            *SPENDING,
            Refusal.OVERLOADED,
            Refusal.CAPABILITY_UNAVAILABLE,
            Refusal.BUDGET_EXCEEDED,
            Refusal.DAILY_JOB_LIMIT_REACHED,
            Refusal.OPEN_JOBS_LIMIT_REACHED,
            *job_refusals.ENDED.values(),
        ),
    ),
)
async def create(request: AnyRequest) -> Envelope:
    """Order a job, or learn with `dry_run` what it would cost, which needs no token. An order's credits are held.

    The answer waits for the job for a while; one that is still `queued` or `running` then goes on by itself.
    """
    actor = await presented(request)
    if actor is None and not _is_dry_run(await request.body()):
        raise Refused(Refusal.AUTH_REQUIRED)
    asked = await body_of(request, CreateAsked)
    house = house_of(request)
    if actor is None:
        return answer(request, views.planned_for_nobody(creating.order_of(house, asked)))
    sets_actor(request, actor)
    job, replayed = await creating.ordered(request, actor, asked)
    found = await _found(house, job.organization_id, job.id)
    if found.job.state in _NOT_MADE:
        commands, fresh_key = Commands(house.settings.url), new_key(creating.CREATE)
        raise job_refusals.not_made(found.job, asked, commands, fresh_key=fresh_key)
    return answer(request, views.created(found, _scene(house), replayed=replayed))


def _is_dry_run(body: bytes) -> bool:
    """Whether a body says so plainly; whoever has no token is told nothing about a body that does not."""
    with suppress(Refused):
        return json_object(body).get("dry_run") is True
    return False


@get("/v1/jobs", guards=[agents_only], opt=described("jobs list", query=JobsAsked))
async def list_jobs(request: AnyRequest) -> Envelope:
    """The organization's jobs, newest first; those in one state, if it is named."""
    asked, house = query_of(request, JobsAsked), house_of(request)
    async with snapshot(house.sessions) as session:
        jobs = await reading.page(
            session,
            actor_of(request).organization_id,
            before=cursor("job", asked.cursor),
            limit=asked.limit + 1,
            state=asked.state,
        )
    return answer(request, views.page(jobs, house.settings.url, limit=asked.limit))


@get("/v1/jobs/{job_id:str}", guards=[agents_only], opt=described("jobs show"))
async def show_job(request: AnyRequest, job_id: FromPath[str]) -> Envelope:
    """One job as it stands. It has ended when its status is `completed`, `failed` or `canceled`."""
    house = house_of(request)
    found = await _found(house, actor_of(request).organization_id, _job_id(job_id))
    return answer(request, views.shown(found, _scene(house)))


@post(
    "/v1/jobs/{job_id:str}/cancel",
    status_code=200,
    guards=[agents_only, measured],
    opt=described("jobs cancel", refuses=(Refusal.JOB_ENDED,)),
)
async def cancel_job(request: AnyRequest, job_id: FromPath[str]) -> Envelope:
    """End a job that is not made yet, and give all its credits back. Repeating it changes nothing."""
    house = house_of(request)
    key = JobKey(actor_of(request).organization_id, _job_id(job_id))
    try:
        await ending.cancel(house.sessions, key, clock=house.clock)
    except Refused as refused:
        if refused.refusal is not Refusal.JOB_ENDED:
            raise
        raise job_refusals.ended(await _job(house, key), Commands(house.settings.url)) from None
    return answer(request, views.shown(await _found(house, key.organization_id, key.job_id), _scene(house)))


@post(
    "/v1/jobs/{job_id:str}/result",
    status_code=200,
    request_max_body_size=calling.RESULT_BYTES_MAX,
    opt={"command": "jobs result"},
)
async def take_result(request: AnyRequest, job_id: FromPath[str]) -> Envelope:
    """What the executor made of a job, signed with the secret that it shares with this service (docs/executor.md).

    The same result again is answered alike. One that comes after the job has ended otherwise is refused with JOB_ENDED.
    """
    house, body = house_of(request), await request.body()
    _require_signature(request, house, body)
    try:
        named, result = calling.read_result(body)
    except BadResult as error:
        raise Refused(Refusal.INVALID_ARGUMENTS, str(error)) from None
    if named != job_id:
        raise Refused(Refusal.INVALID_ARGUMENTS, "job_id must be the one in the path")
    async with snapshot(house.sessions) as session:
        key = JobKey(await reading.organization_of(session, _job_id(job_id)), _job_id(job_id))
    try:
        if isinstance(result, Made):
            job = await ending.complete(house.sessions, key, result, clock=house.clock)
        else:
            job = await ending.fail(house.sessions, key, result, clock=house.clock)
    except Refused as refused:
        if refused.refusal is not Refusal.JOB_ENDED:
            raise
        raise Refused(Refusal.JOB_ENDED, recovery=job_refusals.about(await _job(house, key))) from None
    return answer(request, views.result_taken(job))


def _require_signature(request: AnyRequest, house: House, body: bytes) -> None:
    """Raises `Refused(WEBHOOK_SIGNATURE_INVALID)` before anything is said of any job."""
    secrets = [secret.get_secret_value() for secret in house.settings.executor_secrets]
    given = {name: request.headers.getall(name, []) for name in (signing.ID, signing.TIMESTAMP, signing.SIGNATURE)}
    once = {name: values[0] for name, values in given.items() if len(values) == 1}
    try:
        signing.verify(secrets, once, body, now=house.clock())
    except BadSignature as error:
        raise Refused(Refusal.WEBHOOK_SIGNATURE_INVALID, str(error)) from None


@get("/v1/assets/{asset_id:str}", guards=[agents_only], opt=described("assets show"))
async def show_asset(request: AnyRequest, asset_id: FromPath[str]) -> Envelope:
    """What is known of an asset that one of the organization's jobs made, and where it is."""
    house = house_of(request)
    if _ASSET_ID.fullmatch(asset_id) is None:
        raise _no_asset()
    async with snapshot(house.sessions) as session:
        job = await reading.by_asset(session, actor_of(request).organization_id, asset_id)
    made = next(each for each in (job.result or {})["assets"] if each["asset_id"] == asset_id)
    return answer(request, views.asset_shown(job, made, house.settings.url))


@get("/assets/{asset_id:str}")
async def show_picture(request: AnyRequest, asset_id: FromPath[str]) -> Response[bytes]:
    """A picture of the sandbox's placeholder, which is made from its name alone. It says nothing of any job."""
    if PLACEHOLDER not in house_of(request).outside.desk.executors or not _is_picture(asset_id):
        raise _no_asset()
    return Response(
        placeholder.picture(asset_id), media_type=placeholder.MIME_TYPE, headers={"cache-control": FOR_EVER}
    )


def _is_picture(asset_id: str) -> bool:
    """Whether the placeholder could have made it."""
    found = _PICTURE.fullmatch(asset_id)
    with suppress(ids.MalformedId):
        return found is not None and int(found[2]) <= UNITS_MAX and bool(ids.parse("job", f"job_{found[1]}"))
    return False


def _no_asset() -> Refused:
    return Refused(Refusal.NOT_FOUND, "there is no such asset")


def _job_id(text: str) -> UUID:
    try:
        return ids.parse("job", text)
    except ids.MalformedId:
        raise Refused(Refusal.NOT_FOUND, "there is no such job") from None


async def _job(house: House, key: JobKey) -> Job:
    async with snapshot(house.sessions) as session:
        return await reading.by_id(session, key.organization_id, key.job_id)


async def _found(house: House, organization_id: UUID, job_id: UUID) -> Found:
    """The job as it stands, with what the journal has of it, all at one moment."""
    async with snapshot(house.sessions) as session:
        job = await reading.by_id(session, organization_id, job_id)
        hold, capture = [
            await statements.operation(session, organization_id, operation_id) if operation_id is not None else None
            for operation_id in (job.hold_id, job.capture_id)
        ]
        return Found(job, hold, capture, await statements.balance(session, organization_id, house.clock()))


def _scene(house: House) -> Scene:
    return Scene(house.place.offer, reasons(house), Commands(house.settings.url))


ROUTES: Final[list[Any]] = [
    create,
    list_jobs,
    show_job,
    cancel_job,
    take_result,
    show_asset,
    show_picture,
]
