"""The product's own executor, called over HTTP. docs/executor.md tells the product's engineer the same.

What is sent: `POST` of a JSON object, signed as `signing` says; `webhook-id` is the job's id, the same at every try.

    {"job_id": "job_…", "organization_id": "org_…", "agent_id": "agt_…", "operation": "…", "model_id": "…",
     "request": {…}, "units": 1, "credits": 5, "deadline": "2026-11-21T08:10:00+00:00",
     "result_path": "/v1/jobs/job_…/result"}

`credits` is the most that is charged for it. What may come back:

| answer | means |
| --- | --- |
| 200 and a result | `Made`, or `NotMade` |
| 202 | `Later`: the result will be posted to `result_path`, signed likewise, with a `job_id` |
| 4xx but 408, 409, 425, 429 | `NotMade`: it will never take this job |
| all else, also a 200 without a result | `NotReached`: it is asked again |

A result (`RESULT_BYTES_MAX` bytes at most; a field that is not named here is an error, so that no typo costs money):

    {"job_id": "job_…", "status": "completed", "assets": [{"asset_id": "image_…", "url": "https://…"}],
     "units": 1, "provider_cost_usd": "0.05"}
    {"job_id": "job_…", "status": "failed", "reason": "provider_failure | content_policy | artifact_storage",
     "message": "…"}

`job_id` may be left out where it answers the call; `units` and `provider_cost_usd` where nobody knows better than the
price list; `message`, which the agent reads, always. The cost is a decimal, better a string than a number, and is
rounded up to a millionth of a dollar. An asset may have more fields, of any JSON that PostgreSQL stores.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any, Final, NoReturn

from ledger.ids import MalformedId, parse
from outbound import signing
from outbound.door import Door, NotSent, Reply
from outbound.executor import Cause, Later, Made, NotMade, NotReached, Work

RESULT_BYTES_MAX: Final = 65_536
ASSETS_MAX: Final = 50
UNITS_MAX: Final = 10_000
URL_LENGTH_MAX: Final = 2048
MESSAGE_LENGTH_MAX: Final = 500
"""A longer message is cut."""
COST_USD_MAX: Final = 1_000_000
NUMBER_LENGTH_MAX: Final = 40
EXPONENT_MAX: Final = 60
INTEGER_MAX: Final = 2**53 - 1
DEPTH_MAX: Final = 8
"""How deep lists and objects of an asset may stand in each other."""

ASK_AGAIN: Final = frozenset({408, 409, 425, 429})
"""Statuses below 500 that are about this call, and not about the job."""

_ASSET_ID: Final = re.compile(r"(image|video|audio|mask|thumb|file|asset)_[A-Za-z0-9._-]{1,128}", re.ASCII)
_URL: Final = re.compile(r"https?://[!-~]+", re.ASCII)
_COST: Final = re.compile(r"[0-9]{1,12}(\.[0-9]{1,24})?", re.ASCII)
_COMPLETED: Final = frozenset({"job_id", "status", "assets", "units", "provider_cost_usd"})
_FAILED: Final = frozenset({"job_id", "status", "reason", "message"})


class BadResult(Exception):
    """This is no result of a job. Its text is for the executor's engineer."""


class CallingExecutor:
    """Asks the product to carry jobs out."""

    def __init__(self, door: Door, url: str, secrets: Sequence[str], clock: Callable[[], datetime]) -> None:
        """`secrets` are `whsec_…`, all current. Raises `ValueError` for a secret and `Forbidden` for a URL.

        Both would fail every job.
        """
        door.check(url)
        signing.signed(secrets, "", clock(), b"")
        self._door, self._url, self._secrets, self._clock = door, url, tuple(secrets), clock

    def __repr__(self) -> str:
        return "CallingExecutor()"

    async def perform(self, work: Work) -> Made | NotMade | Later:
        """Ask once. Raises `NotReached`, with a reason that names neither URL nor secret."""
        body = _wire(work)
        headers = signing.signed(self._secrets, work.job_id, self._clock(), body)
        try:
            reply = await self._door.post(self._url, body, headers)
        except NotSent as error:
            raise NotReached(f"the executor gave no answer: {error.reason}") from error
        return _answer(work, reply)


def read_result(body: bytes) -> tuple[str, Made | NotMade]:
    """The id of the job (outside form) that a posted `body` is about, and its result. Raises `BadResult`."""
    job_id, result = _read(body)
    if job_id is None:
        _bad("job_id is missing")
    return job_id, result


def _wire(work: Work) -> bytes:
    said = {
        "job_id": work.job_id,
        "organization_id": work.organization_id,
        "agent_id": work.agent_id,
        "operation": work.operation,
        "model_id": work.model_id,
        "request": dict(work.request),
        "units": work.units,
        "credits": work.credits,
        "deadline": work.deadline.astimezone(UTC).isoformat(),
        "result_path": f"/v1/jobs/{work.job_id}/result",
    }
    return json.dumps(said, separators=(",", ":")).encode()


def _answer(work: Work, reply: Reply) -> Made | NotMade | Later:
    status = reply.status
    if status == 202:
        return Later()
    if 400 <= status < 500 and status not in ASK_AGAIN:
        return NotMade(Cause.PROVIDER_FAILURE, f"The executor refused the work (HTTP {status}).")
    if status != 200 or not reply.whole:
        raise NotReached(f"the executor answered HTTP {status}" + ("" if reply.whole else ", longer than is read"))
    try:
        job_id, result = _read(reply.body)
    except BadResult as error:
        raise NotReached(f"the executor answered what is no result: {error}") from error
    if job_id not in (None, work.job_id):
        raise NotReached("the executor answered for another job")
    return result


