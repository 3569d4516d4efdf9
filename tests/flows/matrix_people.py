"""The isolation matrix of claims, feedback, and the pages of humans."""

from billing.scopes import Scope
from tests.flows.matrix import UNKNOWN, Case, OfOperators, Private, Public, Request

END = f"/v1/operator/organizations/org_{UNKNOWN}/owner/end"
LINK = (("link", f"claim_{UNKNOWN}"),)
FORMS = ("caps", "pause", "resume", "token", "switch", "end", "sign-in")

MATRIX: dict[str, list[Case]] = {
    "POST /v1/agent-claims": [Private()],
    "POST /v1/feedback": [Private()],
    "GET /v1/operator/feedback": [OfOperators(Scope.OPERATE, Request("/v1/operator/feedback"), also=Scope.READ)],
    "POST /v1/operator/organizations/{organization_id}/owner/end": [
        OfOperators(Scope.ADMIN, Request(END, {"idempotency_key": "{key}", "reason": "a test"})),
    ],
    # Who has a link may open it; who has none is told so.
    "GET /claim/{link}": [Public(status=404, named=LINK)],
    "GET /owner": [Public(status=303)],
    "GET /owner/receipts/{receipt_id}": [Public(status=303, named=(("receipt_id", f"receipt_{UNKNOWN}"),))],
    "GET /owner/sign-in": [Public()],
    # A form that no page of ours has sent does nothing, whoever sends it.
    "POST /claim/{link}": [Public(status=403, named=LINK)],
    **{f"POST /owner/{form}": [Public(status=403)] for form in FORMS},
}
