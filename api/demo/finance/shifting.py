"""One time for everything that takes part: the service, its database, the pretend Stripe and the chain.

A month cannot be waited for. So all clocks of this demo, and no other ones, are put forward together, by the same
amount: the database's money time is replaced (as its owner, in a database that is removed afterwards), the service is
built with a clock of its own, and the pretend Stripe and the chain have controls for it. Time never goes back.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

import httpx

from api.demo.telling import Failed
from api.postgres.connection import ask
from api.wiring import now

TIMEOUT_S: Final = 30.0
BLOCKS: Final = 3
"""Blocks that make what stands on the chain final there."""

_REPLACED: Final = (
    "CREATE TABLE public.demo_clock (shift interval NOT NULL)",
    "INSERT INTO public.demo_clock VALUES (interval '0')",
    "GRANT SELECT ON public.demo_clock TO PUBLIC",
    """CREATE OR REPLACE FUNCTION ledger.clock() RETURNS timestamptz LANGUAGE sql VOLATILE PARALLEL SAFE
    AS 'SELECT clock_timestamp() + shift FROM public.demo_clock'""",
)


@dataclass
class Clock:
    """The real time and what it is put forward by."""

    shift: timedelta = field(default_factory=timedelta)

    def __call__(self) -> datetime:
        """What time it is for everything that takes part, in UTC."""
        return now() + self.shift


@dataclass(frozen=True)
class Clocks:
    """All of them. `owner_url` is the database for the role that owns it; `rpc_url` none without a chain."""

    ours: Clock
    owner_url: str = field(repr=False)
    sandbox_url: str
    rpc_url: str | None

    def take_over(self) -> None:
        """From now on the database's money time is ours."""
        for statement in _REPLACED:
            ask(self.owner_url, statement)

    def go_to(self, moment: datetime) -> None:
        """Put all clocks forward to a moment; nothing happens when it has passed.

        Ours before those of the others, so that nobody seems to speak from the future.
        """
        passed = moment - self.ours()
        if passed <= timedelta(0):
            return
        ask(self.owner_url, "UPDATE public.demo_clock SET shift = $1", self.ours.shift + passed)
        self.ours.shift += passed
        with httpx.Client(timeout=TIMEOUT_S, trust_env=False) as http:
            order = {"advance_seconds": passed.total_seconds(), "letters_too": True}
            http.post(f"{self.sandbox_url}/sandbox/clock", json=order).raise_for_status()
        if self.rpc_url is not None:
            self.rpc("evm_increaseTime", int(passed.total_seconds()))
            self.mine()

    def mine(self) -> None:
        """Let so many blocks pass on the chain that what stands on it is final."""
        self.rpc("anvil_mine", hex(BLOCKS))

    def rpc(self, method: str, *parameters: Any) -> Any:
        """One call of the chain's node. Raises what httpx raises, `Failed` for an error of the node."""
        asked = {"jsonrpc": "2.0", "id": 1, "method": method, "params": parameters}
        answer = httpx.post(str(self.rpc_url), json=asked, timeout=TIMEOUT_S, trust_env=False).json()
        if "error" in answer:
            raise Failed(f"{method}: {answer['error']['message']}")
        return answer["result"]
