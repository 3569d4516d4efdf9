"""Bodies and query strings become models, strictly. What is not understood is INVALID_ARGUMENTS, naming the field.

JSON as RFC 8259 means it: no NaN, no key twice; the content type is not looked at. Unknown fields are ignored, because
the public client's next version may send more; fields that look like payment credentials are refused instead, because a
secret that was sent here once is a secret to change. No message repeats what was sent.
"""

from __future__ import annotations

import json
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ValidationError

from api.http.context import AnyConnection, AnyRequest
from billing.refusals import Refusal, Refused

ModelT = TypeVar("ModelT", bound=BaseModel)

CREDENTIALS: Final = frozenset(
    {
        "payment-token",
        "payment-secret",
        "payment-required",
        "payment-signature",
        "payment-response",
        "authorization",
        "bearer-token",
        "wallet-private-key",
        "private-key",
        "mnemonic",
        "seed-phrase",
        "card",
        "card-number",
        "card-token",
        "stripe-secret-key",
        "stripe-webhook-secret",
        "provider-key",
        "provider-receipt",
    }
)
"""Names of the contract's section 4.4. They are found in any spelling: `private-key`, `private_key`, `privateKey`."""


async def body_of(request: AnyRequest, model: type[ModelT]) -> ModelT:
    """The body as `model`. Raises `Refused(INVALID_ARGUMENTS)`."""
    return item_of(json_object(await request.body()), model)


def item_of(values: Any, model: type[ModelT]) -> ModelT:
    """A JSON object that was read, a body or an item of one, as `model`. Raises `Refused(INVALID_ARGUMENTS)`."""
    if not isinstance(values, dict):
        raise _invalid("an item must be a JSON object")
    known = model.model_fields
    for name in values:
        if name not in known and _plain(name) in _CREDENTIALS_PLAIN:
            raise _invalid(f"{_known(name)} is a payment credential; it never belongs in a request to this service")
    return _validated(model, values)


def query_of(connection: AnyConnection, model: type[ModelT]) -> ModelT:
    """The query string as `model`: each field at most once. Raises `Refused(INVALID_ARGUMENTS)`."""
    values: dict[str, Any] = {}
    for name in model.model_fields:
        given = connection.query_params.getall(name, [])
        if len(given) > 1:
            raise _invalid(f"{name} may be given once")
        if given:
            values[name] = given[0]
    return _validated(model, values)


def json_object(raw: bytes) -> dict[str, Any]:
    """`raw` as a JSON object. Raises `Refused(INVALID_ARGUMENTS)`."""
    try:
        value = _JSON.decode(raw.decode())
    except _Twice:
        raise _invalid("the body has a field twice") from None
    except (ValueError, RecursionError):
        raise _invalid("the body must be JSON") from None
    if not isinstance(value, dict):
        raise _invalid("the body must be a JSON object")
    return value


class _Twice(Exception):
    """A key stands twice in one object."""


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        raise _Twice
    return values


def _no_constant(_: str) -> Any:
    raise ValueError("JSON has no NaN and no Infinity")


_JSON: Final = json.JSONDecoder(object_pairs_hook=_once, parse_constant=_no_constant)


def _plain(name: str) -> str:
    return "".join(letter for letter in name.lower() if letter.isalnum())


_CREDENTIALS_PLAIN: Final = {_plain(name): name for name in CREDENTIALS}


def _known(name: str) -> str:
    return _CREDENTIALS_PLAIN[_plain(name)].replace("-", "_")


def _validated(model: type[ModelT], values: dict[str, Any]) -> ModelT:
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise _invalid(_sentence(error)) from None


def _sentence(error: ValidationError) -> str:
    """The first thing that is wrong, beginning with the field's name."""
    first = error.errors(include_url=False, include_input=False)[0]
    field = str(first["loc"][0]) if first["loc"] else ""
    if first["type"] == "missing":
        return f"{field} is required"
    said = str(first.get("ctx", {}).get("error", first["msg"]))
    return said if not field or said.startswith(f"{field} ") else f"{field} {said[:1].lower()}{said[1:]}"


def _invalid(message: str) -> Refused:
    return Refused(Refusal.INVALID_ARGUMENTS, message)
