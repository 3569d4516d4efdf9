"""Every expected "no", in order of precedence, with what follows from it. One table for code, documents and tests.

A refusal is decided inside a transaction that must leave nothing behind, so it travels as the exception `Refused`
and becomes an answer in one place (`api.http.envelope`). `exit_code` is what the public client ends with when it
differs from what the client makes of the HTTP status.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Rule:
    """What a refusal means over HTTP and what the caller should do next, in one sentence."""

    http_status: int
    retryable: bool
    message: str
    advice: str
    exit_code: int | None = None
    freezes_key: bool = False
    """Whether the same idempotency key is answered so for ever: go on with a fresh one."""


class Refusal(enum.Enum):
    """The closed list. The name is the code in the answer."""

    INVALID_ARGUMENTS = Rule(
        400, False, "the request is not valid", "Correct the field that the message names and send it again.", 2
    )
    WEBHOOK_SIGNATURE_INVALID = Rule(
        400, False, "the webhook signature is not valid", "Sign the raw body with the endpoint's current secret."
    )
    AUTH_REQUIRED = Rule(
        401, False, "a valid agent token is required", "Sign up for a token, or present the one you have as a bearer."
    )
    SIGN_IN_REFUSED = Rule(
        403,
        False,
        "this sign-in does not hold",
        "Send the same request without SIGN-IN-WITH-X for a new challenge, and sign that one.",
    )
    SCOPE_MISSING = Rule(
        403, False, "this key may not do that", "Ask whoever made the key for one with the scope that is named."
    )
    NOT_THE_MAKER = Rule(
        403,
        False,
        "another principal made this hold, and only that one may end it",
        "Leave it to whoever made the hold; an operator key with the scope admin may end it too.",
    )
    NOT_FOUND = Rule(404, False, "there is nothing here by that name", "Check the path or the id.")
    METHOD_NOT_ALLOWED = Rule(405, False, "this path does not take that method", "Use the method in the allow header.")
    BODY_TOO_LARGE = Rule(413, False, "the body is too large", "Send a smaller body.")
    BODY_TOO_SLOW = Rule(
        408, True, "the body did not arrive in time", "Send the same request again, and its whole body at once."
    )
    RATE_LIMITED = Rule(429, True, "too many requests", "Wait for the seconds in retry-after, then try again.")
    CREDIT_QUOTE_CONFLICT = Rule(
        409,
        False,
        "this idempotency key was used for a quote with other terms",
        "Repeat the same terms to get the first quote, or ask for new terms with a fresh key.",
    )
    CREDIT_PURCHASE_CONFLICT = Rule(
        409,
        False,
        "this idempotency key was used to buy another quote or on another rail",
        "Repeat the same purchase to see it, or buy this quote with a fresh key.",
    )
    CREDIT_QUOTE_PAYMENT_METHOD_MISMATCH = Rule(
        409, False, "the quote was made for another payment method", "Buy on the quote's own rail, or quote again."
    )
    CREDIT_QUOTE_ALREADY_PAID = Rule(
        409, False, "this quote has been paid; nothing more is due", "Look at its status, or ask for a new quote."
    )
    CREDIT_PURCHASE_IN_PROGRESS = Rule(
        409,
        False,
        "another purchase of this quote is open",
        "Finish or cancel that purchase; its status says what is due.",
    )
    CREDIT_QUOTE_EXPIRED = Rule(409, False, "the quote has expired", "Ask for a new quote.")
    PAYMENT_ATTEMPT_ALREADY_PAID = Rule(
        409, False, "the attempt has been paid and can no longer be canceled", "Look at its status."
    )
    PAYMENT_ATTEMPT_NOT_CANCELABLE = Rule(
        409, False, "a payment is on its way, so the attempt cannot be canceled", "Wait for its outcome."
    )
    PAYMENT_IDENTIFIER_CONFLICT = Rule(
        409,
        False,
        "this payment identifier was used with another payment",
        "Ask for the state of the payment that it was used with; nothing was taken by this one.",
    )
    PAYMENT_ALREADY_USED = Rule(
        409,
        False,
        "this signed payment has been presented for another purchase; nothing was taken again",
        "Look at the payment attempt that the recovery names; sign a new payment for this one.",
    )
    PAYER_BUSY = Rule(
        409,
        True,
        "payments of this wallet are under way that need all it has, or too many; nothing was taken by this one",
        "Wait until they have settled, then send the same request again.",
    )
    PAYER_REFUSED = Rule(
        403, False, "payments from this wallet are not taken", "Pay another way, or ask the operator of this service."
    )
    WALLET_SIGN_IN_FIRST = Rule(
        409,
        False,
        "the wallet that this organization was made for has not signed in yet; until then nobody is invited, linked or "
        "revoked here",
        "Sign in once from the wallet that paid, without a token: POST /v1/x402/sign-in. Go on with its new token.",
    )
    SPENDER_LIMITED = Rule(
        403,
        False,
        "an agent whose spending is limited invites, revokes and gives away nobody",
        "Ask an operator, or the owner of the organization, to lift the agent's caps and pause.",
    )
    LAST_AGENT = Rule(
        409,
        False,
        "the last agent of an organization cannot be revoked: nobody could reach its credits",
        "Invite another agent first.",
    )
    AGENT_LIMIT_REACHED = Rule(
        409, False, "the organization has as many agents as it may have", "Revoke an agent that is not needed."
    )
    SPENDING_CONFLICT = Rule(
        409,
        False,
        "this idempotency key was used for something else",
        "Repeat the same request to see its answer, or send this one with a fresh key.",
    )
    STATE_CONFLICT = Rule(
        409, False, "its state does not allow that", "Look at it again; its state says what can be done with it."
    )
    HOLD_EXPIRED = Rule(
        409,
        False,
        "the hold's deadline has passed and its credits went back",
        "Spend what the work cost with POST /v1/spends and a fresh key; next time extend the hold before its deadline.",
    )
    HOLD_CLOSED = Rule(
        409, False, "the hold was captured or voided and holds nothing any more", "Look at it with GET /v1/holds."
    )
    HOLD_FROZEN = Rule(
        409,
        True,
        "credits of this hold are frozen while their payment is questioned",
        "Capture again later, void the hold, or extend it.",
    )
    AMOUNT_EXCEEDS_REST = Rule(
        409, False, "that is more than is left", "Ask for at most the rest that the recovery names."
    )
    CREDITS_TOO_FRAGMENTED = Rule(
        409, False, "that many credits lie in too many small lots", "Spend them in several smaller parts."
    )
    GROUP_REFUSED = Rule(
        409,
        False,
        "another operation of the group was refused, so none was posted",
        "Look at the one that was refused.",
    )
    SPENDER_PAUSED = Rule(409, True, "spending of this agent is paused", "Ask an operator to end the pause.")
    SPEND_CAP_EXCEEDED = Rule(
        402,
        False,
        "that would exceed a spend cap of the agent",
        "Wait until the cap frees up, or ask an operator.",
        freezes_key=True,
    )
    PAYMENT_REQUIRED = Rule(
        402,
        False,
        "pay to go on: the PAYMENT-REQUIRED header says what, to whom and on which chain",
        "Sign the payment that the header asks for and send the same request again with PAYMENT-SIGNATURE.",
    )
    PAYMENT_FAILED = Rule(
        402,
        False,
        "the payment did not go through; nothing was taken",
        "Send the request again without PAYMENT-SIGNATURE (a quote: buy it with a fresh key) and sign a new payment.",
    )
    SIGN_IN_REQUIRED = Rule(
        402,
        False,
        "sign in with the wallet that paid: the PAYMENT-REQUIRED header has the challenge, and nothing is to be paid",
        "Sign the text of the challenge with the wallet and send the same request again with SIGN-IN-WITH-X.",
    )
    QUOTA_EXCEEDED = Rule(
        402, False, "there are not enough credits", "Buy credits, then send it with a fresh key.", freezes_key=True
    )
    DAILY_JOB_LIMIT_REACHED = Rule(
        429, True, "as many jobs were ordered today as may be", "Send it again after the time in reset_at (UTC)."
    )
    OPEN_JOBS_LIMIT_REACHED = Rule(
        429, True, "too many jobs of this organization are open", "Wait until some have ended, then send it again."
    )
    BUDGET_EXCEEDED = Rule(
        409,
        False,
        "that costs more than the request allows",
        "Raise max_estimated_usd_per_image to at least what the recovery names, or choose a cheaper model.",
    )
    CAPABILITY_UNAVAILABLE = Rule(
        409,
        False,
        "that model cannot carry this out now",
        "Choose a model that is available and executable: GET /v1/models?available=true&executable=true.",
        4,
    )
    JOB_ENDED = Rule(
        409,
        False,
        "the job has ended otherwise; what came too late changes nothing and charges nothing",
        "Look at the job: its status says how it ended.",
    )
    INPUT_POLICY_DENIED = Rule(
        422,
        False,
        "the content policy does not allow that; nothing was charged",
        "Change the prompt and send it with a fresh key.",
        6,
        freezes_key=True,
    )
    JOB_DEADLINE_PASSED = Rule(
        504,
        False,
        "the job was not done before its deadline; nothing was charged",
        "Send it with a fresh key.",
        8,
        freezes_key=True,
    )
    PROVIDER_FAILURE = Rule(
        502,
        False,
        "the job could not be done; nothing was charged",
        "Send it with a fresh key, perhaps for another model.",
        freezes_key=True,
    )
    ARTIFACT_STORAGE_WRITE_FAILED = Rule(
        502,
        False,
        "what was made could not be stored; nothing was charged",
        "Send it with a fresh key.",
        9,
        freezes_key=True,
    )
    CLAIM_CONFLICT = Rule(
        409, False, "this organization has an owner", "Ask its owner; an operator can end the ownership."
    )
    PAYMENT_PROVIDER_REFUSED = Rule(
        502, False, "the payment provider refused the request", "Quote again, perhaps on another payment method."
    )
    PAYMENT_METHOD_UNAVAILABLE = Rule(
        503, True, "this payment method is not available now", "Use another method, or try again later."
    )
    PAYMENT_OUTCOME_UNKNOWN = Rule(
        503,
        True,
        "the payment provider has not confirmed the request; nothing is lost and nothing will be asked twice",
        "Send the same request with the same idempotency key again.",
    )
    POSTING_OUTCOME_UNKNOWN = Rule(
        503,
        True,
        "the database did not answer in time, so the request may have been posted or not",
        "Send the same request with the same idempotency key until it is answered; nothing is posted twice.",
    )
    OVERLOADED = Rule(503, True, "too many requests are waiting; nothing was posted", "Send the same request again.")
    SERVICE_UNAVAILABLE = Rule(503, True, "the service cannot answer now", "Try the same request again.")
    INTERNAL_ERROR = Rule(500, True, "something went wrong on our side", "Try again; name the trace id if it persists.")

    @property
    def code(self) -> str:
        """The code in the answer's error object."""
        return self.name

    @property
    def rule(self) -> Rule:
        """What follows from the refusal."""
        return self.value


class Refused(Exception):
    """A refusal on its way to the caller. `recovery` says what to do next and is merged into the answer's."""

    def __init__(
        self, refusal: Refusal, message: str | None = None, *, recovery: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(message or refusal.rule.message)
        self.refusal = refusal
        self.message = message or refusal.rule.message
        self.recovery = dict(recovery or {})
