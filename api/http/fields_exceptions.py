"""What operators may ask about reconciliation: bodies and query strings of exceptions."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import BeforeValidator, Field

from api.http.fields import Maybe, Text
from api.http.fields_operator import ActAsked, PageAsked, one_of
from finance.reconciling.adjusting import ACCOUNTS, AGAINST
from finance.statement_tables import ExceptionState

_STATES: Final = [state.value for state in ExceptionState]
_INTO: Final = [account for accounts in ACCOUNTS.values() for account in accounts]
StateName = Annotated[str, Field(json_schema_extra={"enum": [*_STATES]}), BeforeValidator(one_of(_STATES))]
Into = Annotated[str, Field(json_schema_extra={"enum": [*_INTO]}), BeforeValidator(one_of(_INTO))]
Against = Annotated[str, Field(json_schema_extra={"enum": [*AGAINST]}), BeforeValidator(one_of(AGAINST))]


class ExceptionsAsked(PageAsked):
    """`GET /v1/operator/exceptions`; without `state` those that still stand."""

    state: StateName | Maybe = None


class ApproveAsked(ActAsked):
    """`POST /v1/operator/exceptions/{exception_id}/approve`; `proposal_id` as the exception shows it."""

    proposal_id: Text


class ResolveAsked(ActAsked):
    """`POST /v1/operator/exceptions/{exception_id}/resolve`; without accounts those of its source."""

    account: Into | Maybe = None
    against: Against | Maybe = None
