"""What anybody may send about what can be bought: the query strings."""

from __future__ import annotations

import re
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, model_validator

from api.http.fields import Asking, Maybe, Text
from api.price_list import MODELS_MAX


def _switch(value: Any) -> bool:
    if value not in {"true", "false"}:
        raise ValueError("must be true or false")
    return bool(value == "true")


def _page(value: Any) -> int:
    if not (isinstance(value, str) and re.fullmatch(r"[0-9]{1,3}", value) and 1 <= int(value) <= MODELS_MAX):
        raise ValueError(f"must be a whole number from 1 to {MODELS_MAX}")
    return int(value)


Switch = Annotated[bool, BeforeValidator(_switch)]
"""`true` or `false`; `false` is the same as nothing."""
PageModels = Annotated[int, Field(ge=1, le=MODELS_MAX), BeforeValidator(_page)]


class ModelsAsked(Asking):
    """`GET /v1/models`. What is only in the catalog is listed when `catalog_only` asks for it, and then alone.

    The public client does not page, so a page has room for the longest price list.
    """

    available: Switch = False
    executable: Switch = False
    catalog_only: Switch = False
    operation: Text | Maybe = None
    modality: Text | Maybe = None
    provider: Text | Maybe = None
    query: Text | Maybe = None
    details: Switch = False
    cursor: Text | Maybe = None
    limit: PageModels = MODELS_MAX

    @model_validator(mode="after")
    def _one_or_the_other(self) -> Self:
        if self.catalog_only and (self.available or self.executable):
            raise ValueError("catalog_only cannot be combined with available or executable")
        return self


class CapabilitiesAsked(Asking):
    """`GET /v1/capabilities`."""

    cursor: Text | Maybe = None
    limit: PageModels = MODELS_MAX
