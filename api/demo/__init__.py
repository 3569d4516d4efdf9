"""`purser demo`: one agent buys credits on both rails, over real HTTP, on a service of its own.

fresh_service.py  that service: `purser serve` in a fresh folder, watched, stopped and removed
journey.py        the steps, in order, and what each of them must find        <- begin here
payers.py         the two who pay: a human on the hosted page, a wallet on the pretend chain
telling.py        how a step is told: number, what happened, how long it took
"""

from __future__ import annotations

import time

from api.demo import journey
from api.demo.fresh_service import fresh_service
from api.demo.telling import Failed, Teller


def run() -> int:
    """Run it and tell it; 0 when every step found what it should, else 1 after the end of the service's log."""
    teller = Teller(steps=journey.STEPS)
    began = time.monotonic()
    teller.opening()
    with fresh_service() as service:
        try:
            journey.walk(service, teller)
        except Failed as failure:
            teller.failure(str(failure), service.log_tail())
            return 1
    teller.closing(time.monotonic() - began)
    return 0
