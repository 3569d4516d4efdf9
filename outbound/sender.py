"""Sending a link to a human, by the product's own means: it knows how to write mail, we do not.

What is sent: `POST` of a JSON object, signed as `signing` says. `webhook-id` is the same for the same link, so that it
is sent once however often we ask. Any 2xx says that it will be sent.

    {"type": "claim_link", "contact": "…", "link": "https://…", "organization_id": "org_…"}

Who has the link can claim the organization: it stands in no log line, error or `repr` of this module.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Protocol

from outbound import signing
from outbound.door import Door, NotSent


class Sender(Protocol):
    """Sends links to people."""

    async def send(self, *, contact: str, link: str, organization_id: str) -> None:
        """Send `link` to `contact`, as written by the agent of `organization_id`. Raises `NotSent`."""


class CallingSender:
    """Has the product send links."""

    def __init__(self, door: Door, url: str, secrets: Sequence[str], clock: Callable[[], datetime]) -> None:
        """`secrets` are `whsec_…`, all current. Raises `ValueError` for a secret and `Forbidden` for a URL."""
        door.check(url)
        signing.signed(secrets, "", clock(), b"")
        self._door, self._url, self._secrets, self._clock = door, url, tuple(secrets), clock

    def __repr__(self) -> str:
        return "CallingSender()"

    async def send(self, *, contact: str, link: str, organization_id: str) -> None:
        """Ask the product to send `link` to `contact`. Raises `NotSent`."""
        said = {"type": "claim_link", "contact": contact, "link": link, "organization_id": organization_id}
        body = json.dumps(said, separators=(",", ":")).encode()
        message_id = "link_" + hashlib.sha256(link.encode()).hexdigest()[:32]
        reply = await self._door.post(self._url, body, signing.signed(self._secrets, message_id, self._clock(), body))
        if not 200 <= reply.status < 300:
            raise NotSent(f"the sender answered HTTP {reply.status}")
