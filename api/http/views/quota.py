"""The balance, what will come in its way, and how to top it up before it is needed. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from api.http import calls
from api.http.calls import Call
from api.http.commands import QUOTE_ID, SPOKEN, Commands, call_of
from api.http.views.caps import pause, windows
from api.http.views.catalog import default_terms, path_of, preferred_method, quote_effect
from api.http.views.plain import CREDIT_UNIT_CENTS, CURRENCY, at, at_or_none, expiry, limits
from billing.foresight import EXPIRIES_MAX, DailyJobs, Foresight
from billing.packs import X402, Method, Offer
from ledger.statements import Balance

LOW_CREDITS: Final = 100
"""With fewer credits than this an agent should top up before it starts something."""
LOW_JOBS: Final = 3
"""The same with credits for fewer jobs than this, of the model that is taken when none is named."""


@dataclass(frozen=True, slots=True)
class Urgency:
    """One reason to top up and how urgent it is, in the contract's words."""

    level: str
    score: int
    reason: str


AVAILABLE: Final = Urgency("available", 0, "available")
LOW: Final = Urgency("near_wall", 80, "low_remaining_credits")
DEPLETED: Final = Urgency("blocked", 100, "credits_depleted")
CAPPED: Final = Urgency("blocked", 100, "daily_job_cap_reached")
"""Nothing that can be bought helps against this one."""
UNFUNDED: Final = Urgency("setup_recommended", 60, "self_fund_setup_missing")


@dataclass(frozen=True, slots=True)
class Outlook:
    """What makes a top-up urgent besides the balance: how much is little, whether it ever paid, the daily job limit."""

    low_credits: int = LOW_CREDITS
    has_paid: bool = True
    capped: bool = False


PLAIN: Final = Outlook()


def outlook(ahead: Foresight, job_credits: int | None) -> Outlook:
    """The same of what is known ahead; `job_credits` is what a job costs when no model is named, none when unknown."""
    daily = ahead.daily_jobs
    return Outlook(
        low_credits=max(LOW_CREDITS, LOW_JOBS * (job_credits or 0)),
        has_paid=ahead.has_paid,
        capped=daily is not None and daily.remaining == 0,
    )


def urgencies(balance: Balance, known: Outlook) -> list[Urgency]:
    """Every reason to top up now, the most urgent first; empty when there is none."""
    found = {
        DEPLETED: balance.spendable <= 0,
        CAPPED: known.capped,
        LOW: 0 < balance.spendable < known.low_credits,
        UNFUNDED: balance.spendable > 0 and balance.paid == 0 and not known.has_paid,
    }
    return [urgency for urgency, applies in found.items() if applies]


def quota(
    ahead: Foresight,
    offer: Offer,
    reasons: Mapping[str, str | None],
    commands: Commands,
    *,
    live_money: bool,
    job_credits: int | None = None,
) -> dict[str, Any]:
    """What the agent can spend, and what will come in its way.

    Without a limit on the jobs of a day `daily_jobs` is absent, never null: the public client's guide would crash.
    """
    balance = ahead.balance
    found = {
        "authenticated": True,
        "claim_state": ahead.claim_state,
        "token_status": "active",
        "limits": limits(balance),
        "owed": {"owed_credits": balance.owed, "frozen_credits": balance.frozen},
        "caps": {**pause(ahead.allowance), **windows(ahead.allowance)},
        "holds": {
            "open": ahead.holds.open,
            "held_credits": ahead.holds.credits,
            "next_deadline": at_or_none(ahead.holds.next_deadline),
        },
        "expiring": [expiry(each) for each in ahead.expiring[:EXPIRIES_MAX]],
        "more_expiring": len(ahead.expiring) > EXPIRIES_MAX,
        "jobs": {"open": ahead.jobs_open},
        "credit_unit_cents": CREDIT_UNIT_CENTS,
        "currency": CURRENCY,
        "live_money": live_money,
        "top_up": top_up(balance, offer, reasons, commands, outlook(ahead, job_credits)),
        # Beside `top_up`, which is the public client's: its guide repeats all of that.
        "top_up_requests": _requests(offer, commands) if reasons[X402.method_id] is None else None,
        "next_actions": {},
    }
    return found | ({"daily_jobs": _daily(ahead.daily_jobs)} if ahead.daily_jobs is not None else {})


def _daily(jobs: DailyJobs) -> dict[str, Any]:
    return {"limit": jobs.limit, "used": jobs.used, "remaining": jobs.remaining, "reset_at": at(jobs.reset_at)}


def top_up(
    balance: Balance,
    offer: Offer,
    reasons: Mapping[str, str | None],
    commands: Commands,
    known: Outlook = PLAIN,
) -> dict[str, Any]:
    """Whether to top up with the public client, and the commands that do it, in order.

    All are there even when no method that it has words for is available.
    """
    needs = urgencies(balance, known)
    needed = needs[0] if needs else AVAILABLE
    offered = preferred_method(reasons, SPOKEN)
    method = offered or SPOKEN[0]
    other = _other(method, reasons)
    quote, buy = commands.quote(default_terms(offer, method)), commands.buy(method_id=method.method_id)
    return {
        "available": offered is not None,
        "recommended": offered is not None and any(need is not CAPPED for need in needs),
        "recommendation_reason": needed.reason,
        "urgency": needed.level,
        "urgency_score": needed.score,
        "urgency_reasons": [need.reason for need in needs],
        "path": path_of(method),
        "preferred_payment_method": method.method_id if offered else None,
        "first_command": commands.methods(),
        "quote_command": quote,
        "quote_command_copy_runnable": offered is not None,
        "quote_command_effect": quote_effect(),
        "commands": {
            "inspect_methods": commands.methods(),
            "inspect_packs": commands.packs(),
            "quote": quote,
            "buy": buy,
            "status": commands.status_of_quote(),
            "fallback_quote": commands.quote(default_terms(offer, other)),
            "fallback_buy": commands.buy(method_id=other.method_id),
        },
        "workflow": {"steps": [{"command": step} for step in (commands.methods(), quote, buy, commands.quota())]},
    }


def _other(method: Method, reasons: Mapping[str, str | None]) -> Method:
    """The method to fall back to; the same when there is no other one."""
    others = (each for each in SPOKEN if each is not method and reasons[each.method_id] is None)
    return next(others, method)


def _requests(offer: Offer, commands: Commands) -> dict[str, Call | None]:
    """The same over HTTP, on the method that the client has no words for."""
    return {
        "quote": call_of(commands.quote(default_terms(offer, X402))),
        "buy": call_of(commands.buy(method_id=X402.method_id)),
        "status": calls.status_of_quote(QUOTE_ID),
    }
