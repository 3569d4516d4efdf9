"""What agents are told of humans that may own their organization. Contacts are shown redacted. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from api.http.views.plain import at
from billing.claim_states import CLAIMED, REQUESTED, UNCLAIMED
from billing.claims import Requested
from billing.contact_tables import Feedback
from billing.feedback import PREFIX
from ledger.ids import external


def redacted(contact: str) -> str:
    """`human@mail.example` as `h***@mail.example`."""
    name, _, place = contact.rpartition("@")
    return f"{name[:1]}***@{place}"


def requested(done: Requested, contact: str) -> dict[str, Any]:
    """A contact that was named. Whether it is anybody's who wants it is shown by a link that is opened, and only so."""
    return {
        "state": "attached" if done.attached else "unchanged",
        "claim_state": CLAIMED if done.claimed else UNCLAIMED,
        "claim_request_state": REQUESTED,
        "contact": redacted(contact),
        "link_sent": done.sent,
        "next_link_at": at(done.next_link_at),
    }


def feedback(found: Feedback) -> dict[str, Any]:
    """Feedback as the agent gave it."""
    return {
        "feedback_id": external(PREFIX, found.id),
        "created_at": at(found.created_at),
        "dedupe_key": found.dedupe_key,
        **found.said,
    }


def feedback_page(found: Sequence[Feedback]) -> list[dict[str, Any]]:
    """Feedback as operators read it: with who gave it."""
    return [
        feedback(one)
        | {"organization_id": external("org", one.organization_id), "agent_id": external("agt", one.agent_id)}
        for one in found
    ]
