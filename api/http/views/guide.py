"""One stage, one next step: what stands between an agent and what it wants to do. Pure."""

from __future__ import annotations

from typing import Any, Final

from api.http.views import catalog, purchases, spending
from api.http.views import guide_actions as actions
from api.http.views.guide_actions import Action
from api.http.views.guide_stages import READY, Known, Seen, Stage, required_credits, staged
from api.http.views.plain import at
from billing.attempts import AttemptState
from billing.packs import CREDIT_PRICE_CENTS, price
from billing.tables import PaymentAttempt

SCHEMA: Final = "purser.guide.v1"
CENTS: Final = 100
INSPECTION: Final = "payment_method_inspection"
PAYMENT: Final = "payment"
"""Under this name the answer has the purchase that waits."""


def guide(seen: Seen) -> dict[str, Any]:
    """The answer: the stage, the one next step and what comes after it, what it costs, and what is free to do."""
    stage, reason = staged(seen)
    method = seen.method
    return {
        "schema": SCHEMA,
        "operation": seen.asked.operation,
        "stage": stage.value,
        "ready": stage in READY,
        "reason": reason,
        "selection": _selection(seen),
        "cost": _cost(seen),
        "next_action": _next(seen, stage).view(),
        "after_next": _after(seen, stage).view(),
        "top_up_path": catalog.path_of(method) if method is not None else INSPECTION,
        PAYMENT: _payment(seen, stage),
        "where_to_stop": [action.view() for action in _for_free(seen, stage)],
        "checks": _checks(seen),
    }


def _next(seen: Seen, stage: Stage) -> Action:
    """The one step that takes away what stands in the way."""
    commands = seen.commands
    if stage is Stage.NO_EXECUTABLE_MODEL:
        return actions.inspect_models(commands)
    if stage is Stage.READY_TO_CREATE and seen.selection is not None:
        most_usd = seen.step * CREDIT_PRICE_CENTS / CENTS
        model_id = seen.selection.model.id
        return actions.create(seen.asked, model_id, commands, most_usd=most_usd, key=seen.keys["create"])
    if stage is Stage.READY_TO_SPEND:
        return actions.spend(seen.step, key=seen.keys["spend"])
    if seen.known is None:
        return actions.sign_up(commands)
    if stage in {Stage.SPENDER_PAUSED, Stage.CAP_REACHED}:
        return _allowed_again(seen)
    if seen.is_day_over:
        return actions.wait(commands, "wait_for_next_day", seen.reset_at)
    return _credits(seen, seen.known)


def _allowed_again(seen: Seen) -> Action:
    """Waiting until every cap that refuses has freed up; asking an operator where no time helps."""
    times = [cap.frees_up_at for cap in seen.exceeded if cap.frees_up_at is not None and not seen.is_for_ever(cap)]
    if seen.is_paused or len(times) < len(seen.exceeded):
        return actions.wait(seen.commands, "ask_operator", None)
    return actions.wait(seen.commands, "wait_for_allowance", max(times))


def _credits(seen: Seen, known: Known) -> Action:
    """The next step towards the credits that are missing. What was begun goes on before anything new is begun."""
    if known.waiting is not None and known.waiting.attempt is not None:
        return actions.pay(known.waiting, known.waiting.attempt, seen.scene, agent_id=known.agent_id)
    if known.buyable is not None:
        return actions.buy(known.buyable, seen.scene)
    wanted = seen.wanted
    if wanted is None:
        return actions.inspect_methods(seen.commands)
    live = seen.live[wanted.payment_method]
    return actions.quote(wanted, seen.commands, key=seen.keys["quote"], live_money=live)


def _after(seen: Seen, stage: Stage) -> Action:
    """What to do when the step is done: look at what was made, or ask the guide again."""
    match stage:
        case Stage.READY_TO_CREATE:
            return actions.show_job(seen.commands)
        case Stage.READY_TO_SPEND:
            return actions.inspect_quota(seen.commands)
    return actions.again(seen.asked, seen.commands)


