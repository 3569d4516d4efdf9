"""Jobs: what was asked for, what it costs, and what came of it. Pure.

Prompts are never shown. Dollars are JSON numbers, made of whole numbers in the last step, because the public client
counts with them. Source: sections 6.1 and 6.2 of its contract, and `cli.md` of 0.1.70.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from api.http.commands import Commands
from api.http.views.models import CENTS, CREDIT_UNIT_USD, MICRO
from api.http.views.plain import at, at_or_none, exactly, limits, published_head
from api.http.views.quota import top_up
from api.outside import PLACEHOLDER
from billing.job_states import OPEN, JobReason, JobState
from billing.job_tables import Job
from billing.jobs.ordering import Order
from billing.packs import CREDIT_PRICE_CENTS, Offer
from billing.pricing import Policy, Price, price_of
from ledger.ids import external
from ledger.statements import Balance
from ledger.tables import OperationRow

ASK_AGAIN_S: Final = 1
"""Seconds after which it is worth asking for an open job again."""
ALLOWED, DENIED = "allowed", "denied"


@dataclass(frozen=True, slots=True)
class Found:
    """A job as it stands, with the operations that hold and charge its credits, and the balance now."""

    job: Job
    hold: OperationRow | None
    capture: OperationRow | None
    balance: Balance


@dataclass(frozen=True, slots=True)
class Scene:
    """What an answer about a job needs besides it: what is sold, why a method is not offered, and this service."""

    offer: Offer
    reasons: Mapping[str, str | None]
    commands: Commands


def created(found: Found, scene: Scene, *, replayed: bool) -> dict[str, Any]:
    """The answer to an order or a dry run, new or repeated. Only `top_up` is as it is now."""
    job, url = found.job, scene.commands.public_url
    return {
        "job_id": external("job", job.id),
        "replayed": replayed,
        "idempotency_key": job.idempotency_key,
        **_mirrored(job, url),
        "request": _request(job.request, job.units, dry_run=job.state == JobState.PLANNED),
        "capability": {"id": _capability(job)},
        "safety": {"status": ALLOWED},
        "quota": {
            "consumed_credits": job.charged or 0,
            "limits": _limits_after(found),
            "top_up": top_up(found.balance, scene.offer, scene.reasons, scene.commands),
        },
        "job": _short(job, url),
        **_receipts(found),
        "next": _next(job, scene.commands),
    }


def planned_for_nobody(wanted: Order) -> dict[str, Any]:
    """What a dry run without a token is told. Nothing of it is stored."""
    return {
        "job_id": None,
        "replayed": False,
        "idempotency_key": None,
        "status": JobState.PLANNED.value,
        "state": JobState.PLANNED.value,
        "assets": [],
        "cost": _cost(wanted.price, wanted.units, wanted.credits),
        "request": _request(wanted.request, wanted.units, dry_run=True),
        "capability": {"id": wanted.request["selection"]["capability"]},
        "safety": {"status": ALLOWED},
        "quota": {"consumed_credits": 0},
        "job": None,
        "receipt": None,
        "plan_receipt": None,
        "next": None,
    }


def shown(found: Found, scene: Scene) -> dict[str, Any]:
    """One job in full."""
    job, url = found.job, scene.commands.public_url
    return {
        "request": {"job_id": external("job", job.id)},
        **_mirrored(job, url),
        "job": job_view(job, url),
        **_receipts(found),
        "next": _next(job, scene.commands),
    }


def page(jobs: Sequence[Job], url: str, *, limit: int) -> dict[str, Any]:
    """At most `limit` of `jobs`, newest first; `jobs` holds one more when there are more."""
    shown_ = jobs[:limit]
    return {
        "jobs": [job_view(job, url) for job in shown_],
        "next_cursor": external("job", shown_[-1].id) if len(jobs) > limit else None,
    }


def job_view(job: Job, url: str) -> dict[str, Any]:
    """What everybody in the organization may know of a job."""
    return {
        **_short(job, url),
        "state": job.state,
        "reason": job.reason,
        "message": job.message,
        "agent_id": external("agt", job.agent_id),
        "operation": job.operation,
        "model_id": job.model_id,
        "capability": {"id": _capability(job)},
        "safety": {"status": DENIED if job.reason == JobReason.CONTENT_POLICY else ALLOWED},
        "request": _request(job.request, job.units, dry_run=job.state == JobState.PLANNED),
        "hold_id": external("hold", job.hold_id) if job.hold_id is not None else None,
        "created_at": at(job.created_at),
        "updated_at": at(job.updated_at),
        "ended_at": at_or_none(job.ended_at),
        "deadline": at(job.deadline),
    }


def result_taken(job: Job) -> dict[str, Any]:
    """What the executor is told of a job whose result it brings."""
    return {"job_id": external("job", job.id), "status": job.state, "charged_credits": job.charged}


def asset_shown(job: Job, asset: Mapping[str, Any], url: str) -> dict[str, Any]:
    """One asset, with the job that made it."""
    view = _asset(job, asset, url)
    return {"asset": view | {"job_id": external("job", job.id)}, "request": {"asset_id": view["asset_id"]}}


def _short(job: Job, url: str) -> dict[str, Any]:
    mirrored = _mirrored(job, url)
    return {"job_id": external("job", job.id), **{name: mirrored[name] for name in ("status", "assets", "cost")}}


def _mirrored(job: Job, url: str) -> dict[str, Any]:
    """What stands at the top of an answer and in its `job`."""
    return {
        "status": job.state,
        "state": job.state,
        "assets": [_asset(job, asset, url) for asset in job.assets],
        "cost": _cost(price_of(job.price), job.units, job.credits)
        | {"charged_credits": job.charged, "provider_reported_usd": _usd((job.result or {}).get("cost_micro_usd"))},
    }


def _asset(job: Job, asset: Mapping[str, Any], url: str) -> dict[str, Any]:
    """An asset as its executor named it; those of the placeholder are served here."""
    if job.executor != PLACEHOLDER:
        return dict(asset)
    where = f"{url}/assets/{asset['asset_id']}"
    return {**asset, "url": where, "path": where}


def _cost(price: Price, units: int, credits_: int) -> dict[str, Any]:
    """What a job costs at most, all its units together. `estimated_usd` is the provider's part, if anybody knows it."""
    cost = _usd(price.cost_of(units))
    return {
        "estimated_usd": cost,
        "credit_pricing": {
            "credit_unit_usd": CREDIT_UNIT_USD,
            "credits_required": credits_,
            "estimated_provider_cost_usd": cost,
            "estimated_revenue_usd": credits_ * CREDIT_PRICE_CENTS / CENTS,
            "pricing_confidence": "estimated" if price.policy is Policy.COST_PLUS else "known",
            "policy": price.policy.value,
        },
    }


