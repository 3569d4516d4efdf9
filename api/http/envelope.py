"""The one shape of every answer. Source: the public client's contract; it refuses any JSON without the key `ok`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from litestar import Response
from litestar.serialization import encode_json
from litestar.types import HTTPResponseStartEvent, Receive, Scope, Send

from api.http.context import AnyConnection, actor_or_none, house_of, trace_id_of
from api.http.views.people import as_actor
from api.settings import Settings

CLIENT: Final = "image-skill"
SANDBOX_WARNING: Final = "This service talks to a sandbox instead of Stripe: no real money moves."


@dataclass(frozen=True, slots=True)
class Envelope:
    """`ok` decides success, not the HTTP status; `warnings` is a list on errors too, or the client crashes."""

    ok: bool
    command: str
    trace_id: str
    actor: dict[str, Any] | None = None
    data: dict[str, Any] | None = None
    warnings: list[str] = field(default_factory=list)
    error: dict[str, Any] | None = None


class Answer(Response[Envelope]):
    """An envelope as an answer of ASGI: a head and a body of JSON, with no cookies and nothing in the background.

    Litestar's own is for any content, and looks at its media type, headers, cookies and encoders for each answer.
    """

    status_code: int

    def __init__(
        self, content: Envelope, *, status_code: int, headers: Mapping[str, str] | None = None, **_: Any
    ) -> None:
        self.content, self.status_code, self.headers = content, status_code, dict(headers or {})

    def to_asgi_response(self, *_: Any, **__: Any) -> Any:
        """The answer as something that sends itself."""
        return self._send

    async def _send(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - the names of ASGI
        body = encode_json(self.content)
        head = [(name.encode(), value.encode()) for name, value in self.headers.items()]
        head += [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        start: HTTPResponseStartEvent = {"type": "http.response.start", "status": self.status_code, "headers": head}
        await send(start)
        await send({"type": "http.response.body", "body": body, "more_body": False})


def standing_warnings(settings: Settings) -> list[str]:
    """What every answer of this service warns of."""
    return [SANDBOX_WARNING] if settings.stripe_api_base and not settings.livemode else []


def command_of(connection: AnyConnection) -> str:
    """The client's words for what was asked; only its name where no route was found."""
    handler = connection.scope.get("route_handler")
    words = handler.opt.get("command") if handler is not None else None
    return f"{CLIENT} {words}" if words else CLIENT


def answer(
    connection: AnyConnection,
    data: Mapping[str, Any],
    *,
    warnings: Sequence[str] = (),
    actor: dict[str, Any] | None = None,
) -> Envelope:
    """A success. The actor is the agent that authenticated, unless another is named."""
    known = actor_or_none(connection)
    return Envelope(
        ok=True,
        command=command_of(connection),
        trace_id=trace_id_of(connection),
        actor=actor or (as_actor(known.agent_id, known.organization_id, claimed=known.claimed) if known else None),
        data=dict(data),
        warnings=[*warnings, *standing_warnings(house_of(connection).settings)],
    )


def refusal(connection: AnyConnection, error: Mapping[str, Any]) -> Envelope:
    """A failure. It never names the actor."""
    return Envelope(
        ok=False,
        command=command_of(connection),
        trace_id=trace_id_of(connection),
        warnings=standing_warnings(house_of(connection).settings),
        error=dict(error),
    )
