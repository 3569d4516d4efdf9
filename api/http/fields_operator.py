"""What operators may ask about payments and letters: bodies and query strings of `/v1/operator`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Final

from pydantic import BeforeValidator, Field

from api.http.fields import PAGE_ITEMS, Asking, Flag, Key, Maybe, PageItems, Text
from api.http.fields_spending import Credits
from billing.attempts import AttemptState, RequestState
from billing.operator_actions import REASON_LENGTH_MAX, Act
from billing.settlement_states import SettlementState
from ledger.money import AMOUNT_MAX
from webhooks.tables import LETTER_STATES


def one_of(words: Iterable[str]) -> Any:
    """A check that a value is one of these."""
    known = [str(word) for word in words]

    def check(value: Any) -> str:
        if not isinstance(value, str) or value not in known:
            raise ValueError(f"must be one of {', '.join(known)}")
        return value

    return check


def _reason(value: Any) -> str:
    """Printable, because it is shown on terminals and in the log."""
    if not isinstance(value, str) or not value.strip() or not value.isprintable() or len(value) > REASON_LENGTH_MAX:
        raise ValueError(f"must be 1 to {REASON_LENGTH_MAX} printable characters")
    return value.strip()


def _cents(value: Any) -> int:
    if type(value) is not int or not 1 <= value <= AMOUNT_MAX:
        raise ValueError(f"must be a whole number of cents from 1 to {AMOUNT_MAX}")
    return value


def _words(value: Any) -> bool:
    """A flag in a query string."""
    if value not in {"true", "false"}:
        raise ValueError("must be true or false")
    return bool(value == "true")


_LETTERS: Final = list(LETTER_STATES)
_ATTEMPTS: Final = [state.value for state in AttemptState]
_REQUESTS: Final = [state.value for state in RequestState]
_SETTLEMENTS: Final = [state.value for state in SettlementState]
_ACTS: Final = [act.value for act in Act]
LetterState = Annotated[str, Field(json_schema_extra={"enum": [*_LETTERS]}), BeforeValidator(one_of(_LETTERS))]
AttemptName = Annotated[str, Field(json_schema_extra={"enum": [*_ATTEMPTS]}), BeforeValidator(one_of(_ATTEMPTS))]
RequestName = Annotated[str, Field(json_schema_extra={"enum": [*_REQUESTS]}), BeforeValidator(one_of(_REQUESTS))]
SettlementName = Annotated[
    str, Field(json_schema_extra={"enum": [*_SETTLEMENTS]}), BeforeValidator(one_of(_SETTLEMENTS))
]
ActName = Annotated[str, Field(json_schema_extra={"enum": [*_ACTS]}), BeforeValidator(one_of(_ACTS))]
Reason = Annotated[str, Field(min_length=1, max_length=REASON_LENGTH_MAX), BeforeValidator(_reason)]
Cents = Annotated[int, Field(ge=1, le=AMOUNT_MAX), BeforeValidator(_cents)]
QueryFlag = Annotated[bool, BeforeValidator(_words)]


class ActAsked(Asking):
    """What every act of an operator has. The reason is recorded with it."""

    idempotency_key: Key
    reason: Reason


class UnfreezeAsked(ActAsked):
    """`POST /v1/operator/organizations/{organization_id}/unfreeze`; with `warned` also what fraud warnings froze."""

    warned: bool = False


class WriteOffAsked(ActAsked):
    """`POST /v1/operator/owed/{payment_attempt_id}/write-off`; without `credits` all that is owed for the payment."""

    credits: Credits | Maybe = None


class OperatorRefundAsked(ActAsked):
    """`POST /v1/operator/refunds`; without `amount_cents` all that is left. With `dry_run` nothing is done."""

    payment_attempt_id: Text
    amount_cents: Cents | Maybe = None
    dry_run: Flag = False


class PageAsked(Asking):
    """What every list has."""

    cursor: Text | Maybe = None
    limit: PageItems = PAGE_ITEMS


class LettersAsked(PageAsked):
    """`GET /v1/operator/letters`."""

    state: LetterState | Maybe = None


class AttemptsAsked(PageAsked):
    """`GET /v1/operator/attempts`; `stuck`: only those that somebody should look at."""

    state: AttemptName | Maybe = None
    organization_id: Text | Maybe = None
    stuck: QueryFlag = False


class SettlementsAsked(PageAsked):
    """`GET /v1/operator/settlements`."""

    state: SettlementName | Maybe = None


class OwedAsked(PageAsked):
    """`GET /v1/operator/owed`."""

    organization_id: Text | Maybe = None


class RefundsAsked(PageAsked):
    """`GET /v1/operator/refunds`."""

    payment_attempt_id: Text | Maybe = None
    state: RequestName | Maybe = None


class ActionsAsked(PageAsked):
    """`GET /v1/operator/actions`."""

    organization_id: Text | Maybe = None
    action: ActName | Maybe = None
