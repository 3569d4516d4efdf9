"""The door of `/v1`: who asks, in which version, under which key, and whether this request is to go wrong.

Theory of operation: an answer is made in steps, and a fault (`faults.py`) can break each of them.
1. The secret key and the version are looked at (https://docs.stripe.com/api/authentication, …/api/versioning).
2. The idempotency key may replay an earlier answer, or refuse (`idempotency.py`).
3. The parameters are read; what fails here is not stored under the key.
4. The endpoint works, in one go and without waiting; its answer is stored under the key and committed with the work.
5. The answer leaves, unless it is to be lost.
Every answer has `Request-Id` (https://docs.stripe.com/api/request_ids).
"""

import asyncio
import base64
import binascii
import contextlib
import dataclasses
import json
import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

from litestar import Request, Response
from litestar.response import Stream

from sandbox import clockwork, errors, expansion, faults, forms, idempotency, ids, parameters, routes
from sandbox.config import API_VERSION
from sandbox.errors import Refusal
from sandbox.faults import Fault
from sandbox.state import Call, Cause, Json, World

AnyRequest = Request[Any, Any, Any]
AnyResponse = Response[Any] | Stream

GONE_POLL_S = 0.05
BEFORE_ANYTHING: dict[str, Refusal] = {
    "error_503": Refusal(503, "Service unavailable. (The sandbox was told so.)", type="api_error"),
    "error_429": Refusal(429, "Too many requests. (The sandbox was told so.)", code="rate_limit"),
}


@dataclass(frozen=True, kw_only=True)
class Asked:
    """One request, before its parameters are read."""

    method: str
    path: str
    key: str | None
    version: str
    raw: Json
    request_id: str


@dataclass(frozen=True)
class Answer:
    """Status and body; whether it is kept under the key; and, of a replay, the request that was really executed."""

    status: int
    body: Json
    stored: bool = False
    replayed_from: str | None = None


async def answer(world: World, request: AnyRequest) -> AnyResponse:
    """One API request from its bytes to its answer."""
    request_id = ids.new("req", 14)
    try:
        asked = await _asked(request, request_id)
    except Refusal as refusal:
        return _response(Answer(refusal.status, refusal.body(request_id)), request_id)
    fault = faults.take(world.faults, asked.method, asked.path)
    call = _log(world, asked, fault)
    if fault is not None and fault.kind in ("hang", "drop"):
        return await _silence(world, request, fault)
    try:
        made = await _made(world, asked, fault)
    except Refusal as refusal:
        made = Answer(refusal.status, refusal.body(request_id))
    call["status"] = made.status
    if fault is not None and fault.kind == "lost_answer":
        return await _silence(world, request, fault)
    return _response(made, request_id, asked)


async def _asked(request: AnyRequest, request_id: str) -> Asked:
    _authenticate(request.headers)
    version = request.headers.get("stripe-version", API_VERSION)
    if version != API_VERSION and re.fullmatch(r"\d{4}-\d{2}-\d{2}\.preview", version) is None:
        raise Refusal(400, f"Invalid Stripe API version: {version}. The sandbox plays {API_VERSION} and previews.")
    text = str(request.url.query)
    if request.method == "POST":
        text = (await request.body()).decode("utf-8", errors="replace")
    key = request.headers.get("idempotency-key") if request.method == "POST" else None
    path, raw = request.url.path, forms.decode(text)
    return Asked(method=request.method, path=path, key=key, version=version, raw=raw, request_id=request_id)


def _authenticate(headers: Mapping[str, str]) -> None:
    """Any test secret or restricted key; live and publishable ones are refused."""
    scheme, _, value = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "basic":
        with contextlib.suppress(binascii.Error, UnicodeDecodeError):
            value = base64.b64decode(value).decode().split(":")[0]
    if not value:
        message = "You did not provide an API key. You need to provide your API key in the Authorization header."
        raise Refusal(401, message)
    if not value.startswith(("sk_test_", "rk_test_")):
        raise Refusal(401, f"Invalid API Key provided: {value[:8]}****")


def _log(world: World, asked: Asked, fault: Fault | None) -> Json:
    call = {
        "at": world.now(),
        "request_id": asked.request_id,
        "method": asked.method,
        "path": asked.path,
        "idempotency_key": asked.key,
        "stripe_version": asked.version,
        "parameters": asked.raw,
        "fault": fault.kind if fault else None,
        "status": None,
    }
    world.calls.append(call)
    return call


