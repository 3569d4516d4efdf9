"""What may be asked of the guide: the query string."""

from __future__ import annotations

import re
from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, Field

from api.http.fields import Asking, Maybe, MethodId, Text
from api.http.fields_jobs import Prompt
from ledger.money import AMOUNT_MAX

CREATE: Final = "create"
PROMPT_IN_ADDRESS_LENGTH_MAX: Final = 4_000
"""A letter is up to 12 bytes of an address, and the server answers one of 64 KiB with a bare 414."""


def _credits(value: Any) -> int:
    """Digits, as a query string has them."""
    if not (isinstance(value, str) and re.fullmatch(r"[0-9]{1,16}", value) and 1 <= int(value) <= AMOUNT_MAX):
        raise ValueError(f"must be a whole number from 1 to {AMOUNT_MAX}")
    return int(value)


def _short(value: Any) -> Any:
    if isinstance(value, str) and len(value) > PROMPT_IN_ADDRESS_LENGTH_MAX:
        most = PROMPT_IN_ADDRESS_LENGTH_MAX
        raise ValueError(f"must have at most {most} characters here; POST /v1/create takes more")
    return value


PromptInAddress = Annotated[Prompt, Field(max_length=PROMPT_IN_ADDRESS_LENGTH_MAX), BeforeValidator(_short)]
Credits = Annotated[int, Field(ge=1, le=AMOUNT_MAX), BeforeValidator(_credits)]


class GuideAsked(Asking):
    """`GET /v1/guide`. `credits` is what is to be spent in all; without it, one job, or else a single credit.

    `model` and `prompt` belong to `create`. `payment_method` is the one to top up with, when that is needed.
    """

    operation: Literal["create", "spend"] = "spend"
    credits: Credits | Maybe = None
    model: Text | Maybe = None
    prompt: PromptInAddress | Maybe = None
    payment_method: MethodId | Maybe = None

    @property
    def is_create(self) -> bool:
        """Whether a job is to be ordered, and not credits spent at once."""
        return self.operation == CREATE

    def query(self) -> dict[str, str]:
        """What was asked, to ask it again."""
        return {name: str(getattr(self, name)) for name in type(self).model_fields if name in self.model_fields_set}
