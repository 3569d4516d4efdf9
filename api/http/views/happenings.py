"""The activity of an organization. Pure."""

from __future__ import annotations

from typing import Any, Final

from api.http.views.plain import at
from billing.feed import Page
from billing.tables import ActivityEvent
from ledger.ids import external

SOURCE: Final = "hosted_activity_ledger"
_LINKS: Final[dict[str, Any]] = {"job_id": None, "asset_ids": [], "feedback_id": None, "usage_event_id": None}


def event_view(event: ActivityEvent) -> dict[str, Any]:
    """One event."""
    return {
        "event_id": external("evt", event.id),
        "type": event.type,
        "occurred_at": at(event.occurred_at),
        "summary": event.summary,
        "operation": event.operation,
        "subject": {"type": event.subject_type, "id": event.subject_id},
        "links": _LINKS | event.links,
        "status": event.status,
        "cost": event.cost,
    }


def events_page(page: Page) -> dict[str, Any]:
    """Some events, newest first. A page may come short, even empty, and still have a `next_cursor`."""
    return {
        "events": [event_view(event) for event in page.events],
        "next_cursor": page.following.text() if page.following is not None else None,
        "source": SOURCE,
    }
