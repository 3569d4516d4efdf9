"""Holds each answer that tests get from a service against what `/openapi.json` and `answers.json` say of the operation.

An operation refuses with no other code than it declares, and its `data` has the shape that was recorded. With
`PURSER_TESTS_RECORD=folder` nothing is judged, and what is seen is kept there for `tests/documents/recording.py`.
"""

import json
import os
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import httpx

from api.documents.operations import Operation
from api.documents.recorded import FILE
from api.http.operations import operations
from billing.refusals import Refusal
from tests.documents.plain import plain
from tests.documents.shapes import breadth, merged, misfit, shape_of

RECORD = os.environ.get("PURSER_TESTS_RECORD")
RECORD_COMMAND = "record it anew, as tests/documents/recording.py says"
seen: dict[str, dict[str, Any]] = {}


@cache
def described() -> list[tuple[re.Pattern[str], Operation]]:
    """Every operation with the paths that it is asked at; those without parameters come first."""
    from docs.served import application

    _, app = application()
    known = sorted(operations(app.routes), key=lambda each: len(each.path_parameters))
    return [(re.compile("[^/]+".join(re.split(r"\{\w+\}", each.path)).replace(".", r"\.")), each) for each in known]


def operation_of(request: httpx.Request) -> Operation | None:
    """What was asked; none for what has no envelope, and for paths that are not there."""
    path = request.url.raw_path.decode().partition("?")[0].rstrip("/")
    return next((each for at, each in described() if each.method == request.method and at.fullmatch(path)), None)


def judged(response: httpx.Response) -> None:
    """A hook of the tests' clients."""
    operation = operation_of(response.request)
    if operation is None or response.headers.get("content-type", "").startswith("text/html"):  # a page for people
        return
    envelope = json.loads(response.read())
    if RECORD:
        keep(operation, response, envelope)
    elif why := fault(operation, response.status_code, envelope):
        raise AssertionError(f"{operation.name}: {why}")


async def judged_later(response: httpx.Response) -> None:
    """The same hook for a client that waits."""
    await response.aread()
    judged(response)


def fault(operation: Operation, status: int, envelope: Mapping[str, Any]) -> str | None:
    """What an answer says that the document does not."""
    if not envelope["ok"]:
        refusal = Refusal[envelope["error"]["code"]]
        return None if refusal in operation.refusals else f"refuses {refusal.code}; say so in `refuses=` of its route"
    known = answers().get(operation.name)
    if known is None:
        return f"no answer of it is recorded: {RECORD_COMMAND}"
    if status not in known["statuses"]:
        return f"is answered {status}, which is not recorded: {RECORD_COMMAND}"
    why = misfit(envelope["data"], known["data"])
    return f"{why}; when that is meant: {RECORD_COMMAND}" if why else None


@cache
def answers() -> dict[str, Any]:
    return dict(json.loads(FILE.read_text(encoding="utf-8")))


def keep(operation: Operation, response: httpx.Response, envelope: Mapping[str, Any]) -> None:
    if not envelope["ok"]:
        return
    found = {
        "statuses": [response.status_code],
        "data": shape_of(envelope["data"]),
        **_example(operation, response, envelope),
    }
    before = seen.get(operation.name)
    seen[operation.name] = together(before, found) if before is not None else found
    if seen[operation.name] != before:
        with (Path(str(RECORD)) / f"{os.getpid()}.jsonl").open("a", encoding="utf-8") as kept:
            kept.write(json.dumps([operation.name, found]) + "\n")


def together(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """What two say of an operation. The example is the one that shows more, or else the shorter."""
    better = min((one, other), key=lambda each: (-breadth(each["answer"]), len(json.dumps(each)), json.dumps(each)))
    return {
        "statuses": sorted({*one["statuses"], *other["statuses"]}),
        "data": merged([one["data"], other["data"]]),
        **{name: better[name] for name in ("parameters", "body", "answer")},
    }


def _example(operation: Operation, response: httpx.Response, envelope: Mapping[str, Any]) -> dict[str, Any]:
    request = response.request
    segments = zip(operation.path.split("/"), request.url.path.rstrip("/").split("/"), strict=False)
    in_path = {name.strip("{}"): given for name, given in segments if name.startswith("{")}
    body = _body(request) if operation.body is not None else None
    known = operation.query.model_fields if operation.query is not None else {}
    in_query = {name: given for name, given in request.url.params.items() if name in known}
    both = {"parameters": in_path | in_query, "body": body, "answer": dict(envelope)}
    return dict(plain(both, str(request.url)))


def _body(request: httpx.Request) -> Any:
    try:
        return json.loads(request.content)
    except ValueError:
        return None
