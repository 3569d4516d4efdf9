"""A letter's body as an operator may see it: without secrets, and without who the payer is; and for good. Pure.

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
ERASED: Final = "[erased]"
_PERSONAL: Final = (
    r"email|phone|address|billing_details|customer_details|^shipping(_details)?$|tax_ids|evidence|url$|(^|_)name$"
)
_PERSONAL_FIELD: Final = re.compile(_PERSONAL, re.IGNORECASE)
_HIDDEN_FIELD: Final = re.compile(
    rf"secret|password|token$|signature|private|authorization|api_?key|{_PERSONAL}", re.IGNORECASE
)
_ADDRESS: Final = re.compile(r"[\w.+-]{1,64}@[\w-]+\.[\w.-]+")
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


def impersonal(raw: bytes, *, contact: str | None = None) -> bytes:
    """A letter's body for good without who it is about: ids, amounts, states and times stay, and so does its shape.

    Fields of persons become `ERASED` (links too: they open pages about the payer), and so does each e-mail address
    that stands elsewhere, and `contact`. Doing it twice changes nothing. What is no JSON becomes `null`.
    """
    try:
        found = json.loads(raw)
    except (ValueError, RecursionError):
        return b"null"
    erased = _erased(found, contact, levels=LEVELS_MAX)
    return raw if erased == found else json.dumps(erased, separators=(",", ":")).encode()


def without_addresses(text: str, *, contact: str | None = None) -> str:
    """The text with `ERASED` for every e-mail address in it, and for `contact`."""
    struck = re.sub(re.escape(contact), ERASED, text, flags=re.IGNORECASE) if contact else text
    return _ADDRESS.sub(ERASED, struck)


def _erased(value: Any, contact: str | None, *, levels: int) -> Any:
    if isinstance(value, dict | list) and levels == 0:
        return ERASED
    if isinstance(value, dict):
        return {
            without_addresses(name, contact=contact): ERASED
            if _PERSONAL_FIELD.search(name) and inside not in (None, {}, [])
            else _erased(inside, contact, levels=levels - 1)
            for name, inside in value.items()
        }
    if isinstance(value, list):
        return [_erased(inside, contact, levels=levels - 1) for inside in value]
    return without_addresses(value, contact=contact) if isinstance(value, str) else value


def _struck(text: str) -> str:
    return _HIDDEN_VALUE.sub(lambda found: found["kept"] or (found["start"] or "") + REDACTED, text)
