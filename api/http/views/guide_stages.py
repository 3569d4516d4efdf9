"""What a guide knows, and the stage that follows from it. Pure.

Theory of operation
-------------------
What is known is looked at in the order in which the service itself would refuse: a model that cannot be ordered, no
token, a pause, a cap, today's jobs, credits. The first that stands in the way is the stage. Where credits are missing,
what was begun comes first: a purchase that waits for money is gone on with, a quote that stands is bought, and only
then a new one is made. So an agent that does the step and asks again comes to the end, and pays nothing twice.
Source: section 5 of the client's contract; its `create --guide` finds most of these stages by itself.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

from api.http.commands import Commands
from api.http.fields_guide import GuideAsked
from api.http.views import catalog
from api.http.views.purchases import Scene
from billing.packs import METHODS, Method, Wanted
from billing.pricing import Selection
from billing.spending import CapNow, what_to_buy
from billing.standing import Standing
from billing.status import Status


class Stage(enum.StrEnum):
    """The closed list, in order of precedence; the value stands in the answer."""

    NO_EXECUTABLE_MODEL = "no_executable_model"
    AUTH_REQUIRED = "auth_required"
    SPENDER_PAUSED = "spender_paused"
    CAP_REACHED = "cap_reached"
    PAYMENT_PENDING = "payment_pending"
    """A purchase waits for money: pay that one, or cancel it, before there is another."""
    READY_TO_BUY = "ready_to_buy"
    """A quote stands that brings what is missing."""
    QUOTA_REQUIRED = "quota_required"
    """Credits are missing, or as many jobs were ordered today as may be; `reason` says which."""
    READY_TO_CREATE = "ready_to_create"
    READY_TO_SPEND = "ready_to_spend"


KEYED: Final = ("create", "spend", "quote")
"""What is sent under an idempotency key."""
READY: Final = (Stage.READY_TO_CREATE, Stage.READY_TO_SPEND)


class TokenStatus(enum.StrEnum):
    """What came as a token."""

    MISSING = "missing"
    INVALID = "invalid"
    ACTIVE = "active"


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of an agent whose token holds. `standing` is towards all the credits that it wants to spend.

    `waiting` is the purchase that waits for money, `buyable` the quote to buy. `jobs_today` is of its organization.
    """

    agent_id: UUID
    standing: Standing
    waiting: Status | None
    buyable: Status | None
    jobs_today: int


@dataclass(frozen=True, slots=True)
class Seen:
    """All that the guide is made of. `selection` is the model of a job, or else `obstacle` says why there is none.

    `reasons` has for each method why it is not offered, `live` whether its money is real. `keys` has one that was never
    used for each of `KEYED`.
    """

    asked: GuideAsked
    selection: Selection | None
    obstacle: str | None
    token_status: TokenStatus
    known: Known | None
    reasons: Mapping[str, str | None]
    live: Mapping[str, bool]
    jobs_per_day: int | None
    scene: Scene
    keys: Mapping[str, str]

    @property
    def commands(self) -> Commands:
        """Commands for this service."""
        return self.scene.commands

    @property
    def step(self) -> int:
        """`step_credits`."""
        return step_credits(self.asked, self.selection)

    @property
    def method(self) -> Method | None:
        """The method to top up with: the one that is asked for, or else the suggested one; none when not offered."""
        if self.asked.payment_method is not None:
            asked = METHODS[self.asked.payment_method]
            return asked if self.reasons[asked.method_id] is None else None
        return catalog.preferred_method(self.reasons)

    @property
    def wanted(self) -> Wanted | None:
        """What to buy for what is missing; none when nothing is, and when no method is offered."""
        if self.known is None or not self.known.standing.missing or self.method is None:
            return None
        return what_to_buy(self.known.standing.missing, self.scene.place.offer, self.method)

    @property
    def towards_step(self) -> Standing | None:
        """How the agent stands towards the next request alone, which is what caps look at."""
        return replace(self.known.standing, required=self.step) if self.known is not None else None

    @property
    def is_paused(self) -> bool:
        """Whether the agent may spend nothing at all."""
        allowance = self.known.standing.allowance if self.known is not None else None
        return allowance is not None and allowance.paused

    @property
    def exceeded(self) -> list[CapNow]:
        """The caps that would refuse the next request; first those for which no time helps."""
        standing = self.towards_step
        found = [cap for cap in standing.caps if cap.exceeded] if standing is not None else []
        return sorted(found, key=lambda cap: not self.is_for_ever(cap))

    def is_for_ever(self, cap: CapNow) -> bool:
        """Whether an exceeded cap would refuse the next request at any time: only an operator can change that."""
        return cap.frees_up_at is None or self.step > cap.limit

    @property
    def is_day_over(self) -> bool:
        """Whether as many jobs were ordered today as may be."""
        limit = self.jobs_per_day
        return self.asked.is_create and limit is not None and self.known is not None and self.known.jobs_today >= limit

    @property
    def reset_at(self) -> datetime:
        """When the next UTC day begins, and jobs are counted anew."""
        midnight = self.scene.now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        return midnight + timedelta(days=1)


def step_credits(asked: GuideAsked, selection: Selection | None) -> int:
    """What the next request takes at once: the price of one job, or all that is to be spent; 0 when nobody knows."""
    if asked.is_create:
        return selection.model.price.credits_for(1) if selection is not None else 0
    return asked.credits or 1


def required_credits(asked: GuideAsked, selection: Selection | None) -> int:
    """What must be there: all that is to be spent, and never less than the next request takes."""
    return max(asked.credits or 0, step_credits(asked, selection))


def staged(seen: Seen) -> tuple[Stage, str | None]:
    """The stage, and in a word (of a model: in a sentence) why it is not a ready one."""
    if seen.asked.is_create and seen.selection is None:
        return Stage.NO_EXECUTABLE_MODEL, seen.obstacle
    if seen.known is None:
        return Stage.AUTH_REQUIRED, f"token_{seen.token_status}"
    if seen.is_paused:
        return Stage.SPENDER_PAUSED, "spender_paused"
    if seen.exceeded:
        return Stage.CAP_REACHED, seen.exceeded[0].name
    if seen.is_day_over:
        return Stage.QUOTA_REQUIRED, "daily_job_cap_reached"
    if seen.known.standing.missing:
        return _short(seen.known), "credits_missing"
    return (Stage.READY_TO_CREATE if seen.asked.is_create else Stage.READY_TO_SPEND), None


def _short(known: Known) -> Stage:
    if known.waiting is not None:
        return Stage.PAYMENT_PENDING
    return Stage.READY_TO_BUY if known.buyable is not None else Stage.QUOTA_REQUIRED
