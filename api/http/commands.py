"""The commands that answers suggest, in the words of the public client. Pure.

All begin with `image-skill `, which the client replaces by the way it was called itself, and name this service, because
the client forgets the address between two calls. Words in capitals stand for what the reader must fill in. Where the
client has no words for a method, the step is an HTTP call instead.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from api.http import calls
from api.http.calls import Call
from billing.packs import METHODS, STRIPE_CHECKOUT, STRIPE_X402, Wanted

QUOTE_ID: Final = "QUOTE_ID"
PAYMENT_ATTEMPT_ID: Final = "PAYMENT_ATTEMPT_ID"
SPOKEN: Final = (STRIPE_CHECKOUT, STRIPE_X402)
"""The methods that the client has words for: 0.1.30 and 0.1.70 refuse any other before they ask anybody."""
_TEXTS: Final = ("provider", "model", "intent", "aspect_ratio", "output_count", "max_estimated_usd_per_image")
_SWITCHES: Final = ("dry_run", "accept_unknown_cost")

Step = str | Call
"""What to do next: a command of the public client, or an HTTP call where it has none."""


def purchase_key(quote_id: str) -> str:
    """The key under which a quote is bought first: the same for everyone who repeats the command."""
    return f"purchase:{quote_id}"


def command_of(step: Step) -> str | None:
    """The step if it is a command."""
    return step if isinstance(step, str) else None


def call_of(step: Step) -> Call | None:
    """The step if it is an HTTP call."""
    return None if isinstance(step, str) else step


def suggestions(steps: Sequence[Step]) -> dict[str, Any]:
    """The steps in the order of their worth: commands by themselves, as a client runs them, and calls by themselves."""
    commands = [step for step in steps if isinstance(step, str)]
    requests = [step for step in steps if not isinstance(step, str)]
    return ({"suggested_commands": commands} if commands else {}) | (
        {"suggested_requests": requests} if requests else {}
    )


@dataclass(frozen=True, slots=True)
class Commands:
    """Commands for the service at `public_url`."""

    public_url: str

    def _line(self, *words: str) -> str:
        return shlex.join(["image-skill", *words, "--json", "--api-base-url", self.public_url])

    def doctor(self) -> str:
        """Does the service answer?"""
        return self._line("doctor")

    def signup(self) -> str:
        """Sign up for a token."""
        who = ("--agent-contact", "CONTACT", "--agent-name", "NAME", "--runtime", "RUNTIME")
        return self._line("signup", "--agent", *who)

    def whoami(self) -> str:
        """Whose token is it?"""
        return self._line("whoami")

    def quota(self) -> str:
        """How many credits are left?"""
        return self._line("usage", "quota")

    def methods(self) -> str:
        """How can be paid?"""
        return self._line("credits", "methods")

    def packs(self) -> str:
        """What is sold?"""
        return self._line("credits", "packs", "list")

    def activity(self) -> str:
        """What happened?"""
        return self._line("activity", "list")

    def models(self) -> str:
        """What can be ordered now?"""
        return self._line("models", "list", "--available", "--executable")

    def create(self, body: Mapping[str, Any]) -> Step:
        """Order what a body of `POST /v1/create` says, or plan it. The client names files, not ids, as references."""
        if body.get("references"):
            return calls.create(body)
        # With `=`, because a prompt that begins with two hyphens would be taken for a flag.
        said = [f"--{name.replace('_', '-')}={body[name]}" for name in ("prompt", *_TEXTS) if name in body]
        if body.get("model_parameters"):
            said.append(f"--model-parameters-json={json.dumps(body['model_parameters'])}")
        said += [f"--{name.replace('_', '-')}" for name in _SWITCHES if body.get(name)]
        said += [f"--idempotency-key={body['idempotency_key']}"] if "idempotency_key" in body else []
        return self._line("create", *said)

    def job(self, job_id: str) -> str:
        """How does a job stand?"""
        return self._line("jobs", "show", job_id)

    def job_wait(self, job_id: str) -> str:
        """Wait for a job."""
        return self._line("jobs", "wait", job_id)

    def quote(self, wanted: Wanted, *, method_id: str | None = None, key: str | None = None) -> Step:
        """Quote what is wanted, perhaps on another method. Without a key the client makes one."""
        method = METHODS[method_id or wanted.payment_method]
        if method not in SPOKEN:
            return calls.quote(replace(wanted, payment_method=method.method_id), key=key or calls.KEY)
        what = ("--pack", wanted.pack_id) if wanted.pack_id is not None else ("--credits", str(wanted.credits))
        keyed = ("--idempotency-key", key) if key is not None else ()
        return self._line("credits", "quote", *what, "--payment-method", method.method_id, *keyed)

    def buy(self, *, method_id: str, quote_id: str = QUOTE_ID, key: str | None = None) -> Step:
        """Buy a quote, under its stable key unless another is given."""
        method, key = METHODS[method_id], key or purchase_key(quote_id)
        if method not in SPOKEN:
            return calls.buy(method_id, quote_id, key=key)
        which = ("--provider", method.provider_flag, "--quote-id", quote_id)
        return self._line("credits", "buy", *which, "--idempotency-key", key)

    def guide(self, prompt: str, *, model: str | None = None) -> str:
        """What stands between me and this job? Changes nothing."""
        which = ("--model", model) if model is not None else ()
        return self._line("create", f"--prompt={prompt}", *which, "--guide")

    def status_of_quote(self, quote_id: str = QUOTE_ID) -> str:
        """What became of a quote?"""
        return self._line("credits", "status", "--quote-id", quote_id)

    def status_of_attempt(self, attempt_id: str = PAYMENT_ATTEMPT_ID) -> str:
        """What became of a payment attempt?"""
        return self._line("credits", "status", "--payment-attempt-id", attempt_id)
