"""Who carries out a signed payment: ourselves, or a facilitator. One interface for both. Pure.

A submitter stores that it is about to send before it sends, so that a settlement of which anything may be on its way is
never taken for one of which nothing is.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from billing.settling_tables import Settlement


class Progress(enum.StrEnum):
    """What came of a try.

    `sent`: something is on its way, or was already; `waiting`: nothing could be sent now, try again; `refused`: it
    would fail, and nothing was ever sent for it; `doubtful`: it would fail now, although something was sent before.
    """

    SENT = "sent"
    WAITING = "waiting"
    REFUSED = "refused"
    DOUBTFUL = "doubtful"


@dataclass(frozen=True, slots=True)
class Submission:
    """What came of a try, and why, in words for operators and payers."""

    progress: Progress
    reason: str | None = None


class Submitter(Protocol):
    """Carries out payments. Safe to ask any number of times, at any number of processes, for the same settlement."""

    @property
    def name(self) -> str:
        """What stands in the settlement's row."""

    async def submit(self, row: Settlement, *, now: datetime) -> Submission:
        """Make the next step towards the payment being in a block.

        Raises `RailUnavailable` (the chain or facilitator cannot be asked) or `OutcomeUnknown` (something was sent, and
        nobody knows what came of it): in both cases what is stored says how to go on.
        """

    async def hashes(self, row: Settlement) -> list[str]:
        """Transactions in which the payment may stand, the likeliest first."""

    async def sends_again(self, row: Settlement) -> bool:
        """Whether what was sent for the payment is sent again by itself when a reorganization throws it out."""

    async def tend(self, *, now: datetime) -> None:
        """Look after what is its own, whatever becomes of any settlement. Raises as `submit`."""
