"""What a route says of itself: the client's words for it, and the models of its body and query string."""

from __future__ import annotations

from typing import Any

from api.http.fields import Asking


def described(command: str, *, body: type[Asking] | None = None, query: type[Asking] | None = None) -> dict[str, Any]:
    """The `opt` of a route."""
    return {"command": command, "body": body, "query": query}
