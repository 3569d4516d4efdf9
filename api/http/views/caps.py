"""The caps of an agent: what it may spend, what it used of it, and when that frees up. Pure."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from api.http.views.plain import at, at_or_none
from ledger.allowances import Allowance, Window
from ledger.ids import external


def caps(organization_id: UUID, agent_id: UUID, found: Allowance | None) -> dict[str, Any]:
    """All caps of an agent. Nothing is counted before its caps are first set, so then there is nothing to show."""
    return {
        "organization_id": external("org", organization_id),
        "agent_id": external("agt", agent_id),
        **pause(found),
        "caps": windows(found),
    }


def pause(found: Allowance | None) -> dict[str, Any]:
    """Whether the agent may spend at all, and since when is counted what it spends."""
    return {
        "paused": found.paused if found is not None else False,
        "counted_since": at(found.total.began_at) if found is not None else None,
    }


def windows(found: Allowance | None) -> dict[str, Any]:
    """Each cap, what was used of it, and when it frees up."""
    return {
        "per_spend": {"limit": found.per_spend if found is not None else None},
        "per_hour": _window(found.per_hour if found is not None else None),
        "per_day": _window(found.per_day if found is not None else None),
        "per_month": _window(found.per_month if found is not None else None),
        "total": _window(found.total if found is not None else None),
    }


def _window(window: Window | None) -> dict[str, Any]:
    """A cap without a limit counts too, so that whoever sets one sees what it would have been used for."""
    if window is None:
        return {"limit": None, "used": None, "remaining": None, "window_started_at": None, "frees_up_at": None}
    return {
        "limit": window.limit,
        "used": window.used,
        "remaining": max(0, window.limit - window.used) if window.limit is not None else None,
        "window_started_at": at(window.began_at),
        "frees_up_at": at_or_none(window.frees_up_at),
    }
