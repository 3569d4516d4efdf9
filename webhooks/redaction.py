"""A letter's body as an operator may see it: without secrets. Pure."""

from __future__ import annotations

import json
import re
from typing import Any, Final

BODY_CHARACTERS_MAX: Final = 20_000
REDACTED: Final = "[redacted]"
_SECRET_FIELD: Final = re.compile(r"secret|password|token$|signature|private|authorization|api_?key", re.IGNORECASE)
_SECRET_VALUE: Final = re.compile(
    r"((?:sk|rk|whsec|isk_r|pok)_[A-Za-z0-9_]{4})[A-Za-z0-9_]+|\b(?:\d[ -]?){13,19}\b|_secret_[A-Za-z0-9]+"
)


def body(raw: bytes) -> Any:
    """A letter's body without secrets: decoded where it is JSON, else its beginning as text."""
    try:
        return redacted(json.loads(raw))
    except ValueError:
        return _without_secrets(raw.decode("utf-8", errors="replace")[:BODY_CHARACTERS_MAX])


def redacted(value: Any) -> Any:
    """The same JSON with secret fields and everything that looks like a key or a card number struck out."""
    if isinstance(value, dict):
        return {
            name: REDACTED if _SECRET_FIELD.search(name) and inside is not None else redacted(inside)
            for name, inside in value.items()
        }
    if isinstance(value, list):
        return [redacted(inside) for inside in value]
    return _without_secrets(value) if isinstance(value, str) else value


def _without_secrets(text: str) -> str:
    return _SECRET_VALUE.sub(lambda found: (found.group(1) or "") + REDACTED, text)
