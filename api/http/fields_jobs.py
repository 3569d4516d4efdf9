"""What agents may send about jobs: what is to be made, and which jobs they want to see."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema

from api.http.fields import PAGE_ITEMS, REFERENCE_LENGTH_MAX, Asking, Flag, Key, Maybe, PageItems, Text
from api.price_list import PARAMETERS_MAX, UNITS_MAX

PROMPT_LENGTH_MAX: Final = 10_000
REFERENCES_MAX: Final = 40
"""As many as the public client knows of any model."""
REFERENCE_INDEX_MAX: Final = 99
PARAMETER_NAME_LENGTH_MAX: Final = 64
_LINES: Final = frozenset("\n\r\t")
_UNSTORABLE: Final = frozenset({"Cc", "Cs"})
_REFERENCE_TEXTS: Final = ("asset_id", "role", "reference_task")
_REFERENCE_NUMBERS: Final = ("index", "reference_index")


def _prompt(value: Any) -> str:
    """Text of many lines; PostgreSQL stores no NUL, and no encoding has half a surrogate pair."""
    if not isinstance(value, str) or not value.strip() or len(value) > PROMPT_LENGTH_MAX:
        raise ValueError(f"must have 1 to {PROMPT_LENGTH_MAX} characters and not be blank")
    if any(unicodedata.category(letter) in _UNSTORABLE and letter not in _LINES for letter in value):
        raise ValueError("must be text without control characters other than line ends and tabs")
    return value


def _units(value: Any) -> int:
    if type(value) is not int or not 1 <= value <= UNITS_MAX:
        raise ValueError(f"must be a whole number from 1 to {UNITS_MAX}")
    return value


def _dollars(value: Any) -> Decimal:
    """A JSON number, exactly as it was written: the shortest text of a binary fraction is what stood there."""
    if not (type(value) is int or (type(value) is float and math.isfinite(value))) or value < 0:
        raise ValueError("must be a number of dollars, 0 or more")
    return Decimal(repr(value))


def _references(value: Any) -> list[dict[str, Any]]:
    if not isinstance(value, list) or len(value) > REFERENCES_MAX:
        raise ValueError(f"must be a list of at most {REFERENCES_MAX}")
    return [_reference({"asset_id": each} if isinstance(each, str) else each) for each in value]


def _reference(value: Any) -> dict[str, Any]:
    """An asset, by its id alone or in the public client's words. Fields that it may have tomorrow are left out."""
    if not isinstance(value, dict) or value.get("asset_id") is None:
        raise ValueError("must hold ids of assets, or objects with an asset_id")
    texts = {name: value[name] for name in _REFERENCE_TEXTS if value.get(name) is not None}
    numbers = {name: value[name] for name in _REFERENCE_NUMBERS if value.get(name) is not None}
    if not all(_is_word(text) for text in texts.values()):
        raise ValueError(f"must hold text of 1 to {REFERENCE_LENGTH_MAX} printable characters")
    if not all(type(number) is int and 0 <= number <= REFERENCE_INDEX_MAX for number in numbers.values()):
        raise ValueError(f"must hold indexes from 0 to {REFERENCE_INDEX_MAX}")
    return texts | numbers


def _is_word(value: Any) -> bool:
    return (
        isinstance(value, str) and 0 < len(value.strip()) <= len(value) <= REFERENCE_LENGTH_MAX and value.isprintable()
    )


def _parameters(value: Any) -> Mapping[str, Any]:
    """Plain values by name; what a model makes of them is looked at when it is known which one."""
    if not isinstance(value, dict) or len(value) > PARAMETERS_MAX:
        raise ValueError(f"must be an object of at most {PARAMETERS_MAX} fields")
    if not all(0 < len(name) <= PARAMETER_NAME_LENGTH_MAX and name.isprintable() for name in value):
        raise ValueError(f"must have names of 1 to {PARAMETER_NAME_LENGTH_MAX} printable characters")
    if not all(_is_plain(each) for each in value.values()):
        raise ValueError("must hold text, numbers, true and false only")
    return value


def _is_plain(value: Any) -> bool:
    if isinstance(value, str):
        return all(unicodedata.category(letter) != "Cs" for letter in value)
    return type(value) in {int, bool} or (type(value) is float and math.isfinite(value))


_REFERENCE_SCHEMA: Final = {
    "anyOf": [
        {"type": "string", "minLength": 1, "maxLength": REFERENCE_LENGTH_MAX},
        {
            "type": "object",
            "required": ["asset_id"],
            "properties": {
                **{name: {"type": "string", "minLength": 1, "maxLength": 255} for name in _REFERENCE_TEXTS},
                **{name: {"type": "integer", "minimum": 0, "maximum": 99} for name in _REFERENCE_NUMBERS},
            },
        },
    ]
}
_PARAMETERS_SCHEMA: Final = {
    "type": "object",
    "maxProperties": PARAMETERS_MAX,
    "additionalProperties": {"type": ["string", "number", "boolean"]},
}

Prompt = Annotated[str, Field(min_length=1, max_length=PROMPT_LENGTH_MAX), BeforeValidator(_prompt)]
Units = Annotated[int, Field(ge=1, le=UNITS_MAX), BeforeValidator(_units)]
Dollars = Annotated[Decimal, BeforeValidator(_dollars), WithJsonSchema({"type": "number", "minimum": 0})]
References = Annotated[
    list[dict[str, Any]],
    BeforeValidator(_references),
    WithJsonSchema({"type": "array", "maxItems": REFERENCES_MAX, "items": _REFERENCE_SCHEMA}),
]
Parameters = Annotated[Mapping[str, Any], BeforeValidator(_parameters), WithJsonSchema(_PARAMETERS_SCHEMA)]
State = Literal["planned", "queued", "running", "completed", "failed", "canceled"]


class CreateAsked(Asking):
    """`POST /v1/create`. `max_estimated_usd_per_image` is what one unit may cost the agent.

    What is charged is never more than the price that a dry run tells, so `accept_unknown_cost` changes nothing.
    """

    prompt: Prompt
    aspect_ratio: Text = "1:1"
    dry_run: Flag = False
    accept_unknown_cost: Flag = False
    provider: Text | Maybe = None
    model: Text | Maybe = None
    intent: Text | Maybe = None
    references: References | Maybe = None
    output_count: Units | Maybe = None
    max_estimated_usd_per_image: Dollars | Maybe = None
    model_parameters: Parameters | Maybe = None
    idempotency_key: Key | Maybe = None

    @property
    def units(self) -> int:
        """How many are to be made."""
        return self.output_count or 1

    @property
    def parameters(self) -> Mapping[str, Any]:
        """What the model is told besides."""
        return self.model_parameters or {}

    @property
    def wanted(self) -> dict[str, Any]:
        """All that was asked for, as JSON: two requests with the same are one. The key is no part of it."""
        plain = {"output_count": self.units, "references": self.references or [], "model_parameters": self.parameters}
        return self.model_dump(mode="json", exclude={"idempotency_key"}) | plain

    def again(self, key: str | None, **changes: Any) -> dict[str, Any]:
        """The body of the same request under another key, or under none; `changes` to it stay."""
        body = self.model_dump(exclude={"idempotency_key"}, exclude_unset=True, exclude_none=True)
        if self.max_estimated_usd_per_image is not None:
            body["max_estimated_usd_per_image"] = float(self.max_estimated_usd_per_image)
        return body | changes | ({"idempotency_key": key} if key is not None else {})


class JobsAsked(Asking):
    """`GET /v1/jobs`."""

    cursor: Text | Maybe = None
    limit: PageItems = PAGE_ITEMS
    state: State | Maybe = None
