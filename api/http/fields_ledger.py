"""What may be asked of the books: bodies and query strings of grants, caps, the activity, and reading the ledger."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Annotated, Any, Final, Self

from pydantic import BeforeValidator, Field, model_validator

from api.http.fields import PAGE_ITEMS, Asking, Maybe, PageItems, Text
from api.http.fields_spending import BookAsked, Credits, Moment
from billing.activity import TYPES
from billing.grants import CAUSES, EXPIRES_IN_DAYS_MAX, PRIORITY_MAX, Gift
from ledger.chart import CHART
from ledger.money import AMOUNT_MAX
from ledger.operations import PRIORITY, Caps, Kind, LotCause
from ledger.statements import START, Place

_PLACE: Final = re.compile(r"entry_([1-9][0-9]{0,14})_([0-9]{1,4})")


def _within(least: int, most: int) -> Callable[[Any], int]:
    """A JSON number without a point or exponent; `type`, because True is an int to Python."""

    def check(value: Any) -> int:
        if type(value) is not int or not least <= value <= most:
            raise ValueError(f"must be a whole number from {least} to {most}")
        return value

    return check


def _one_of(words: Iterable[str]) -> Callable[[Any], str]:
    known = list(words)

    def check(value: Any) -> str:
        if not isinstance(value, str) or value not in known:
            raise ValueError(f"must be one of {', '.join(known)}")
        return value

    return check


def _place(value: Any) -> str:
    if not isinstance(value, str) or _PLACE.fullmatch(value) is None:
        raise ValueError("must be the next_cursor of an earlier answer")
    return value


_CAUSES: Final = [cause.value for cause in CAUSES]
_ACCOUNTS: Final = [account.code for account in CHART]
_KINDS: Final = [kind.value for kind in Kind]
Cap = Annotated[int, Field(ge=0, le=AMOUNT_MAX), BeforeValidator(_within(0, AMOUNT_MAX))]
Days = Annotated[int, Field(ge=1, le=EXPIRES_IN_DAYS_MAX), BeforeValidator(_within(1, EXPIRES_IN_DAYS_MAX))]
Priority = Annotated[int, Field(ge=0, le=PRIORITY_MAX), BeforeValidator(_within(0, PRIORITY_MAX))]
Cause = Annotated[str, Field(json_schema_extra={"enum": [*_CAUSES]}), BeforeValidator(_one_of(_CAUSES))]
AccountCode = Annotated[str, Field(json_schema_extra={"enum": [*_ACCOUNTS]}), BeforeValidator(_one_of(_ACCOUNTS))]
KindName = Annotated[str, Field(json_schema_extra={"enum": [*_KINDS]}), BeforeValidator(_one_of(_KINDS))]
EventTypeName = Annotated[str, Field(json_schema_extra={"enum": [*TYPES]}), BeforeValidator(_one_of(TYPES))]
Cursor = Annotated[str, BeforeValidator(_place)]


class GrantAsked(BookAsked):
    """`POST /v1/grants`. Without `expires_at` and `expires_in_days` the credits never expire."""

    cause: Cause
    credits: Credits
    reason: Text | Maybe = None
    expires_at: Moment | Maybe = None
    expires_in_days: Days | Maybe = None
    priority: Priority = PRIORITY

    @model_validator(mode="after")
    def _one_expiry(self) -> Self:
        if self.expires_at is not None and self.expires_in_days is not None:
            raise ValueError("at most one of expires_at and expires_in_days may be given")
        return self

    @property
    def gift(self) -> Gift:
        """What is to be given."""
        cause = LotCause(self.cause)
        return Gift(cause, self.credits, self.reason, self.expires_at, self.expires_in_days, self.priority)


class CapsAsked(BookAsked):
    """`PUT /v1/agents/{agent_id}/caps`: all of them, null for no limit, so that a mistyped name lifts no cap."""

    per_spend: Cap | None
    per_hour: Cap | None
    per_day: Cap | None
    per_month: Cap | None
    total: Cap | None

    @property
    def caps(self) -> Caps:
        """The caps to set. Whether the agent is paused is another matter."""
        return Caps(self.per_spend, self.per_hour, self.per_day, self.per_month, self.total)


class PauseAsked(BookAsked):
    """`POST /v1/agents/{agent_id}/pause` and `/resume`."""


class ReadAsked(Asking):
    """What reading any book takes: an operator names the organization, an agent reads its own."""

    organization_id: Text | Maybe = None


class BalanceAsked(ReadAsked):
    """`GET /v1/ledger/balance`, now unless `at` names another time."""

    at: Moment | Maybe = None


class ActivityAsked(Asking):
    """`GET /v1/activity`; `subject` keeps the events that name this id, `type` those of one type of the registry."""

    cursor: Text | Maybe = None
    limit: PageItems = PAGE_ITEMS
    subject: Text | Maybe = None
    type: EventTypeName | Maybe = None


class EntriesAsked(ReadAsked):
    """`GET /v1/ledger/entries`, in the order of the journal."""

    cursor: Cursor | Maybe = None
    limit: PageItems = PAGE_ITEMS
    account: AccountCode | Maybe = None
    kind: KindName | Maybe = None

    @property
    def start(self) -> Place:
        """Where the page begins."""
        found = _PLACE.fullmatch(self.cursor or "")
        return Place(int(found[1]), int(found[2])) if found else START