async def _made(world: World, asked: Asked, fault: Fault | None) -> Answer:
    """Replay, or work and store; raises `Refusal` for what is not stored."""
    if fault is not None and fault.kind in BEFORE_ANYTHING:
        raise BEFORE_ANYTHING[fault.kind]
    route, identifier = routes.find(asked.method, asked.path)
    clockwork.run_due(world)
    earlier = idempotency.stored(world, asked.key, asked.path, asked.raw) if asked.key else None
    if earlier is not None:
        return Answer(earlier["status"], earlier["body"], stored=True, replayed_from=earlier["request_id"])
    if fault is not None and fault.kind == "slow":
        with _in_progress(world, asked.key):
            await world.pause(fault.seconds)
    params = parameters.read(route.name, asked.raw, asked.version)
    cause = Cause(asked.request_id, asked.key)
    call = Call(params=params, version=asked.version, identifier=identifier, cause=cause)
    made = _executed(world, route, call, fault)
    if asked.key and (fault is None or fault.stored):
        made = dataclasses.replace(made, stored=True)
        idempotency.store(
            world,
            asked.key,
            path=asked.path,
            parameters=asked.raw,
            status=made.status,
            body=made.body,
            request_id=asked.request_id,
        )
    clockwork.run_due(world)
    world.store.commit()
    return made


def _executed(world: World, route: routes.Route, call: Call, fault: Fault | None) -> Answer:
    """The endpoint's answer, or its refusal once it had begun; nothing of a broken one stays."""
    request_id = call.cause.request_id or ""
    try:
        body = _worked(world, route, call, fault.kind if fault else None)
    except Refusal as refusal:
        if not refusal.ran:
            world.store.rollback()
            raise
        return Answer(refusal.status, refusal.body(request_id))
    except Exception:
        world.store.rollback()
        raise
    return Answer(200, body)


def _worked(world: World, route: routes.Route, call: Call, fault: str | None) -> Json:
    if fault == "error_500":
        raise errors.server_error()
    if fault in ("card_declined", "card_declined_like_400"):
        raise errors.card_declined(400 if fault == "card_declined_like_400" else 402)
    body = route.endpoint(world, call)
    expanded = expansion.expand(world, body, call.params.get("expand", []))
    if fault == "work_then_500":
        raise errors.server_error()
    return expanded


@contextlib.contextmanager
def _in_progress(world: World, key: str | None) -> Any:
    """While a slow request runs, others under its key are refused with 409."""
    if key is None:
        yield
        return
    world.keys_in_progress.add(key)
    try:
        yield
    finally:
        world.keys_in_progress.discard(key)


async def _silence(world: World, request: AnyRequest, fault: Fault) -> Stream:
    """Say nothing for the fault's seconds or until the client has gone, then break the connection."""
    ends = {asyncio.create_task(_until_gone(request)), asyncio.create_task(world.pause(fault.seconds))}
    await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
    for end in ends:
        end.cancel()

    async def broken() -> AsyncIterator[bytes]:
        yield b"{"
        # Fewer bytes than announced: the server has to close the connection, and the client sees no answer.

    return Stream(broken, media_type="application/json", headers={"Content-Length": "1000"})


async def _until_gone(request: AnyRequest) -> None:
    while (await request.receive())["type"] != "http.disconnect":  # noqa: ASYNC110 - there is only the next message
        await asyncio.sleep(GONE_POLL_S)


def _response(made: Answer, request_id: str, asked: Asked | None = None) -> AnyResponse:
    headers = {"Request-Id": request_id, "Stripe-Version": asked.version if asked else API_VERSION}
    if asked is not None and asked.key:
        headers["Idempotency-Key"] = asked.key
        headers["Original-Request"] = made.replayed_from or request_id
    if made.replayed_from is not None:
        headers["Idempotent-Replayed"] = "true"
    if made.status >= 500 and made.stored:
        # A retry would only be answered with the stored failure (stripe's client says so where it reads this header).
        headers["Stripe-Should-Retry"] = "false"
    content = json.dumps(made.body, indent=2).encode()
    return Response(content, status_code=made.status, media_type="application/json", headers=headers)