def _usd(micro: int | None) -> float | None:
    return None if micro is None else micro / MICRO


def _request(request: Mapping[str, Any], units: int, *, dry_run: bool) -> dict[str, Any]:
    """What was asked for, without the prompt, and which model was chosen for it, and why."""
    selection = request.get("selection", {})
    keys = sorted(request.get("model_parameters", {}))
    return {
        "dry_run": dry_run,
        "output_count": units,
        "aspect_ratio": request.get("aspect_ratio"),
        "selection": {
            "policy": selection.get("policy"),
            "reason": selection.get("reason"),
            "intent": request.get("intent"),
            "model_id": selection.get("model_id"),
            "capability": {"id": selection.get("capability")},
            "model_parameters": {
                "keys": keys,
                "defaults_applied": [],
                "source": "request" if keys else "default_policy",
            },
            "output": {"count": units, "aspect_ratio": request.get("aspect_ratio")},
        },
    }


def _capability(job: Job) -> str | None:
    found: str | None = job.request.get("selection", {}).get("capability")
    return found


def _limits_after(found: Found) -> dict[str, Any]:
    """The balance right after the job's last operation, for ever the same; the balance now for what has none."""
    last = found.capture or found.hold
    if last is None:
        return limits(found.balance)
    return limits(Balance(last.paid_after, last.available_after - last.paid_after, last.held_after))


def _receipts(found: Found) -> dict[str, Any]:
    job = found.job
    plan = {
        "job_id": external("job", job.id),
        "planned_at": at(job.created_at),
        "model_id": job.model_id,
        "output_count": job.units,
        "credits_required": job.credits,
        "consumed_credits": 0,
    }
    return {
        "receipt": _receipt(job, found.capture) if found.capture is not None else None,
        "plan_receipt": plan if job.state == JobState.PLANNED else None,
    }


def _receipt(job: Job, capture: OperationRow) -> dict[str, Any]:
    """What was charged. It publishes the head of the journal: one that is rewritten later does not fit it."""
    return {
        "receipt_id": external("receipt", job.id),
        "job_id": external("job", job.id),
        "usage_event_id": external("usage", capture.id),
        "credits": job.charged,
        "hold_operation_id": external("op", job.hold_id) if job.hold_id is not None else None,
        "capture_operation_id": external("op", capture.id),
        "charged_at": at(capture.posted_at),
        "journal": published_head(capture) | {"posted_at": exactly(capture.posted_at)},
    }


def _next(job: Job, commands: Commands) -> dict[str, Any] | None:
    if job.state not in OPEN:
        return None
    job_id = external("job", job.id)
    steps = [commands.job_wait(job_id), commands.job(job_id)]
    return {"agent_action": "wait_for_job", "retry_after_seconds": ASK_AGAIN_S, "suggested_commands": steps}
