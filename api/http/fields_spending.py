"""What agents and operators may send about spending: the types of fields, and the bodies and query strings."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from api.http.fields import PAGE_ITEMS, Asking, Flag, Key, Maybe, PageItems, Text
from ledger.money import AMOUNT_MAX
from ledger.operations import HOLD_MAX
from ledger.posting import OPERATIONS_MAX

HOLD_SECONDS_MAX: Final = int(HOLD_MAX.total_seconds())
TIME_LENGTH_MAX: Final = 40
ITEMS_MAX: Final = OPERATIONS_MAX
BATCH_BYTES_MAX: Final = 1024 * ITEMS_MAX
"""The largest body of a batch: a kilobyte an item."""


def _whole(most: int) -> Any:
    """A JSON number without a point or exponent; `type`, because True is an int to Python."""

    def check(value: Any) -> int:
        if type(value) is not int or not 1 <= value <= most:
            raise ValueError(f"must be a whole number from 1 to {most}")
        return value

    return check


def _moment(value: Any) -> datetime:
    """In UTC, so that what cannot be said in UTC is refused here and not by the database."""
    moment = None
    if isinstance(value, str) and len(value) <= TIME_LENGTH_MAX:
        with suppress(ValueError, OverflowError):
            said = datetime.fromisoformat(value)
            moment = said.astimezone(UTC) if said.tzinfo is not None else None
    if moment is None:
        raise ValueError("must be a time with its zone, as in 2026-11-21T08:00:00Z")
    return moment


Credits = Annotated[int, Field(ge=1, le=AMOUNT_MAX), BeforeValidator(_whole(AMOUNT_MAX))]
Seconds = Annotated[int, Field(ge=1, le=HOLD_SECONDS_MAX), BeforeValidator(_whole(HOLD_SECONDS_MAX))]
Group = Annotated[int, Field(ge=1, le=ITEMS_MAX), BeforeValidator(_whole(ITEMS_MAX))]
Moment = Annotated[datetime, BeforeValidator(_moment)]
State = Literal["open", "ended"]


class BookAsked(Asking):
    """What every body about a book has. Operators, and only they, name the organization."""

    idempotency_key: Key
    organization_id: Text | Maybe = None


class SpendAsked(BookAsked):
    """`POST /v1/spends`. Operators may name the agent whose caps count."""

    credits: Credits
    agent_id: Text | Maybe = None


class LastingAsked(BookAsked):
    """How long a hold lasts: exactly one of `deadline` and `expires_in_seconds`, which counts from the first asking."""

    deadline: Moment | Maybe = None
    expires_in_seconds: Seconds | Maybe = None

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.deadline is None) == (self.expires_in_seconds is None):
            raise ValueError("exactly one of deadline and expires_in_seconds is required")
        return self

    @property
    def lasting(self) -> timedelta | None:
        """How long, when it was not said until when."""
        return timedelta(seconds=self.expires_in_seconds) if self.expires_in_seconds is not None else None

    def until(self, now: datetime) -> datetime:
        """The deadline, when it is asked for now."""
        return self.deadline or now + timedelta(seconds=self.expires_in_seconds or 0)


class HoldAsked(LastingAsked):
    """`POST /v1/holds`. Operators may name the agent whose caps count."""

    credits: Credits
    agent_id: Text | Maybe = None


class CaptureAsked(BookAsked):
    """`POST /v1/holds/{hold_id}/capture`. A final capture gives the rest back."""

    credits: Credits
    final: Flag = True


class VoidAsked(BookAsked):
    """`POST /v1/holds/{hold_id}/void`."""


class ExtendAsked(LastingAsked):
    """`POST /v1/holds/{hold_id}/extend`."""


class BatchItem(SpendAsked):
    """One spend of a batch. Neighbours with the same `group` are of one organization, and posted all or none."""

    group: Group | Maybe = None


class BatchAsked(Asking):
    """`POST /v1/spends/batch`. Each item is read by itself, so that one that is wrong disturbs no other."""

    items: Annotated[
        list[Any],
        Field(min_length=1, max_length=ITEMS_MAX, json_schema_extra={"items": BatchItem.model_json_schema()}),
    ]


class RefundAsked(BookAsked):
    """`POST /v1/refunds-of-spends`: credits of a spend or a capture go back."""

    operation_id: Text
    credits: Credits


class HoldsAsked(Asking):
    """`GET /v1/holds`."""

    cursor: Text | Maybe = None
    limit: PageItems = PAGE_ITEMS
    state: State | Maybe = None
    organization_id: Text | Maybe = None


class OneAsked(Asking):
    """`GET /v1/holds/{hold_id}`: an operator names the organization."""

    organization_id: Text | Maybe = None
