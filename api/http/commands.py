"""The commands that answers suggest, in the words of the public client. Pure.

All begin with `image-skill `, which the client replaces by the way it was called itself, and name this service, because
the client forgets the address between two calls. Words in capitals stand for what the reader must fill in.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import Final

from billing.packs import METHODS, Wanted

QUOTE_ID: Final = "QUOTE_ID"
PAYMENT_ATTEMPT_ID: Final = "PAYMENT_ATTEMPT_ID"


def purchase_key(quote_id: str) -> str:
    """The key under which a quote is bought first: the same for everyone who repeats the command."""
    return f"purchase:{quote_id}"


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

    def quote(self, wanted: Wanted, *, method_id: str | None = None, key: str | None = None) -> str:
        """Quote what is wanted, perhaps on another method. Without a key the client makes one."""
        what = ("--pack", wanted.pack_id) if wanted.pack_id is not None else ("--credits", str(wanted.credits))
        keyed = ("--idempotency-key", key) if key is not None else ()
        return self._line("credits", "quote", *what, "--payment-method", method_id or wanted.payment_method, *keyed)

    def buy(self, *, method_id: str, quote_id: str = QUOTE_ID, key: str | None = None) -> str:
        """Buy a quote, under its stable key unless another is given."""
        provider = METHODS[method_id].provider_flag
        keyed = ("--idempotency-key", key or purchase_key(quote_id))
        return self._line("credits", "buy", "--provider", provider, "--quote-id", quote_id, *keyed)

    def status_of_quote(self, quote_id: str = QUOTE_ID) -> str:
        """What became of a quote?"""
        return self._line("credits", "status", "--quote-id", quote_id)

    def status_of_attempt(self, attempt_id: str = PAYMENT_ATTEMPT_ID) -> str:
        """What became of a payment attempt?"""
        return self._line("credits", "status", "--payment-attempt-id", attempt_id)
