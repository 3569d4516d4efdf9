"""What the pages say. Pure. The payer may be anybody, so nothing is taken for known."""

from __future__ import annotations

import enum
from dataclasses import dataclass, replace
from typing import Final

from api.pages.screens import Kind, Paid, Screen
from billing.packs import STRIPE_X402, X402


class Tone(enum.StrEnum):
    """How a page looks at first sight; the value is a class in `style.css`."""

    GOOD = "good"
    CALM = "calm"
    WARN = "warn"
    BAD = "bad"


MARKS: Final = {Tone.GOOD: "✓", Tone.CALM: "…", Tone.WARN: "!", Tone.BAD: "✕"}


@dataclass(frozen=True, slots=True)
class Words:
    """Heading (also the title), what it means, and what to do; `link` leads on to the payment page."""

    heading: str
    lead: str
    advice: str = ""
    link: str = ""
    tone: Tone = Tone.CALM


_NOTHING_TAKEN: Final = "Nothing was taken. To pay, ask whoever sent you this link for a new one."

_BY_KIND: Final = {
    Kind.UNPAID: Words(
        "Not paid yet",
        "You left the payment page before paying. Nothing was taken.",
        "You can go on now, or open this link again later.",
        link="Continue to payment",
    ),
    Kind.WAITING: Words(
        "Waiting for confirmation",
        "You are back from the payment page. The payment provider has not confirmed the payment to us yet; "
        "this usually takes a few seconds.",
        "If you have not paid, you can still do so.",
        link="Back to the payment page",
    ),
    Kind.LAPSED: Words(
        "The time to pay is over",
        "Please do not send anything now.",
        "If your transfer is on its way already, leave this page open: it will say when the money has arrived.",
        tone=Tone.WARN,
    ),
    Kind.PROCESSING: Words(
        "Payment on its way",
        "Your payment was started, and your bank is still working on it. This can take some days.",
        "There is nothing left to do: you can close this page and open the link again later.",
    ),
    Kind.BUSY: Words(
        "One moment, please",
        "The payment provider cannot be reached right now. Your payment is not affected.",
        "This page tries again by itself in a few seconds.",
        link="Try again now",
        tone=Tone.WARN,
    ),
    Kind.PAID: Words(
        "Payment received",
        "Thank you. The credits have been added. You can close this page.",
        tone=Tone.GOOD,
    ),
    Kind.EXPIRED: Words("This payment link has expired", _NOTHING_TAKEN, tone=Tone.WARN),
    Kind.CANCELED: Words("This payment was canceled", _NOTHING_TAKEN, tone=Tone.WARN),
    Kind.FAILED: Words(
        "The payment did not work", "To try again, ask whoever sent you this link for a new one.", tone=Tone.BAD
    ),
}

_CHECKED: Final = Words(
    "Payment on its way",
    "Your payment was seen and has not been completed yet.",
    "Please do not pay again: there is nothing left to do. You can open this link again later.",
)
_FREE: Final = Words(
    "Nothing to pay",
    "The promotion covered the whole price. The credits have been added. You can close this page.",
    tone=Tone.GOOD,
)
_LESS: Final = Words(
    "Part of the payment received",
    "Less arrived than was asked for. The credits that it pays for have been added.",
    "Nothing more is due on this link: please do not send the rest.",
    tone=Tone.WARN,
)
_MORE: Final = Words(
    "Payment received",
    "More arrived than was asked for. The credits that were asked for have been added.",
    "The rest is kept. To get it back, contact whoever sent you this link.",
    tone=Tone.WARN,
)
_LATE: Final = "The offer had expired before the payment arrived; it was honoured all the same."

_CONFIRMING: Final = Words(
    "Transfer seen",
    "Your transfer was seen and is being confirmed. This usually takes less than a minute.",
    "Do not send it again: there is nothing left to do.",
)
_BY_DEPOSIT: Final = {
    Kind.PROCESSING: _CONFIRMING,
    Kind.EXPIRED: Words(
        "The time to pay is over",
        "Please do not send anything any more. To pay, ask whoever sent you this link for a new one.",
        "If you sent the money in time and this page does not say so, keep the hash of your transfer.",
        tone=Tone.WARN,
    ),
    Kind.CANCELED: Words(
        "This payment was canceled",
        "Please do not send anything to its address. To pay, ask whoever sent you this link for a new one.",
        tone=Tone.WARN,
    ),
}

_BY_SIGNATURE: Final = {
    Kind.SIGNING: Words(
        "Waiting for a wallet's signature",
        "The program that asked for this payment pays it by itself, from a wallet of its own.",
        "There is nothing for you to do here. Please do not send anything.",
    ),
    Kind.PROCESSING: _CONFIRMING,
}

_BY_METHOD: Final = {STRIPE_X402.method_id: _BY_DEPOSIT, X402.method_id: _BY_SIGNATURE}

RECEIPT: Final = Words("Receipt", "What was paid here. What is sent back later does not change it.", tone=Tone.GOOD)
SIGNED: Final = (
    "Whoever sent you the link can give you the whole receipt as a file. This is the file's signature, made with the "
    "key of that name: it fits only as long as nothing in the file is changed."
)
UNSIGNED: Final = "This service does not sign its receipts."
NO_RECEIPT: Final = Words(
    "No receipt here",
    "There is no receipt under this link, or not yet.",
    "How the payment stands is told by its own link: this one, without “/receipt” at the end.",
    tone=Tone.WARN,
)
NOT_FOUND: Final = Words(
    "Payment not found",
    "There is no payment under this link.",
    "Check that the whole link was copied, or ask whoever sent it to you for a new one.",
    tone=Tone.WARN,
)
UNAVAILABLE: Final = Words(
    "Back in a moment",
    "This page cannot be shown right now. Your payment is not affected.",
    "It tries again by itself in a few seconds.",
    link="Try again now",
    tone=Tone.WARN,
)
BROKEN: Final = Words(
    "Something went wrong",
    "The fault is ours. Your payment is not affected.",
    "Please try again in a minute.",
    link="Try again",
    tone=Tone.BAD,
)


def words(shown: Screen) -> Words:
    """What the page of `shown` says."""
    if shown.kind is Kind.DEPOSIT and shown.deposit is not None:
        asked = shown.deposit
        return Words(
            f"Pay with {asked.token} on {asked.network}", "Scan the code with your wallet, or copy the details."
        )
    if shown.paid is not None:
        return _of_paid(shown.paid)
    if shown.kind is Kind.PROCESSING and shown.questioned:
        return _CHECKED
    return _BY_METHOD.get(shown.method_id, {}).get(shown.kind) or _BY_KIND[shown.kind]


def _of_paid(paid: Paid) -> Words:
    if paid.missing_cents:
        return _LESS if paid.missing_cents > 0 else _MORE
    said = _FREE if paid.total_cents == 0 else _BY_KIND[Kind.PAID]
    return replace(said, advice=_LATE) if paid.late else said
