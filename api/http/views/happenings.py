"""The activity of an organization. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from api.http.views.plain import at
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


def events_page(events: Sequence[ActivityEvent], *, limit: int) -> dict[str, Any]:
    """At most `limit` of `events`, newest first; `events` holds one more when there are more."""
    page = events[:limit]
    more = len(events) > limit
    return {
        "events": [event_view(event) for event in page],
        "next_cursor": external("evt", page[-1].id) if more else None,
        "source": SOURCE,
    }
