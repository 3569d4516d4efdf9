"""What agents and humans say of themselves and to us: contacts, and feedback."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from typing import Annotated, Any, Final, Self

from pydantic import BeforeValidator, Field, model_validator

from api.http.fields import PAGE_ITEMS, Asking, ClaimContact, Flag, Key, Maybe, PageItems, Text

LINE_MAX: Final = 300
PROSE_MAX: Final = 8_000
WORD_MAX: Final = 64
SURFACES_MAX: Final = 20
EVIDENCE_MAX: Final = 50
_BREAKS: Final = frozenset("\n\r\t")
_UNSTORABLE: Final = frozenset({"Cc", "Cs"})
_SECRETS: Final = re.compile(
    r"(isk_r|pok|claim|osess)_[0-9a-z]{26}[\w-]{20}|\b[sr]k_(live|test)_\w{8}|\bwhsec_\w{8}|PRIVATE KEY-----"
)
"""Tokens, keys and links as we or the payment provider write them."""


def _said(most: int, *, breaks: bool) -> Callable[[Any], str]:
    """Text as it may be kept: whatever looks like a secret is refused, because it would be one no longer."""

    def check(value: Any) -> str:
        allowed = _BREAKS if breaks else frozenset()
        if not isinstance(value, str) or any(
            unicodedata.category(letter) in _UNSTORABLE and letter not in allowed for letter in value
        ):
            raise ValueError("must be text without control characters")
        if not 0 < len(value.strip()) <= len(value) <= most:
            raise ValueError(f"must have 1 to {most} characters")
        if _SECRETS.search(value):
            raise ValueError("holds what looks like a token or a key; leave it out, and replace it where it is used")
        return value.strip()

    return check


Line = Annotated[str, Field(min_length=1, max_length=LINE_MAX), BeforeValidator(_said(LINE_MAX, breaks=False))]
Prose = Annotated[str, Field(min_length=1, max_length=PROSE_MAX), BeforeValidator(_said(PROSE_MAX, breaks=True))]
Word = Annotated[str, Field(min_length=1, max_length=WORD_MAX), BeforeValidator(_said(WORD_MAX, breaks=False))]


class ClaimAsked(Asking):
    """`POST /v1/agent-claims`."""

    contact: ClaimContact


class OwnerAsked(Asking):
    """`GET /owner`: a page of payments, and what was done just before."""

    cursor: Text | Maybe = None
    limit: PageItems = PAGE_ITEMS
    done: Text | Maybe = None


class FeedbackAsked(Asking):
    """`POST /v1/feedback`: a title or a body, and what helps to understand it. The defaults are the client's."""

    title: Line | Maybe = None
    body: Prose | Maybe = None
    type: Word = "user_feedback"
    severity: Word = "medium"
    confidence: Word = "medium"
    next_state: Word = "watch"
    surface: Annotated[list[Word], Field(max_length=SURFACES_MAX, default_factory=lambda: ["cli"])]
    evidence: Annotated[list[Line], Field(max_length=EVIDENCE_MAX, default_factory=list)]
    command: Prose | Maybe = None
    expected: Prose | Maybe = None
    actual: Prose | Maybe = None
    friction: Prose | Maybe = None
    proof_needed: Prose | Maybe = None
    strategic_reason: Prose | Maybe = None
    source: Line | Maybe = None
    trace_id: Line | Maybe = None
    dedupe_key: Key | Maybe = None
    allow_weak_signal: Flag = False

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.title is None and self.body is None:
            raise ValueError("title or body is required")
        return self

    @property
    def said(self) -> dict[str, Any]:
        """What is kept of it."""
        return self.model_dump(exclude_none=True, exclude={"dedupe_key"})
