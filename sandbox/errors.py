"""Stripe's error shape and the refusals the sandbox can give.

Follows https://docs.stripe.com/api/errors (types, HTTP statuses) and https://docs.stripe.com/error-codes (codes).
"""

from dataclasses import dataclass

DOC_URL = "https://stripe.com/docs/error-codes/"


@dataclass(eq=False)
class Refusal(Exception):
    """A request that Stripe answers with an error object.

    `ran` says whether the endpoint had begun to execute: only then is the answer stored under the idempotency key
    (https://docs.stripe.com/api/idempotent_requests).
    """

    status: int
    message: str
    type: str = "invalid_request_error"
    code: str | None = None
    param: str | None = None
    decline_code: str | None = None
    ran: bool = False

    def body(self, request_id: str) -> dict[str, object]:
        """The JSON answer; `request_log_url` names the request as Stripe's dashboard link does."""
        error: dict[str, object] = {"message": self.message, "type": self.type}
        if self.code is not None:
            error |= {"code": self.code, "doc_url": DOC_URL + self.code.replace("_", "-")}
        if self.param is not None:
            error["param"] = self.param
        if self.decline_code is not None:
            error["decline_code"] = self.decline_code
        error["request_log_url"] = f"https://dashboard.stripe.com/test/logs/{request_id}"
        return {"error": error}


def unknown_parameter(*names: str) -> Refusal:
    """A parameter that the requested version does not know."""
    plural = "s" if len(names) > 1 else ""
    message = f"Received unknown parameter{plural}: {', '.join(names)}"
    return Refusal(400, message, code="parameter_unknown", param=names[0])


def missing_parameter(name: str) -> Refusal:
    """A parameter without which the endpoint does not begin."""
    return Refusal(400, f"Missing required param: {name}.", code="parameter_missing", param=name)


def invalid(name: str, message: str, code: str | None = None) -> Refusal:
    """A parameter whose value cannot be taken."""
    return Refusal(400, message, code=code, param=name)


def not_played(name: str) -> Refusal:
    """Known to Stripe, but not part of this pretence; said plainly instead of being ignored."""
    message = f"The sandbox does not play this: {name}. Stripe knows it; this pretend Stripe does not."
    return Refusal(400, message, code="sandbox_not_played", param=name)


def missing_resource(kind: str, identifier: str, param: str = "id") -> Refusal:
    """An id that names nothing of this account."""
    message = f"No such {kind}: '{identifier}'"
    return Refusal(404, message, code="resource_missing", param=param, ran=True)


def wrong_state(message: str, code: str | None = None, param: str | None = None) -> Refusal:
    """The object exists but is not in a state that allows this; stored under the key, as the endpoint ran."""
    return Refusal(400, message, code=code, param=param, ran=True)


def card_declined(status: int = 402) -> Refusal:
    """The generic decline of https://docs.stripe.com/testing#declined-payments."""
    return Refusal(
        status,
        "Your card was declined.",
        type="card_error",
        code="card_declined",
        decline_code="generic_decline",
        ran=True,
    )


def server_error() -> Refusal:
    """Stripe's own failure, stored and replayed like any other answer once the endpoint had begun."""
    message = "An unknown error occurred. (The sandbox was told to fail.)"
    return Refusal(500, message, type="api_error", ran=True)
