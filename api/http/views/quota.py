"""The balance, and how to top it up before it is needed. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from api.http import calls
from api.http.calls import Call
from api.http.commands import QUOTE_ID, SPOKEN, Commands, call_of
from api.http.views.catalog import default_terms, path_of, preferred_method, quote_effect
from api.http.views.people import CLAIM_STATE
from api.http.views.plain import CREDIT_UNIT_CENTS, CURRENCY, limits
from billing.packs import X402, Method, Offer
from ledger.statements import Balance

LOW_CREDITS: Final = 100
"""With fewer credits than this an agent should top up before it starts something."""


@dataclass(frozen=True, slots=True)
class Urgency:
    """How much a top-up is needed, in the contract's words."""

    level: str
    score: int
    reason: str


AVAILABLE: Final = Urgency("available", 0, "available")
LOW: Final = Urgency("near_wall", 80, "low_remaining_credits")
DEPLETED: Final = Urgency("blocked", 100, "credits_depleted")


def urgency(balance: Balance) -> Urgency:
    """How much `balance` needs a top-up."""
    if balance.spendable <= 0:
        return DEPLETED
    return LOW if balance.spendable < LOW_CREDITS else AVAILABLE


def quota(
    balance: Balance, offer: Offer, reasons: Mapping[str, str | None], commands: Commands, *, live_money: bool
) -> dict[str, Any]:
    """What the agent's organization can spend. There are no daily limits, so `daily_jobs` is absent, never null."""
    return {
        "authenticated": True,
        "claim_state": CLAIM_STATE,
        "token_status": "active",
        "limits": limits(balance),
        "credit_unit_cents": CREDIT_UNIT_CENTS,
        "currency": CURRENCY,
        "live_money": live_money,
        "top_up": top_up(balance, offer, reasons, commands),
        # Beside `top_up`, which is the public client's: its guide repeats all of that.
        "top_up_requests": _requests(offer, commands) if reasons[X402.method_id] is None else None,
        "next_actions": {},
    }


def top_up(balance: Balance, offer: Offer, reasons: Mapping[str, str | None], commands: Commands) -> dict[str, Any]:
    """Whether to top up with the public client, and the commands that do it, in order.

    All are there even when no method that it has words for is available.
    """
    needed = urgency(balance)
    offered = preferred_method(reasons, SPOKEN)
    method = offered or SPOKEN[0]
    other = _other(method, reasons)
    quote, buy = commands.quote(default_terms(offer, method)), commands.buy(method_id=method.method_id)
    return {
        "available": offered is not None,
        "recommended": offered is not None and needed is not AVAILABLE,
        "recommendation_reason": needed.reason,
        "urgency": needed.level,
        "urgency_score": needed.score,
        "urgency_reasons": [] if needed is AVAILABLE else [needed.reason],
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
