"""Idempotency keys (https://docs.stripe.com/api/idempotent_requests).

At most 255 characters, on POST only, kept 24 hours. The first answer of an endpoint that began to execute is stored,
a 500 too, and replayed with `Idempotent-Replayed: true`; other parameters or another path under the same key are an
error; a request that failed validation, or came while the first was still running (409), stores nothing.
"""

import hashlib
import json

from sandbox.errors import Refusal
from sandbox.state import Json, World

KEY_LENGTH_MAX = 255
KEPT_S = 24 * 3600


def fingerprint(parameters: Json) -> str:
    """What makes two requests the same: their parameters."""
    return hashlib.sha256(json.dumps(parameters, sort_keys=True).encode()).hexdigest()


def stored(world: World, key: str, path: str, parameters: Json) -> Json | None:
    """The answer to replay, or `None` for a new key; raises `Refusal` for a key that cannot be used so."""
    if len(key) > KEY_LENGTH_MAX:
        raise Refusal(400, f"Idempotency keys must be at most {KEY_LENGTH_MAX} characters long.")
    if key in world.keys_in_progress:
        raise Refusal(
            409,
            "There is currently another in-progress request using this Idempotent Key (that probably means you "
            f"submitted twice, and the other request is still going through): {key}. Please try again later.",
            type="idempotency_error",
            code="idempotency_key_in_use",
        )
    found = world.store.get("idempotency_key", key)
    if found is None or found["created"] + KEPT_S <= world.now():
        return None
    if found["path"] != path:
        raise _misused(key, f"for the same endpoint they were first used for ('{found['path']}' vs '{path}')")
    if found["fingerprint"] != fingerprint(parameters):
        raise _misused(key, "with the same parameters they were first used with")
    return found


def store(world: World, key: str, *, path: str, parameters: Json, status: int, body: Json, request_id: str) -> None:
    """Keep the first answer for its 24 hours."""
    row = {"id": key, "path": path, "fingerprint": fingerprint(parameters), "created": world.now()}
    world.store.put("idempotency_key", key, {**row, "status": status, "body": body, "request_id": request_id})


def _misused(key: str, how: str) -> Refusal:
    message = (
        f"Keys for idempotent requests can only be used {how}. "
        f"Try using a key other than '{key}' if you meant to execute a different request."
    )
    return Refusal(400, message, type="idempotency_error")
