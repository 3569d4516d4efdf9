"""The answers of an operation in the OpenAPI document: each status with its shape, its refusals and examples. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from api.documents import refused
from api.documents.operations import Operation
from api.documents.recorded import UNKNOWN, Recorded
from api.http import recoveries
from api.http.commands import Commands
from api.http.context import Asked
from billing.refusals import Refusal, Refused

_ERROR: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["code", "message", "retryable", "recovery"],
    "properties": {
        "code": {"type": "string"},
        "message": {"type": "string"},
        "retryable": {"type": "boolean"},
        "recovery": {
            "type": "object",
            "required": ["advice", "docs_url"],
            "properties": {
                "advice": {"type": "string"},
                "docs_url": {"type": "string"},
                "retry_after_seconds": {"type": "integer", "minimum": 0},
                "suggested_command": {"type": "string"},
                "suggested_commands": {"type": "array", "items": {"type": "string"}},
                "suggested_requests": {"type": "array", "items": {"type": "object"}},
                "idempotency_key": {"type": "string", "description": "a fresh one, to go on with"},
            },
        },
    },
}
_SHARED: Final[dict[str, Any]] = {
    "command": {"type": "string"},
    "trace_id": {"type": "string"},
    "warnings": {"type": "array", "items": {"type": "string"}},
}
_KEYS: Final = ["ok", "command", "trace_id", "actor", "data", "warnings", "error"]
_ACTOR: Final[dict[str, Any]] = {"type": ["object", "null"], "description": "who asked, when that is an agent"}
SCHEMAS: Final[dict[str, Any]] = {
    "Success": {
        "type": "object",
        "required": _KEYS,
        "properties": {
            "ok": {"const": True}, **_SHARED, "actor": _ACTOR, "data": {"type": "object"}, "error": {"type": "null"}
        },
    },
    "Refusal": {
        "type": "object",
        "required": _KEYS,
        "properties": {
            "ok": {"const": False}, **_SHARED, "actor": {"type": "null"}, "data": {"type": "null"}, "error": _ERROR
        },
    },
}  # fmt: skip
"""The envelope, as it says yes and as it says no."""
_SECONDS: Final[dict[str, Any]] = {"schema": {"type": "integer"}, "description": "seconds to wait"}
_EXIT: Final[dict[str, Any]] = {"schema": {"type": "integer"}, "description": "what the public client exits with"}
_HEADERS: Final[Mapping[int, dict[str, Any]]] = {
    401: {"WWW-Authenticate": {"required": True, "schema": {"type": "string"}}},
    402: {
        "PAYMENT-REQUIRED": {"schema": {"type": "string"}, "description": "base64, as x402 version 2 says"},
    },
    429: {"Retry-After": {"required": True, **_SECONDS}},
    503: {"Retry-After": {"required": True, **_SECONDS}},
}
SHARED_CODES_MAX: Final = 3
"""An answer with more refusals than this has no name of its own."""
_PAYMENTS: Final = frozenset({Refusal.PAYMENT_REQUIRED, Refusal.SIGN_IN_REQUIRED})


def refusal_examples(url: str) -> dict[str, Any]:
    """By code, the answer that each refusal gives, and what follows from it for who was refused."""
    return {refusal.code: _refusal_example(refusal, url) for refusal in Refusal}


def _refusal_example(refusal: Refusal, url: str) -> dict[str, Any]:
    rule = refusal.rule
    recovery = recoveries.recovery(
        Refused(refusal), Asked(), Commands(url), available=(), fresh_key="FRESH_IDEMPOTENCY_KEY"
    )
    return {
        "summary": rule.message,
        "description": rule.advice,
        "value": refused.example(refusal, recovery),
        "x-exit-code": refused.exit_code(rule),
        "x-retryable": rule.retryable,
        "x-freezes-key": rule.freezes_key,
    }


def responses(operation: Operation, recorded: Recorded | None, shared: dict[str, Any]) -> dict[str, Any]:
    """By status, what the operation answers. What many operations answer alike goes to `shared`, under its codes."""
    known = recorded or UNKNOWN
    found = {str(status): _success(operation, known) for status in known.statuses}
    for status in sorted({refusal.rule.http_status for refusal in operation.refusals}):
        codes = [each.code for each in operation.refusals if each.rule.http_status == status]
        if len(codes) > SHARED_CODES_MAX:
            found[str(status)] = _refusals(status, codes)
        else:
            name = ".".join(codes)
            shared.setdefault(name, _refusals(status, codes))
            found[str(status)] = _ref("responses", name)
    return dict(sorted(found.items()))


def _success(operation: Operation, known: Recorded) -> dict[str, Any]:
    content: dict[str, Any] = {
        "schema": {"allOf": [_ref("schemas", "Success"), {"properties": {"data": _said_briefly(known.data)}}]}
    }
    if known.answer is not None:
        content["example"] = known.answer
    return {"description": operation.summary, "content": {"application/json": content}}


def _said_briefly(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The schema with a type that is one said as one, and none where nothing but null was ever seen."""
    if schema["type"] == ["null"]:
        return {}
    found = {name: inner for name, inner in schema.items() if name != "required" or inner}
    if len(found["type"]) == 1:
        [found["type"]] = found["type"]
    if "items" in found:
        found["items"] = _said_briefly(found["items"])
    if "properties" in found:
        found["properties"] = {name: _said_briefly(inner) for name, inner in found["properties"].items()}
    return found


def _refusals(status: int, codes: list[str]) -> dict[str, Any]:
    coded = {"properties": {"error": {"properties": {"code": {"enum": codes}}}}}
    content = {
        "schema": {"allOf": [_ref("schemas", "Refusal"), coded]},
        "examples": {code: _ref("examples", code) for code in codes},
    }
    headers = dict(_HEADERS.get(status, {}))
    if status == 402 and not any(Refusal[code] in _PAYMENTS for code in codes):
        headers = {}
    if any(Refusal[code].rule.exit_code is not None for code in codes):
        headers["X-Image-Skill-Exit-Code"] = _EXIT
    return {
        "description": f"Refused: {', '.join(codes)}.",
        **({"headers": headers} if headers else {}),
        "content": {"application/json": content},
    }


def _ref(kind: str, name: str) -> dict[str, str]:
    return {"$ref": f"#/components/{kind}/{name}"}
