"""A letter's body as an operator may see it: without secrets, and without who the payer is. Pure.

Struck out are fields by their names, and whatever looks like a key, a token, a card number, an e-mail address or a link
wherever it stands (Stripe's links to receipts and pages open without a login). Ids, amounts, states and times stay, and
so do transaction hashes and addresses of a chain outside the fields that are called so.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final

BODY_CHARACTERS_MAX: Final = 20_000
LEVELS_MAX: Final = 32
"""Stripe's objects have about ten."""
REDACTED: Final = "[redacted]"
TOO_DEEP: Final = "[not shown: nested too deeply]"
_HIDDEN_FIELD: Final = re.compile(
    r"secret|password|token$|signature|private|authorization|api_?key"
    r"|email|phone|address|billing_details|customer_details|^shipping(_details)?$|tax_ids|evidence|url$|(^|_)name$",
    re.IGNORECASE,
)
_HIDDEN_VALUE: Final = re.compile(
    r"(?P<kept>\b0x[0-9a-f]{40}(?:[0-9a-f]{24})?\b)"  # digits of a chain's hash are no card number
    r"|(?P<start>(?:sk|rk|whsec|isk_r|pok)_[a-z0-9_]{4})[a-z0-9_]+"
    r"|_secret_[a-z0-9]+|(?<![a-z0-9])(?-i:eyJ)[\w.-]+|bearer\s+[\w.~+/=-]+"
    r"|https?://\S+|[\w.+-]{1,64}@[\w-]+\.[\w.-]+"
    r"|(?<!\d)(?:\d[ .-]?){12,18}\d(?!\d)",
    re.IGNORECASE,
)


def body(raw: bytes) -> Any:
    """A letter's body without secrets: decoded where it is JSON, else its beginning as text."""
    try:
        return redacted(json.loads(raw))
    except RecursionError:
        return TOO_DEEP
    except ValueError:
        return _struck(raw.decode("utf-8", errors="replace")[:BODY_CHARACTERS_MAX])


def redacted(value: Any, *, levels: int = LEVELS_MAX) -> Any:
    """The same JSON with what nobody needs to see struck out, and with a mark for what lies deeper than `levels`."""
    if isinstance(value, dict | list) and levels == 0:
        return TOO_DEEP
    if isinstance(value, dict):
        return {
            _struck(name): REDACTED
            if _HIDDEN_FIELD.search(name) and inside is not None
            else redacted(inside, levels=levels - 1)
            for name, inside in value.items()
        }
    if isinstance(value, list):
        return [redacted(inside, levels=levels - 1) for inside in value]
    if isinstance(value, str):
        return _struck(value)
    return REDACTED if _HIDDEN_VALUE.search(repr(value)) else value


def _struck(text: str) -> str:
    return _HIDDEN_VALUE.sub(lambda found: found["kept"] or (found["start"] or "") + REDACTED, text)
