"""What operators may ask about exports: the body and the query string of `/v1/operator/exports`."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from api.http.fields_operator import ActAsked, PageAsked
from finance.periods import Period


def _period(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("must be a month such as 2026-10")  # noqa: TRY004 - pydantic answers with a ValueError
    return Period.parse(value).name


PeriodName = Annotated[str, Field(json_schema_extra={"pattern": r"^20\d\d-(0[1-9]|1[0-2])$"}), BeforeValidator(_period)]


class ExportAsked(ActAsked):
    """`POST /v1/operator/exports`."""

    period: PeriodName


class ExportsAsked(PageAsked):
    """`GET /v1/operator/exports`."""