def _read(body: bytes) -> tuple[str | None, Made | NotMade]:
    said = _json_object(body)
    job_id = said.get("job_id")
    if job_id is not None:
        try:
            parse("job", job_id if isinstance(job_id, str) else "")
        except MalformedId:
            _bad("job_id is not the id of a job")
    if said.get("status") == "completed":
        _only(said, _COMPLETED)
        return job_id, Made(_assets(said.get("assets", [])), _units(said.get("units")), _cost(said))
    if said.get("status") != "failed":
        _bad("status is neither completed nor failed")
    _only(said, _FAILED)
    return job_id, NotMade(_cause(said.get("reason")), _message(said.get("message")))


def _json_object(body: bytes) -> dict[str, Any]:
    if len(body) > RESULT_BYTES_MAX:
        _bad(f"a result has at most {RESULT_BYTES_MAX} bytes")
    try:
        # Bytes would be read as UTF-16 or UTF-32 where they look like it.
        said = _JSON.decode(body.decode())
    except (ValueError, RecursionError):
        _bad("the body is not JSON")
    if not isinstance(said, dict):
        _bad("the body is not a JSON object")
    return said


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        _bad("an object has a field twice")
    return values


def _decimal(text: str) -> Decimal:
    """A number with a fraction or an exponent, exactly as it was written."""
    try:
        number = Decimal(text) if len(text) <= NUMBER_LENGTH_MAX else None
    except InvalidOperation:
        number = None
    if number is None or abs(number.adjusted()) > EXPONENT_MAX:
        _bad("a number is too long")
    return number


def _constant(_: str) -> NoReturn:
    _bad("the body is not JSON: it has NaN or Infinity")


_JSON: Final = json.JSONDecoder(object_pairs_hook=_once, parse_float=_decimal, parse_constant=_constant)


def _only(said: Mapping[str, Any], fields: frozenset[str]) -> None:
    unknown = said.keys() - fields
    if unknown:
        _bad(f"a {said['status']} result has no other fields than {', '.join(sorted(fields))}")


def _assets(said: object) -> tuple[dict[str, Any], ...]:
    if not isinstance(said, list) or len(said) > ASSETS_MAX:
        _bad(f"assets is a list of at most {ASSETS_MAX}")
    found = tuple(_asset(each) for each in said)
    if len({asset["asset_id"] for asset in found}) != len(found):
        _bad("two assets have one asset_id")
    return found


def _asset(said: object) -> dict[str, Any]:
    if not isinstance(said, dict):
        _bad("an asset is a JSON object")
    asset_id, url = said.get("asset_id"), said.get("url")
    if not isinstance(asset_id, str) or not _ASSET_ID.fullmatch(asset_id):
        _bad(f"asset_id is not of the form {_ASSET_ID.pattern}")
    if url is not None and (not isinstance(url, str) or len(url) > URL_LENGTH_MAX or not _URL.fullmatch(url)):
        _bad(f"url is http(s), with at most {URL_LENGTH_MAX} characters")
    return {_storable(name): _plain(value, DEPTH_MAX) for name, value in said.items()}


def _plain(value: Any, depth: int) -> Any:
    """`value` as it can be stored and said again. Numbers in assets are no money, so fractions may be floats."""
    match value:
        case str():
            return _storable(value)
        case Decimal():
            return float(value)
        case int() if abs(value) > INTEGER_MAX:
            _bad(f"a number is beyond {INTEGER_MAX}")
        case dict() | list() if not depth:
            _bad(f"an asset is nested deeper than {DEPTH_MAX}")
        case dict():
            return {_storable(name): _plain(each, depth - 1) for name, each in value.items()}
        case list():
            return [_plain(each, depth - 1) for each in value]
    return value


def _storable(text: str) -> str:
    """`text`, unless it holds what PostgreSQL cannot: NUL, or half of a surrogate pair."""
    if "\x00" in text or any("\ud800" <= letter <= "\udfff" for letter in text):
        _bad("a text has a NUL or half a surrogate pair")
    return text


def _units(said: object) -> int | None:
    if said is None:
        return None
    if type(said) is not int or not 0 <= said <= UNITS_MAX:  # True is an int too
        _bad(f"units is a whole number from 0 to {UNITS_MAX}")
    return said


def _cost(said: Mapping[str, Any]) -> int | None:
    """The provider's cost in millionths of a dollar, rounded up."""
    cost = said.get("provider_cost_usd")
    if cost is None:
        return None
    if isinstance(cost, str) and _COST.fullmatch(cost):
        cost = Decimal(cost)
    if type(cost) is int:
        cost = Decimal(cost)
    if not isinstance(cost, Decimal) or not 0 <= cost <= COST_USD_MAX:
        _bad(f"provider_cost_usd is a decimal from 0 to {COST_USD_MAX}, as in 0.05")
    numerator, denominator = cost.as_integer_ratio()
    return -(-numerator * 1_000_000 // denominator)


def _cause(said: object) -> Cause:
    if not isinstance(said, str) or said not in set(Cause):
        _bad(f"reason is one of {', '.join(Cause)}")
    return Cause(said)


def _message(said: object) -> str | None:
    if said is not None and not isinstance(said, str):
        _bad("message is a text")
    return said and _storable(said)[:MESSAGE_LENGTH_MAX]


def _bad(what: str) -> NoReturn:
    raise BadResult(what)
