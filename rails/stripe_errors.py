"""What a failed call to Stripe means: carried out, certainly not, or nobody knows. Pure.

| what came back | outcome | a write raises | a read raises | Stripe serves |
| --- | --- | --- | --- | --- |
| no connection | `NOT_SENT` | `RailUnavailable` | `RailUnavailable` | no |
| 429, or code `rate_limit` | `BUSY` | `RailUnavailable` | `RailUnavailable` | no |
| 409, another request holds the key | `CONFLICT` | `RailUnavailable` | `RailUnavailable` | yes |
| 401, 403 | `KEY_REFUSED` | `RailUnavailable` | `RailUnavailable` | no, at once |
| any other 4xx in Stripe's shape | `REFUSED` | `ProviderRefused` | `ProviderRefused` | yes |
| the same 5xx again, replayed from the key | `STORED` | `OutcomeStored` | `RailUnavailable` | yes |
| the key was used with other content | `STORED` | `OutcomeStored` | `RailUnavailable` | yes |
| anything else | `UNKNOWN` | `OutcomeUnknown` | `RailUnavailable` | no |

Anything else is a 5xx, a 424, a time-out, a dropped connection or an answer that is not Stripe's. A 500 is unknown
although it is an answer: Stripe may have done part of the work, stores the 500 and replays it under the key. Sources:
https://docs.stripe.com/api/errors, https://docs.stripe.com/api/idempotent_requests,
https://docs.stripe.com/error-low-level.
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass
from typing import Final

from rails.rail import OutcomeStored, OutcomeUnknown, ProviderRefused, RailUnavailable

MESSAGE_CHARS_MAX: Final = 300
IDEMPOTENCY_ERROR: Final = "idempotency_error"
"""The key was used with other parameters: after a restore from a backup, by ourselves. What it made can be found."""

_WORD: Final = re.compile(r"[\w*]+(?::[\w*]+)*", re.ASCII)
_NAME: Final = re.compile(r"[a-z]+\d?(?:_[a-z]{1,12}\d?)*", re.ASCII)
"""How parameters and codes are spelled: `payment_intent_data`, `address_line1`."""
_MIXED: Final = re.compile(r"[a-z]{2,10}_(?=\w*[A-Z0-9*])[\w*]{4,}", re.ASCII)
_OF_A_KIND: Final = re.compile(
    r"(?:\b|_)(?:acct|ba|ch|cs|cus|evt|payatt|pi|pm|prod|req|seti|src|tok|txn)_(?:\w*_)?[^\W_]{8}"
    r"|(?:\b|_)(?:[prs]k_(?:live|test)|whsec)_[\w*]"
    r"|_[^\W_]{21}",
    re.ASCII,
)
"""Ids behind the prefix of their kind, keys and secrets, and what is longer than any word in a name."""


class Outcome(enum.Enum):
    """What can be said about a call that did not succeed."""

    NOT_SENT = "not sent"
    BUSY = "busy"
    CONFLICT = "conflict"
    KEY_REFUSED = "key refused"
    REFUSED = "refused"
    STORED = "stored"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Failure:
    """A call that did not succeed. `status` is None without an answer; then `sent` says if bytes may have left."""

    status: int | None
    sent: bool = True
    type: str | None = None
    code: str | None = None
    message: str | None = None
    replayed: bool = False
    """Whether the answer is the one that was stored under the key before (`Idempotent-Replayed: true`)."""
    cause: str = ""
    """The network error's name, as in `ReadTimeout`."""


_BY_STATUS: Final = {
    401: Outcome.KEY_REFUSED,
    403: Outcome.KEY_REFUSED,
    409: Outcome.CONFLICT,
    424: Outcome.UNKNOWN,
    429: Outcome.BUSY,
}


def outcome(failure: Failure) -> Outcome:
    """The line of the table above that `failure` falls under."""
    if failure.status is None:
        return Outcome.UNKNOWN if failure.sent else Outcome.NOT_SENT
    if failure.code == "rate_limit":
        return Outcome.BUSY
    if failure.status in _BY_STATUS:
        return _BY_STATUS[failure.status]
    if (failure.status >= 500 and failure.replayed) or failure.type == IDEMPOTENCY_ERROR:
        return Outcome.STORED
    stripe_shaped = failure.type is not None
    return Outcome.REFUSED if 400 <= failure.status < 500 and stripe_shaped else Outcome.UNKNOWN


def reason(failure: Failure) -> str:
    """What happened, in words that may be shown to anybody and tell an operator where to look."""
    match outcome(failure):
        case Outcome.NOT_SENT:
            return f"Stripe cannot be reached ({failure.cause})"
        case Outcome.KEY_REFUSED if failure.status == 401:
            return "Stripe does not accept the secret key of this service: check the Stripe secret key setting"
        case Outcome.KEY_REFUSED:
            return "the key in the Stripe secret key setting lacks a permission that this service needs"
        case Outcome.BUSY:
            return "Stripe asks for fewer requests (429)"
        case Outcome.CONFLICT:
            return "Stripe is still busy with a request under the same key (409)"
        case Outcome.STORED:
            return f"Stripe keeps {failure.status} as its answer to this key"
        case _ if failure.status is None:
            return f"Stripe gave no answer ({failure.cause})"
        case _:
            return f"Stripe answered {failure.status}"


def exception(failure: Failure, *, writing: bool) -> Exception:
    """What a rail raises for `failure`; `writing` when the call may have changed something at Stripe."""
    match outcome(failure):
        case Outcome.REFUSED:
            code = failure.code or failure.type or "refused"
            return ProviderRefused(code=code, message=safe(failure.message or "Stripe refused the request"))
        case Outcome.STORED if writing:
            return OutcomeStored(reason(failure))
        case Outcome.UNKNOWN if writing:
            return OutcomeUnknown(reason(failure))
        case _:
            return RailUnavailable(reason(failure))


def safe(message: str) -> str:
    """`message` without ids, keys and client secrets, our provider keys too, and not longer than 300 characters.

    Stripe does not promise how ids look, so words are judged: an id has a digit, a capital or a mask behind its prefix,
    or, where it has only small letters, a prefix that is known or more of them than a name would have. A word that
    holds one goes whole.
    """
    return _WORD.sub(_without_id, message)[:MESSAGE_CHARS_MAX]


def _without_id(found: re.Match[str]) -> str:
    word = found[0]
    is_id = _OF_A_KIND.search(word) or (_MIXED.search(word) and not _NAME.fullmatch(word))
    return "[redacted]" if is_id else word
