"""`purser demo`: agents buy credits on each rail, over real HTTP, on a service of their own.

fresh_service.py  that service: `purser serve` in a fresh folder, watched, stopped and removed
journey.py        the steps, in order, and what each of them must find        <- begin here
wallet_alone.py   those of the rail that needs a local chain: a wallet, no account, no human
working.py        those of metered work: the guide, a dry run, a job, the feed
payers.py         who pays: a human on the hosted page, a wallet on the pretend chain, a wallet that signs
finance/          another demo: a month of business is reconciled, closed and exported
telling.py        how a step is told: number, what happened, how long it took
"""

from __future__ import annotations

import time

from api.demo import journey
from api.demo.fresh_service import fresh_service
from api.demo.telling import Failed, Teller
from api.running import local_chain


def run() -> int:
    """Run it and tell it; 0 when every step found what it should, else 1 after the end of the service's log.

    Where this machine cannot have a chain, its rail is not walked, and one line says why.
    """
    began = time.monotonic()
    without_chain = local_chain.why_not()
    teller = Teller(steps=journey.steps(with_chain=without_chain is None))
    teller.opening(with_chain=without_chain is None)
    with fresh_service(with_chain=without_chain is None) as service:
        try:
            journey.walk(service, teller, without_chain=without_chain)
        except Failed as failure:
            teller.failure(str(failure), service.log_tail())
            return 1
    teller.closing(time.monotonic() - began)
    return 0
