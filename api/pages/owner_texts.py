"""What is said to humans that own an organization, or may. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from api.pages.texts import Tone, Words
from billing.refusals import Refusal

CLAIM: Final = Words(
    "Own this organization?",
    "An agent has named you as the human behind it. Nothing happens until you press the button.",
    "If you do not know what this is about, close this page. The link ends by itself.",
)
RETURN: Final = Words(
    "Welcome back", "This organization is yours. Press the button to see it.", "The link can be used once."
)
SIGN_IN: Final = Words("Sign in", "Give the address that your organization is kept under; a link is sent there.")
SENT: Final = Words(
    "Look into your mail",
    "If that address owns an organization here, a link is on its way to it. It can be used once.",
    "No more than a few links are sent in an hour.",
)
OWNER: Final = Words("Your organization", "What its agents spend, and what was paid for.", tone=Tone.CALM)
NEW_TOKEN: Final = Words(
    "A new token", "It is shown this once. All older tokens of this agent have ended.", tone=Tone.GOOD
)
RECEIPT: Final = Words("Receipt", "What was paid, and where it stands in the journal.", tone=Tone.CALM)
SIGNED_RECEIPT: Final = (
    "Save what stands below as a file. It is signed: “purser receipt verify” tells, without asking anybody, whether "
    "something in it was changed."
)
UNSIGNED_RECEIPT: Final = "This service does not sign its receipts. The hash still fits one journal only."
DONE: Final[Mapping[str, str]] = {
    "caps": "The caps are set.",
    "pause": "The agent is paused: it spends nothing until you let it.",
    "resume": "The agent may spend again.",
}
"""What was done before the page was loaded, by the word that its address may hold."""
UNUSABLE: Final = Words(
    "This link cannot be used",
    "It was used already, has expired, or is not whole.",
    "If you own an organization here, sign in to get a new link. If not, ask your agent for one.",
    tone=Tone.WARN,
)
OWNED: Final = Words(
    "Somebody owns this organization",
    "Another address has claimed it.",
    "Ask whoever runs this service; they can end an ownership.",
    tone=Tone.WARN,
)
LIMITED: Final = Words(
    "Nothing was done",
    "An operator limits this agent; an owner may only tighten that.",
    "Make a cap smaller, add one, or pause the agent. To loosen what stands, ask whoever runs this service.",
    tone=Tone.WARN,
)
LIMITED_AGENT: Final = "An operator limits this agent: you may tighten its caps and pause it, and loosen nothing."
FOREIGN_FORM: Final = Words(
    "Nothing was done",
    "This form did not come from one of our pages, or from one that is out of date.",
    "Open the page again and repeat it there.",
    tone=Tone.WARN,
)
TOO_OFTEN: Final = Words("Too many tries", "Please wait a minute, then try again.", tone=Tone.WARN)
NOT_UNDERSTOOD: Final = Words(
    "Nothing was done",
    "Something in it was not understood.",
    "A cap is a whole number of credits, or empty for no limit.",
    tone=Tone.WARN,
)
AGAIN: Final = Words("Please try again", "It could not be done just now. Nothing was changed twice.", tone=Tone.WARN)
_BY_REFUSAL: Final[Mapping[Refusal, Words]] = {
    Refusal.CLAIM_CONFLICT: OWNED,
    Refusal.RATE_LIMITED: TOO_OFTEN,
    Refusal.SCOPE_MISSING: FOREIGN_FORM,
    Refusal.STATE_CONFLICT: FOREIGN_FORM,
    Refusal.SPENDING_CONFLICT: FOREIGN_FORM,
    Refusal.INVALID_ARGUMENTS: NOT_UNDERSTOOD,
    Refusal.NOT_FOUND: Words("Not found", "There is nothing here by that name.", tone=Tone.WARN),
}


def of_refusal(refusal: Refusal) -> Words:
    """What a refusal means to a person."""
    return _BY_REFUSAL.get(refusal, AGAIN)
