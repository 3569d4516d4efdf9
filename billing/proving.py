"""What a check of billing against the books is, and what it finds. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that does not agree: whose it is, which check found it, and what is wrong with what."""

    organization_id: UUID
    check: str
    detail: str


@dataclass(frozen=True, slots=True)
class Check:
    """A named statement that gives `(organization_id, subject, problem)`; `prefix` is that of its subjects' ids."""

    name: str
    prefix: str | None
    statement: str