def _for_free(seen: Seen, stage: Stage) -> list[Action]:
    """What may be done without anybody's permission to spend: it reads, it plans, or it ends what nobody has paid."""
    commands = seen.commands
    found = [actions.again(seen.asked, commands)]
    if seen.asked.is_create:
        found.append(actions.inspect_models(commands))
    if seen.selection is not None:
        found.append(actions.plan(seen.asked, seen.selection.model.id, commands))
    found += [actions.inspect_methods(commands), actions.inspect_packs(commands)]
    if seen.known is not None:
        found.append(actions.inspect_quota(commands))
    attempt = _waiting(seen, stage)
    if attempt is not None:
        found.append(actions.watch(attempt, commands))
        if attempt.state != AttemptState.PROCESSING:
            found.append(actions.cancel(attempt))
    return found


def _waiting(seen: Seen, stage: Stage) -> PaymentAttempt | None:
    """The payment that waits, in the stage that is about it."""
    known = seen.known if stage is Stage.PAYMENT_PENDING else None
    return known.waiting.attempt if known is not None and known.waiting is not None else None


def _payment(seen: Seen, stage: Stage) -> dict[str, Any] | None:
    """What is begun and not paid: in full where it waits for money, with its terms where it waits to be bought."""
    if seen.known is None or stage not in {Stage.PAYMENT_PENDING, Stage.READY_TO_BUY}:
        return None
    found = seen.known.waiting if stage is Stage.PAYMENT_PENDING else seen.known.buyable
    return purchases.unpaid(found, seen.scene, inside=f"data.{PAYMENT}") if found is not None else None


def _selection(seen: Seen) -> dict[str, Any] | None:
    if seen.selection is None:
        return None
    model = seen.selection.model
    return {
        "model_id": model.id,
        "modality": model.modality,
        "provider": model.provider,
        "policy": seen.selection.policy,
        "reason": seen.selection.reason,
    }


def _cost(seen: Seen) -> dict[str, Any]:
    """What the next request takes, what is missing for all that is to be spent, and what buying that comes to."""
    bought = price(seen.scene.place.offer, seen.wanted) if seen.wanted is not None else None
    return {
        "credits": seen.step,
        "required_credits": required_credits(seen.asked, seen.selection),
        "missing_credits": seen.known.standing.missing if seen.known is not None else None,
        "buy_credits": bought.credits if bought is not None else 0,
        "amount_cents": bought.cents if bought is not None else 0,
        "estimated_usd": seen.step * CREDIT_PRICE_CENTS / CENTS,
        "credit_unit_usd": CREDIT_PRICE_CENTS / CENTS,
    }


def _checks(seen: Seen) -> dict[str, Any]:
    """What was looked at. Quota and caps are none without a token that holds."""
    standing = seen.towards_step
    return {
        "service": {"reachable": True},
        "models": {
            "checked": seen.asked.is_create,
            "executable": seen.selection is not None if seen.asked.is_create else None,
            "reason": seen.obstacle,
        },
        "auth": {"token_status": seen.token_status.value, "authenticated": seen.known is not None},
        "quota": _quota_check(seen, seen.known) if seen.known is not None else None,
        "payments": _payments_check(seen),
        "caps": {"paused": seen.is_paused, "caps": spending.current(standing)["caps"]} if standing else None,
    }


def _quota_check(seen: Seen, known: Known) -> dict[str, Any]:
    """As the public client reads it: `daily_jobs` is absent where jobs are not limited, never null."""
    now = spending.current(known.standing)
    found = {name: now[name] for name in ("limits", "required_credits", "missing_credits", "owed_credits")}
    if seen.jobs_per_day is not None:
        found["daily_jobs"] = {
            "limit": seen.jobs_per_day,
            "used": known.jobs_today,
            "remaining": max(0, seen.jobs_per_day - known.jobs_today),
            "reset_at": at(seen.reset_at),
        }
    return found


def _payments_check(seen: Seen) -> dict[str, Any]:
    method, asked = seen.method, seen.asked.payment_method
    return {
        "method_id": method.method_id if method is not None else None,
        "available_methods": [method_id for method_id, reason in seen.reasons.items() if reason is None],
        "unavailable_reason": seen.reasons[asked] if asked is not None else None,
        "live_money": seen.live[method.method_id] if method is not None else None,
        "purchase_waits": seen.known.waiting is not None if seen.known is not None else None,
    }
