"""What operators may ask about webhooks that we send: bodies and query strings of `/v1/operator/webhook-…`."""

from __future__ import annotations

import unicodedata
from typing import Annotated, Any, Final, Self

from pydantic import BeforeValidator, Field, model_validator

from api.http.fields import Maybe, Text
from api.http.fields_operator import ActAsked, PageAsked, one_of
from billing.activity import EventType
from billing.outbound_tables import DeliveryState
from billing.subscriptions import endpoints
from outbound.guarding import URL_LENGTH_MAX

GRACE_S: Final = int(endpoints.GRACE.total_seconds())
GRACE_S_MAX: Final = int(endpoints.GRACE_MAX.total_seconds())
_TYPES: Final = [type_.value for type_ in EventType]
_STATES: Final = [state.value for state in DeliveryState]


def _url(value: Any) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= URL_LENGTH_MAX:
        raise ValueError(f"must be a URL of at most {URL_LENGTH_MAX} characters")
    return value


def _types(value: Any) -> list[str]:
    known = isinstance(value, list) and len(value) <= len(_TYPES) and all(one in _TYPES for one in value)
    if not known or len(set(value)) < len(value):
        raise ValueError(f"must be a list that has each of these once at most: {', '.join(_TYPES)}")
    return list(value)


def _description(value: Any) -> str:
    longest = endpoints.DESCRIPTION_LENGTH_MAX
    if not isinstance(value, str) or len(value) > longest or any(unicodedata.category(c)[0] == "C" for c in value):
        raise ValueError(f"must be at most {longest} printable characters")
    return value.strip()


def _grace(value: Any) -> int:
    if type(value) is not int or not 0 <= value <= GRACE_S_MAX:
        raise ValueError(f"must be a whole number from 0 to {GRACE_S_MAX}")
    return value


Url = Annotated[str, Field(min_length=1, max_length=URL_LENGTH_MAX), BeforeValidator(_url)]
Types = Annotated[
    list[str],
    Field(max_length=len(_TYPES), json_schema_extra={"items": {"type": "string", "enum": [*_TYPES]}}),
    BeforeValidator(_types),
]
Description = Annotated[str, Field(max_length=endpoints.DESCRIPTION_LENGTH_MAX), BeforeValidator(_description)]
GraceSeconds = Annotated[int, Field(ge=0, le=GRACE_S_MAX), BeforeValidator(_grace)]
StateName = Annotated[str, Field(json_schema_extra={"enum": [*_STATES]}), BeforeValidator(one_of(_STATES))]


class EndpointAsked(ActAsked):
    """`POST /v1/operator/webhook-endpoints`; without `types` all of them are told."""

    url: Url
    types: Types = Field(default_factory=list)
    description: Description = ""


class EndpointChangeAsked(ActAsked):
    """`POST /v1/operator/webhook-endpoints/{id}`: what is left out stays as it is."""

    url: Url | Maybe = None
    types: Types | Maybe = None
    description: Description | Maybe = None

    @model_validator(mode="after")
    def _something(self) -> Self:
        if self.url is None and self.types is None and self.description is None:
            raise ValueError("url, types or description is required")
        return self


class SecretRotationAsked(ActAsked):
    """`POST …/{id}/rotate-secret`: for so many seconds the secret before signs too; 0 after a leak."""

    grace_seconds: GraceSeconds = GRACE_S


class DeliveriesAsked(PageAsked):
    """`GET /v1/operator/webhook-deliveries`."""

    endpoint_id: Text | Maybe = None
    state: StateName | Maybe = None
