"""The API as an OpenAPI 3.1 document, made from the operations and the models they read with. Pure.

Litestar's own generator describes what Litestar reads; here bodies are read by `reading.py`, so they are described from
its models. Bounds stay within what a double keeps exactly. Answers are described as they were recorded. What is paid
with x402 carries `x-payment-info` and the answer 402, by which indexes find it (`views/discovery.py` has the source).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from litestar.routes import BaseRoute
from pydantic import BaseModel

from api.documents.operations import Operation
from api.documents.recorded import UNKNOWN, Recorded, recorded
from api.http.openapi_answers import SCHEMAS, refusal_examples, responses
from api.http.operations import operations
from api.http.views.discovery import GUIDANCE, Paid

_SCHEMES: Final = {
    "agentToken": {"type": "http", "scheme": "bearer", "description": "An agent's token."},
    "operatorKey": {
        "type": "http",
        "scheme": "bearer",
        "description": "The key of an operator: the product beside the ledger.",
    },
}


def document(routes: Iterable[BaseRoute], *, url: str, version: str, paid: Mapping[str, Paid]) -> dict[str, Any]:
    """The document of every route that is described. `paid`: by path, what is paid for a POST with x402."""
    shared: dict[str, dict[str, Any]] = {"schemas": dict(SCHEMAS), "responses": {}}
    paths: dict[str, Any] = {}
    for operation in operations(routes):
        known = recorded().get(operation.name)
        described = _operation(operation, known.at(url) if known is not None else None, shared)
        if operation.method == "POST" and operation.path in paid:
            described = _with_price(described, paid[operation.path])
        paths.setdefault(operation.path, {})[operation.method.lower()] = described
    info = {"title": "Purser", "version": version, "description": "Credits and payments for agents."}
    return {
        "openapi": "3.1.0",
        "info": info | ({"x-guidance": GUIDANCE} if paid else {}),
        "servers": [{"url": url}],
        "externalDocs": {"url": f"{url}/skill.md", "description": "How to buy and to spend, with every call."},
        "paths": paths,
        "components": {**shared, "examples": refusal_examples(url), "securitySchemes": _SCHEMES},
    }


def _operation(operation: Operation, known: Recorded | None, shared: dict[str, dict[str, Any]]) -> dict[str, Any]:
    example = known or UNKNOWN
    described: dict[str, Any] = {
        "operationId": operation.operation_id,
        "summary": operation.command,
        "description": operation.text,
        "parameters": [*_path_parameters(operation, example), *_query_parameters(operation, example)],
        "responses": responses(operation, known, shared["responses"]),
    }
    security = [("agentToken", operation.agents), ("operatorKey", operation.operators)]
    if operation.agents or operation.operators:
        described["security"] = [{name: []} for name, is_served in security if is_served]
    elif operation.takes_token:
        described["security"] = [{}, {"agentToken": []}]
    if operation.body is not None:
        described["requestBody"] = _body(operation.body, example, shared["schemas"])
    return described


def _body(body: type[BaseModel], example: Recorded, schemas: dict[str, Any]) -> dict[str, Any]:
    schemas |= _schemas_of(body)
    content: dict[str, Any] = {"schema": {"$ref": f"#/components/schemas/{body.__name__}"}}
    if example.body is not None:
        content["example"] = example.body
    required = any(field.is_required() for field in body.model_fields.values())
    return {"required": required, "content": {"application/json": content}}


def _schemas_of(model: type[BaseModel]) -> dict[str, Any]:
    """The schema of a model under its name, and those of the models inside of it."""
    schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
    inner: dict[str, Any] = schema.pop("$defs", {})
    return {model.__name__: schema, **inner}


def _with_price(operation: dict[str, Any], paid: Paid) -> dict[str, Any]:
    """An index calls an operation as it stands, so its path must say which values it takes."""
    parameters = [
        {**each, "schema": {**each["schema"], "enum": paid.path_values[each["name"]]}}
        if each["name"] in paid.path_values
        else each
        for each in operation["parameters"]
    ]
    return {**operation, "parameters": parameters, "x-payment-info": paid.payment_info}


def _path_parameters(operation: Operation, example: Recorded) -> list[dict[str, Any]]:
    return [
        _parameter(name, "path", {"type": "string", "minLength": 1}, example, required=True)
        for name in operation.path_parameters
    ]


def _query_parameters(operation: Operation, example: Recorded) -> list[dict[str, Any]]:
    schema = operation.query.model_json_schema() if operation.query is not None else {}
    return [
        _parameter(name, "query", field, example, required=name in schema.get("required", ()))
        for name, field in schema.get("properties", {}).items()
    ]


def _parameter(name: str, place: str, schema: dict[str, Any], example: Recorded, *, required: bool) -> dict[str, Any]:
    found = {"name": name, "in": place, "required": required, "schema": schema}
    return found | ({"example": example.parameters[name]} if name in example.parameters else {})
