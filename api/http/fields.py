"""What agents may send: the types of fields, and the bodies and query strings made of them."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from typing import Annotated, Any, Final, Self

from pydantic import BaseModel, BeforeValidator, Field, model_validator
from pydantic.json_schema import SkipJsonSchema

from billing.identity import GRACE, GRACE_MAX
from billing.packs import METHODS
from billing.status import REFERENCES
from ledger.money import AMOUNT_MAX

CONTACT_LENGTH_MAX: Final = 254
"""The longest address that can be mailed to. Source: RFC 5321 section 4.5.3.1.3."""
KEY_LENGTH_MAX: Final = 255
REFERENCE_LENGTH_MAX: Final = 255
PAGE_ITEMS_MAX: Final = 100
PAGE_ITEMS: Final = 20
GRACE_SECONDS_MAX: Final = int(GRACE_MAX.total_seconds())
_CONTACT: Final = re.compile(r"[^\s@<>()\[\],;:\\\"]+@[^\s@.<>()\[\],;:\\\"]+(\.[^\s@.<>()\[\],;:\\\"]+)+")
_SOURCE: Final = re.compile(r"[a-z0-9._-]{1,64}")
_UNSTORABLE: Final = frozenset({"Cc", "Cs"})
"""Control characters (PostgreSQL refuses NUL) and halves of surrogate pairs, which no encoding has."""


def _whole(value: Any) -> int:
    """A JSON number without a point or exponent; `type`, because True is an int to Python."""
    if type(value) is not int or abs(value) > AMOUNT_MAX:
        raise ValueError("must be a whole number")
    return value


def _text(most: int) -> Callable[[Any], str]:
    def check(value: Any) -> str:
        if not isinstance(value, str) or any(unicodedata.category(letter) in _UNSTORABLE for letter in value):
            raise ValueError("must be text without control characters")
        if not 0 < len(value.strip()) <= len(value) <= most:
            raise ValueError(f"must have 1 to {most} characters")
        return value.strip()

    return check


def is_key(value: Any) -> bool:
    """Whether it can be an idempotency key, and be said again in an answer."""
    return isinstance(value, str) and 0 < len(value) <= KEY_LENGTH_MAX and value.isprintable()


def _key(value: Any) -> str:
    if not is_key(value):
        raise ValueError(f"must be 1 to {KEY_LENGTH_MAX} printable characters")
    return str(value)


def _contact(message: str) -> Callable[[Any], str | None]:
    """The client rewrites a refusal when its message is literally `message`."""

    def check(value: Any) -> str | None:
        if value is None:
            return None
        contact = value.strip().lower() if isinstance(value, str) else ""
        if len(contact) > CONTACT_LENGTH_MAX or not contact.isprintable() or not _CONTACT.fullmatch(contact):
            raise ValueError(message)
        if contact.startswith("-"):  # what sends mail may hand it to a program, which would read an option
            raise ValueError("must not begin with a hyphen")
        return contact

    return check


def _source(value: Any) -> str | None:
    if value is not None and not (isinstance(value, str) and _SOURCE.fullmatch(value)):
        raise ValueError("must be 1 to 64 of a-z, 0-9, dot, underscore and hyphen")
    return value


def _method(value: Any) -> str:
    if not isinstance(value, str) or value not in METHODS:
        raise ValueError(f"must be one of {', '.join(METHODS)}")
    return value


def _flag(value: Any) -> bool:
    if type(value) is not bool:
        raise ValueError("must be true or false")
    return value


def _grace(value: Any) -> int:
    if type(value) is not int or not 0 <= value <= GRACE_SECONDS_MAX:
        raise ValueError(f"must be a whole number from 0 to {GRACE_SECONDS_MAX}")
    return value


def _page(value: Any) -> int:
    if not (isinstance(value, str) and re.fullmatch(r"[0-9]{1,3}", value) and 1 <= int(value) <= PAGE_ITEMS_MAX):
        raise ValueError(f"must be a whole number from 1 to {PAGE_ITEMS_MAX}")
    return int(value)


# The offer has the last word on how many credits there can be, and its sentence names the bounds.
WholeNumber = Annotated[int, Field(json_schema_extra={"minimum": 1, "maximum": AMOUNT_MAX}), BeforeValidator(_whole)]
Name = Annotated[str, Field(min_length=1, max_length=80), BeforeValidator(_text(80))]
Key = Annotated[str, Field(min_length=1, max_length=KEY_LENGTH_MAX), BeforeValidator(_key)]
Text = Annotated[str, Field(min_length=1, max_length=255), BeforeValidator(_text(REFERENCE_LENGTH_MAX))]
MethodId = Annotated[str, Field(json_schema_extra={"enum": list(METHODS)}), BeforeValidator(_method)]
Flag = Annotated[bool, BeforeValidator(_flag)]
PageItems = Annotated[int, Field(ge=1, le=PAGE_ITEMS_MAX), BeforeValidator(_page)]
GraceSeconds = Annotated[int, Field(ge=0, le=GRACE_SECONDS_MAX), BeforeValidator(_grace)]
Source = Annotated[str | None, BeforeValidator(_source)]
AgentContact = Annotated[
    str | None, BeforeValidator(_contact("agent_contact must be an email-shaped durable contact inbox"))
]
HumanEmail = Annotated[str | None, BeforeValidator(_contact("human_email must be a valid email address"))]
ClaimContact = Annotated[
    str,
    Field(min_length=3, max_length=CONTACT_LENGTH_MAX),
    BeforeValidator(_contact("must be an email-shaped durable contact inbox")),
]
Maybe = SkipJsonSchema[None]


class Asking(BaseModel, frozen=True, extra="ignore", hide_input_in_errors=True):
    """What all bodies and query strings share."""


class SignupAsked(Asking):
    """`POST /v1/agent-signups`. `human_email` is the older name of `agent_contact`."""

    agent_name: Name
    runtime: Name
    agent_contact: AgentContact = None
    human_email: HumanEmail = None
    discovery_source: Source = None
    return_token: Flag = False

    @model_validator(mode="after")
    def _one_contact(self) -> Self:
        if self.agent_contact and self.human_email and self.agent_contact != self.human_email:
            raise ValueError("agent_contact and its older name human_email must not differ")
        return self

    @property
    def contact(self) -> str | None:
        """The contact under whichever name it came."""
        return self.agent_contact or self.human_email


class RotateAsked(Asking):
    """`POST /v1/tokens/rotate`, whose body may be left out. `grace_seconds`: how long the old token still works."""

    grace_seconds: GraceSeconds = int(GRACE.total_seconds())


class InviteAsked(Asking):
    """`POST /v1/agents`."""

    agent_name: Name
    runtime: Name
    agent_contact: AgentContact = None


class QuoteAsked(Asking):
    """`POST /v1/credit-quotes`: exactly one of `credits` and `pack_id`."""

    credits: WholeNumber | Maybe = None
    pack_id: Text | Maybe = None
    payment_method: MethodId
    idempotency_key: Key

    @model_validator(mode="after")
    def _credits_or_pack(self) -> Self:
        if (self.credits is None) == (self.pack_id is None):
            raise ValueError("exactly one of credits and pack_id is required")
        return self


class BuyAsked(Asking):
    """`POST /v1/credit-purchases/…`."""

    quote_id: Text
    idempotency_key: Key


class StatusAsked(Asking):
    """`GET /v1/credit-purchases/status`: at most one reference."""

    quote_id: Text | Maybe = None
    payment_attempt_id: Text | Maybe = None
    checkout_session_id: Text | Maybe = None
    receipt_id: Text | Maybe = None

    @model_validator(mode="after")
    def _at_most_one(self) -> Self:
        if len(self.model_fields_set) > 1:
            raise ValueError(f"at most one of {', '.join(REFERENCES)} may be given")
        return self

    @property
    def reference(self) -> tuple[str, str] | None:
        """Which kind of reference was given, and the reference."""
        given = ((kind, getattr(self, kind)) for kind in REFERENCES)
        return next((pair for pair in given if pair[1] is not None), None)


class AgentsAsked(Asking):
    """`GET /v1/agents`."""

    cursor: Text | Maybe = None
    limit: PageItems = PAGE_ITEMS
