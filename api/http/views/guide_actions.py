"""The steps that a guide can name: a request as it is sent, the command for it, and what it does. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final
from urllib.parse import urlencode
from uuid import UUID

from api.http import calls
from api.http.calls import Call
from api.http.commands import Commands, Step, command_of
from api.http.fields_guide import CREATE, GuideAsked
from api.http.views import models, purchases
from api.http.views.catalog import quote_effect
from api.http.views.plain import at_or_none
from api.http.views.purchases import Scene
from api.http.views.quotes import buy_effect
from billing.attempts import AttemptState
from billing.packs import X402, Wanted
from billing.status import Status
from billing.tables import PaymentAttempt
from ledger.ids import external

PROMPT: Final = "PROMPT"
JOB_ID: Final = "JOB_ID"


@dataclass(frozen=True, slots=True)
class Effect:
    """What a step does. One without `no_spend` is only for who may spend its owner's money or credits."""

    label: str
    no_spend: bool = True
    payment_object: bool = False
    credit_debit: bool = False
    media_write: bool = False


READ: Final = Effect("read_only_no_spend")
SETUP: Final = Effect("signup_no_spend")
PLAN: Final = Effect("dry_run_no_debit_no_media")
END: Final = Effect("ends_an_unpaid_purchase_no_spend")
SPENDS: Final = Effect("credits_debit", no_spend=False, credit_debit=True)
MAKES: Final = Effect("live_create_credits_debit", no_spend=False, credit_debit=True, media_write=True)
PAYS: Final = Effect("wallet_settlement_spends_usdc", no_spend=False, payment_object=True)


def _effect_of(view: Mapping[str, Any]) -> Effect:
    """An effect that other answers tell too."""
    return Effect(view["label"], view["no_spend"], view["payment_object"], view["credit_debit"], view["media_write"])


@dataclass(frozen=True, slots=True)
class Action:
    """One step. `inputs` are the words in capitals that the reader must replace before it is taken."""

    purpose: str
    call: Call
    command: str | None = None
    effect: Effect = READ
    requires_auth: bool = False
    live_money: bool = False
    not_before: datetime | None = None
    inputs: tuple[str, ...] = ()

    def view(self) -> dict[str, Any]:
        """The step as an answer shows it."""
        effect = self.effect
        return {
            "purpose": self.purpose,
            **self.call,
            "command": self.command,
            "missing_inputs": list(self.inputs),
            "requires_auth": self.requires_auth,
            "live_money": self.live_money,
            "not_before": at_or_none(self.not_before),
            "effect": {
                "label": effect.label,
                "no_spend": effect.no_spend,
                "payment_object": effect.payment_object,
                "credit_debit": effect.credit_debit,
                "media_write": effect.media_write,
            },
        }


def _call(method: str, path: str, body: Mapping[str, Any] | None = None) -> Call:
    return {"method": method, "path": path, "body": dict(body) if body is not None else None}


def _reading(purpose: str, path: str, command: str | None, *, requires_auth: bool = False) -> Action:
    return Action(purpose, _call("GET", path), command, requires_auth=requires_auth)


def inspect_models(commands: Commands) -> Action:
    """Which models can carry an order out?"""
    command = models.command(commands.public_url, "models", "list")
    return _reading("inspect_models", f"/v1/models?executable=true&operation={CREATE}", command)


def inspect_methods(commands: Commands) -> Action:
    """How can be paid?"""
    return _reading("inspect_payment_methods", "/v1/payment-methods", commands.methods())


def inspect_packs(commands: Commands) -> Action:
    """What is sold?"""
    return _reading("inspect_credit_packs", "/v1/credit-packs", commands.packs())


def inspect_quota(commands: Commands) -> Action:
    """What is left?"""
    return _reading("inspect_quota", "/v1/quota", commands.quota(), requires_auth=True)


def wait(commands: Commands, purpose: str, until: datetime | None) -> Action:
    """Nothing but looking again, at the time `until` when one is known, or when an operator has changed something."""
    return replace(inspect_quota(commands), purpose=purpose, not_before=until)


def again(asked: GuideAsked, commands: Commands) -> Action:
    """The same guide once more."""
    query = urlencode(asked.query())
    command = commands.guide(asked.prompt or PROMPT, model=asked.model) if asked.is_create else None
    found = _reading("read_guide_again", f"/v1/guide?{query}" if query else "/v1/guide", command)
    return replace(found, inputs=_inputs(asked) if asked.is_create else ())


