"""Whether a payer's money may be taken: a hook, asked before anything is claimed and again before anything is granted.

Sources for what a screen is for: https://ofac.treasury.gov/faqs/topic/1626 (a list of addresses is the least).
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Protocol


class Verdict(enum.StrEnum):
    """`hold`: take the money that was paid, and let a person decide before credits are granted."""

    ALLOW = "allow"
    HOLD = "hold"
    REJECT = "reject"


@dataclass(frozen=True, slots=True)
class Screened:
    """A verdict with its reason, in words for operators; a payer is never shown it."""

    verdict: Verdict
    reason: str | None = None


ALLOWED = Screened(Verdict.ALLOW)


class Screening(Protocol):
    """Who judges payers."""

    async def screen(self, *, network: str, payer: str) -> Screened:
        """Judge a payer's address (EIP-55). Raises nothing: who cannot judge holds."""


class Everybody:
    """No screening: everybody may pay."""

    async def screen(self, *, network: str, payer: str) -> Screened:  # noqa: ARG002 - the names of the protocol
        """Allow."""
        return ALLOWED
