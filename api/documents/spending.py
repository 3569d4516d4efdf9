"""The part of `/skill.md` on spending credits: at once, with a hold, and on a job. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from api.documents.markdown import request, table
from api.documents.particulars import Particulars
from billing.pricing import Model, Policy


def spending(_: Particulars) -> Iterator[str]:
    """Spending at once, and with a hold."""
    yield from ("## 3. Spend", "", "At once:", "")
    yield from request("POST", "/v1/spends", {"credits": 5, "idempotency_key": "spend-1"})
    yield from ("", "Or hold the most that the work may cost, and capture what it did cost; the rest goes back:", "")
    hold = {"credits": 5, "expires_in_seconds": 600, "idempotency_key": "hold-1"}
    yield from request("POST", "/v1/holds", hold)
    yield ""
    yield from request("POST", "/v1/holds/HOLD_ID/capture", {"credits": 3, "idempotency_key": "capture-1"})
    yield from (
        "",
        "`data.limits` is what is left right after. Not needed after all:",
        "`POST /v1/holds/{hold_id}/void`. Takes longer:",
        "`POST /v1/holds/{hold_id}/extend` before the deadline. Credits are taken from what expires first.",
        "",
    )


def jobs(here: Particulars) -> Iterator[str]:
    """What credits buy here, and ordering it."""
    yield from ("## 4. Order a job", "")
    rows = [
        (f"`{model.id}`", f"{model.modality}: {', '.join(model.operations)}", price(model), _standing(model))
        for model in here.prices.models
    ]
    yield from table(("model", "what", "credits", "now"), rows)
    body = {"prompt": "PROMPT", "dry_run": True}
    yield from ("", "`GET /v1/models/{model_id}` has the parameters of one. First the plan, which costs nothing:", "")
    yield from request("POST", "/v1/create", body)
    yield from ("", "Then the job itself; its credits are held, and charged only when it is made:", "")
    order = {"prompt": "PROMPT", "max_estimated_usd_per_image": 1, "idempotency_key": "job-1"}
    yield from request("POST", "/v1/create", order)
    yield from (
        "",
        "`data.status` is `completed` with `data.assets` (links) and a receipt, or `queued` or `running`: then ask",
        "`GET /v1/jobs/{job_id}` until it has ended.",
        "`max_estimated_usd_per_image` is the most that one picture may cost you.",
        "What fails or is cancelled (`POST /v1/jobs/{job_id}/cancel`) costs nothing.",
        "",
    )


def price(model: Model) -> str:
    """What one costs, in credits."""
    found = model.price.credits_for(1)
    match model.price.policy:
        case Policy.FIXED:
            return f"{found} a job"
        case Policy.PER_UNIT:
            return f"{found} each"
        case Policy.COST_PLUS:
            return f"about {found} each, by what it costs"


def _standing(model: Model) -> str:
    return "can be ordered" if model.executable else model.availability.value
