"""What a refused order is told, and an order whose job was not made, with the way on. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from api.http import calls
from api.http.commands import Commands, Step, suggestions
from api.http.fields_jobs import CreateAsked
from api.http.views.models import CENTS
from api.http.views.plain import at
from billing.job_states import JobReason
from billing.job_tables import Job
from billing.jobs.ordering import DailyLimitReached
from billing.packs import CREDIT_PRICE_CENTS
from billing.refusals import Refusal, Refused
from ledger.ids import external

ENDED: Final[Mapping[JobReason, Refusal]] = {
    JobReason.PROVIDER_FAILURE: Refusal.PROVIDER_FAILURE,
    JobReason.CONTENT_POLICY: Refusal.INPUT_POLICY_DENIED,
    JobReason.ARTIFACT_STORAGE: Refusal.ARTIFACT_STORAGE_WRITE_FAILED,
    JobReason.DEADLINE_PASSED: Refusal.JOB_DEADLINE_PASSED,
    JobReason.HOLD_ENDED: Refusal.JOB_ENDED,
    JobReason.CANCELED: Refusal.JOB_ENDED,
}
"""As what an order is refused whose job ended so."""


def not_made(job: Job, asked: CreateAsked, commands: Commands, *, fresh_key: str) -> Refused:
    """The answer to an order, at first and for ever, whose job has failed or was canceled."""
    refusal = ENDED[JobReason(job.reason or "")]
    said = job.message if refusal is not Refusal.JOB_DEADLINE_PASSED else None
    message = f"{refusal.rule.message}: {said}" if said else None
    look = commands.job(external("job", job.id))
    if refusal is Refusal.INPUT_POLICY_DENIED:  # which the same prompt would get again
        return Refused(refusal, message, recovery=about(job) | {"idempotency_key": fresh_key} | _suggested([look]))
    recovery = about(job) | next_order(asked, fresh_key=fresh_key)
    return Refused(refusal, message, recovery=recovery | _suggested([commands.create(asked.again(fresh_key)), look]))


def next_order(asked: CreateAsked, *, fresh_key: str) -> dict[str, Any]:
    """The same order once more, because its key will for ever be answered as it was."""
    return {"idempotency_key": fresh_key, "next_request": calls.create(asked.again(fresh_key))}


def ended(job: Job, commands: Commands) -> Refused:
    """What was wanted of a job that has ended otherwise."""
    steps: list[Step] = [commands.job(external("job", job.id))]
    return Refused(Refusal.JOB_ENDED, recovery=about(job) | _suggested(steps))


def about(job: Job) -> dict[str, Any]:
    """Which job a refusal is about, and how it stands."""
    return {"job_id": external("job", job.id), "status": job.state, "reason": job.reason}


def used(asked: CreateAsked, *, fresh_key: str) -> Refused:
    """The key was used for another order."""
    return Refused(Refusal.SPENDING_CONFLICT, recovery=next_order(asked, fresh_key=fresh_key))


def unavailable(message: str, commands: Commands) -> Refused:
    """No model can carry it out now."""
    return Refused(Refusal.CAPABILITY_UNAVAILABLE, message, recovery=_suggested([commands.models()]))


def over_budget(unit_credits: int, asked: CreateAsked, commands: Commands) -> Refused:
    """One unit costs more than the request allows. Nothing was stored, so the same key still serves."""
    dollars = unit_credits * CREDIT_PRICE_CENTS / CENTS
    again = asked.again(asked.idempotency_key, max_estimated_usd_per_image=dollars)
    recovery = {
        "required_max_estimated_usd_per_image": dollars,
        "required_flag": "--max-estimated-usd-per-image",
        "credits_per_image": unit_credits,
        "next_request": calls.create(again),
    }
    return Refused(Refusal.BUDGET_EXCEEDED, recovery=recovery | _suggested([commands.create(again)]))


def daily_limit(reached: DailyLimitReached, now: datetime) -> Refused:
    """As many jobs as may be were ordered on this day."""
    wait_s = max(1, -int((now - reached.reset_at).total_seconds() // 1))
    recovery = {"limit": reached.limit, "reset_at": at(reached.reset_at), "retry_after_seconds": wait_s}
    return Refused(Refusal.DAILY_JOB_LIMIT_REACHED, recovery=recovery)


def _suggested(steps: list[Step]) -> dict[str, Any]:
    found = suggestions(steps)
    return found | ({"suggested_command": found["suggested_commands"][0]} if "suggested_commands" in found else {})
