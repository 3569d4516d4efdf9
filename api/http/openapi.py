"""The API as an OpenAPI 3.1 document, made from the routes and the models they read with. Pure.

Litestar's own generator describes what Litestar reads; here bodies are read by `reading.py`, so they are described from
its models. Bounds stay within what a double keeps exactly. What is paid with x402 carries `x-payment-info` and the
answer 402, by which indexes find it (`views/discovery.py` has the source).
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from typing import Any, Final

from litestar.handlers import HTTPRouteHandler
from litestar.routes import BaseRoute, HTTPRoute
from pydantic import BaseModel

from api.http.authentication import Allowed, agents_only
from api.http.views.discovery import GUIDANCE, Paid

_ENVELOPE: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["ok", "command", "trace_id", "actor", "data", "warnings", "error"],
    "properties": {
        "ok": {"type": "boolean"},
        "command": {"type": "string"},
        "trace_id": {"type": "string"},
        "actor": {"type": ["object", "null"]},
        "data": {"type": ["object", "null"]},
        "warnings": {"type": "array", "items": {"type": "string"}},
        "error": {
            "type": ["object", "null"],
            "required": ["code", "message", "retryable", "recovery"],
            "properties": {
                "code": {"type": "string"},
                "message": {"type": "string"},
                "retryable": {"type": "boolean"},
                "recovery": {"type": "object"},
            },
        },
    },
}
_ANSWER: Final = {
    "description": "The envelope; `ok` says whether it is a success or a refusal.",
    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Envelope"}}},
}
_PAYMENT_REQUIRED: Final = {
    "description": "What is to be paid: the header has it in base64, as x402 version 2 says.",
    "headers": {"PAYMENT-REQUIRED": {"required": True, "schema": {"type": "string"}}},
}


def document(routes: Iterable[BaseRoute], *, url: str, version: str, paid: Mapping[str, Paid]) -> dict[str, Any]:
    """The document of every route that is described. `paid`: by path, what is paid for a POST with x402."""
    schemas: dict[str, Any] = {"Envelope": _ENVELOPE}
    paths: dict[str, Any] = {}
    for route in (each for each in routes if isinstance(each, HTTPRoute)):
        for handler in route.route_handlers:
            if "query" in handler.opt:
                operation = _operation(route, handler, schemas)
                if "POST" in handler.http_methods and route.path_format in paid:
                    operation = _with_price(operation, paid[route.path_format])
                methods = sorted(method.lower() for method in handler.http_methods)
                paths.setdefault(route.path_format, {}).update(dict.fromkeys(methods, operation))
    bearer = {"type": "http", "scheme": "bearer"}
    schemes = {
        "agentToken": {**bearer, "description": "An agent's token."},
        "operatorKey": {**bearer, "description": "The key of an operator: the product beside the ledger."},
    }
    info = {"title": "Purser", "version": version, "description": "Credits and payments for agents."}
    return {
        "openapi": "3.1.0",
        "info": info | ({"x-guidance": GUIDANCE} if paid else {}),
        "servers": [{"url": url}],
        "paths": dict(sorted(paths.items())),
        "components": {"schemas": schemas, "securitySchemes": schemes},
    }


def _operation(route: HTTPRoute, handler: HTTPRouteHandler, schemas: dict[str, Any]) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": handler.handler_name,
        "summary": f"image-skill {handler.opt['command']}",
        "description": inspect.getdoc(handler.fn),
        "parameters": [*_path_parameters(route), *_query_parameters(handler.opt["query"])],
        "responses": {"200": _ANSWER, "default": _ANSWER},
    }
    security = _security(handler)
    if security:
        operation["security"] = security
    body: type[BaseModel] | None = handler.opt["body"]
    if body is not None:
        schemas[body.__name__] = body.model_json_schema()
        content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{body.__name__}"}}}
        required = any(field.is_required() for field in body.model_fields.values())
        operation["requestBody"] = {"required": required, "content": content}
    return operation


def _with_price(operation: dict[str, Any], paid: Paid) -> dict[str, Any]:
    """An index calls an operation as it stands, so its path must say which values it takes."""
    parameters = [
        {**each, "schema": {**each["schema"], "enum": paid.path_values[each["name"]]}}
        if each["name"] in paid.path_values
        else each
        for each in operation["parameters"]
    ]
    responses = {**operation["responses"], "402": _PAYMENT_REQUIRED}
    return {**operation, "parameters": parameters, "responses": responses, "x-payment-info": paid.payment_info}


def _security(handler: HTTPRouteHandler) -> list[dict[str, list[str]]]:
    guards = handler.guards or ()
    agents = agents_only in guards or any(isinstance(guard, Allowed) and guard.serves_agents for guard in guards)
    operators = any(isinstance(guard, Allowed) for guard in guards)
    return [{name: []} for name, served in (("agentToken", agents), ("operatorKey", operators)) if served]


def _path_parameters(route: HTTPRoute) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in route.path_parameters
    ]


def _query_parameters(model: type[BaseModel] | None) -> list[dict[str, Any]]:
    schema = model.model_json_schema() if model is not None else {}
    return [
        {"name": name, "in": "query", "required": name in schema.get("required", ()), "schema": field}
        for name, field in schema.get("properties", {}).items()
    ]