def sign_up(commands: Commands) -> Action:
    """A token."""
    inputs = ("CONTACT", "NAME", "RUNTIME")
    body = dict(zip(("agent_contact", "agent_name", "runtime"), inputs, strict=True)) | {"return_token": True}
    return Action("sign_up", _call("POST", "/v1/agent-signups", body), commands.signup(), SETUP, inputs=inputs)


def quote(wanted: Wanted, commands: Commands, *, key: str, live_money: bool) -> Action:
    """Price and terms of what is missing."""
    step = commands.quote(wanted)
    effect = _effect_of(quote_effect())
    call = calls.quote(wanted, key=key)
    return Action("quote_credit_top_up", call, command_of(step), effect, requires_auth=True, live_money=live_money)


def buy(found: Status, scene: Scene) -> Action:
    """The purchase of a quote that stands."""
    key = purchases.buy_key(found, scene)
    return _buying("complete_credit_top_up", found, scene.commands, key, _effect_of(buy_effect()))


def pay(found: Status, attempt: PaymentAttempt, scene: Scene, *, agent_id: UUID) -> Action:
    """What goes on with a purchase that waits: its own key repeated where that helps, or else a look at it."""
    is_native = attempt.method == X402.method_id
    may_repeat = attempt.agent_id == agent_id
    if may_repeat and attempt.state == AttemptState.CREATED:
        effect = _effect_of(buy_effect())
        return _buying("repeat_purchase", found, scene.commands, attempt.idempotency_key, effect)
    if may_repeat and is_native and attempt.state == AttemptState.ACTION_REQUIRED:
        return _buying("send_signed_payment", found, scene.commands, attempt.idempotency_key, PAYS)
    return watch(attempt, scene.commands)


def _buying(purpose: str, found: Status, commands: Commands, key: str, effect: Effect) -> Action:
    quote = found.quote
    quote_id = external("quote", quote.id)
    step: Step = commands.buy(method_id=quote.payment_method, quote_id=quote_id, key=key)
    call = calls.buy(quote.payment_method, quote_id, key=key)
    return Action(purpose, call, command_of(step), effect, requires_auth=True, live_money=quote.live_money)


def watch(attempt: PaymentAttempt, commands: Commands) -> Action:
    """What became of a purchase? Asking makes the service look."""
    attempt_id = external("payatt", attempt.id)
    path = f"/v1/credit-purchases/status?payment_attempt_id={attempt_id}"
    return _reading("watch_payment", path, commands.status_of_attempt(attempt_id), requires_auth=True)


def cancel(attempt: PaymentAttempt) -> Action:
    """Give a purchase up that nobody has paid, so that another one may take its place."""
    path = f"/v1/credit-purchases/{external('payatt', attempt.id)}/cancel"
    return Action("cancel_purchase", _call("POST", path), effect=END, requires_auth=True)


def create(asked: GuideAsked, model_id: str, commands: Commands, *, most_usd: float, key: str) -> Action:
    """The job itself; it never costs more than `most_usd` a unit, whatever becomes of the price meanwhile."""
    guarded = {"max_estimated_usd_per_image": most_usd, "idempotency_key": key}
    return replace(_order("create", asked, model_id, guarded, commands), effect=MAKES, requires_auth=True)


def plan(asked: GuideAsked, model_id: str, commands: Commands) -> Action:
    """The same job, priced and checked and not carried out."""
    return replace(_order("plan_create", asked, model_id, {"dry_run": True}, commands), effect=PLAN)


def _order(purpose: str, asked: GuideAsked, model_id: str, more: Mapping[str, Any], commands: Commands) -> Action:
    body = {"prompt": asked.prompt or PROMPT, "model": model_id, **more}
    command = command_of(commands.create(body))
    return Action(purpose, _call("POST", "/v1/create", body), command, inputs=_inputs(asked))


def _inputs(asked: GuideAsked) -> tuple[str, ...]:
    return () if asked.prompt is not None else (PROMPT,)


def show_job(commands: Commands) -> Action:
    """What became of the job?"""
    found = _reading("inspect_job", f"/v1/jobs/{JOB_ID}", commands.job(JOB_ID), requires_auth=True)
    return replace(found, inputs=(JOB_ID,))


def spend(credits_: int, *, key: str) -> Action:
    """Credits spent at once. The public client has no words for it."""
    body = {"credits": credits_, "idempotency_key": key}
    return Action("spend_credits", _call("POST", "/v1/spends", body), effect=SPENDS, requires_auth=True)
