"""Everything that takes part in the month: the service, the pretend Stripe, perhaps a chain, and one time for all."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

import httpx

from api import refunds
from api.demo.finance.serving import OwnSettings, Serving, serving
from api.demo.finance.shifting import TIMEOUT_S, Clock, Clocks
from api.demo.fresh_service import fresh_folder
from api.demo.telling import Failed
from api.postgres.connection import ask
from api.running import embedding, local_chain
from api.running.children import free_port
from api.running.local_chain import LocalChain
from api.settings import Settings
from api.wiring import House
from billing import looking
from finance import recognizing
from finance.periods import Period, midnight

EXPIRE_AFTER_DAYS: Final = 20
ALONE_UP_TO_CENTS: Final = 25
"""What one key holder may adjust: far less than anybody would set, so that two are needed for a small fault."""
BEGINS_AT: Final = timedelta(hours=8)
QUIET_WITHIN_S: Final = 20.0
_POLL_S: Final = 0.03
_KEY: Final = "sk_test_demo"

_WAITING: Final = """
    SELECT (SELECT count(*) FROM webhooks.letters WHERE state = 'pending')
         + (SELECT count(*) FROM billing.provider_requests WHERE state IN ('stored', 'unknown'))
         + (SELECT count(*) FROM billing.refund_requests WHERE state IN ('stored', 'unknown'))"""


@dataclass
class World:
    """The service and everybody around it, in one month."""

    period: Period
    service: Serving
    clocks: Clocks
    settings: Settings
    chain: LocalChain | None
    _stripe: httpx.Client = field(repr=False)

    @property
    def now(self) -> datetime:
        """What time it is."""
        return self.clocks.ours()

    def go_to(self, day: int, *, hour: int = 8) -> None:
        """Live on to an hour of a day, midnight by midnight: each day that is over is recognized, as the worker does.

        The day behind the last one of the month is the first of the next.
        """
        moment = midnight(self.period.first_day) + timedelta(days=day - 1, hours=hour)
        while (next_day := self.now.date() + timedelta(days=1)) <= moment.date():
            self.clocks.go_to(midnight(next_day) + timedelta(minutes=1))
            self.recognize()
        self.clocks.go_to(moment)
        self.quiet()

    def recognize(self) -> None:
        """What the worker does after each midnight."""

        async def recognized(house: House) -> None:
            through = await recognizing.last_day_over(house.sessions)
            await recognizing.recognize_all(house.sessions, through=through)

        self.service.do(recognized)

    def quiet(self) -> None:
        """Until nothing waits: no job and no letter at the pretend Stripe, nothing that we have not worked through.

        What is due to be read again is read, as the worker does now and then. Raises `Failed` when it never ends.
        """
        self.until(lambda: not self._busy() and not self._looked(), "nothing waits any more")

    def until(self, true: Callable[[], bool], what: str) -> None:
        """Wait until it is true. Raises `Failed` when it does not become so."""
        deadline = time.monotonic() + QUIET_WITHIN_S
        while not true():
            if time.monotonic() > deadline:
                raise Failed(f"not within {QUIET_WITHIN_S:.0f} s: {what}")
            time.sleep(_POLL_S)

    def _looked(self) -> int:
        async def looked(house: House) -> int:
            money = refunds.reader(house)
            if money is None:
                return 0
            found, _ = await looking.look_at_watched(house.sessions, money, livemode=house.livemode, clock=house.clock)
            return found

        return self.service.do(looked)

    def _busy(self) -> bool:
        if self.control("GET", "state")["objects"].get("job") or self.control("GET", "deliveries")["waiting"]:
            return True
        return bool(ask(self.clocks.owner_url, _WAITING)[0][0])

    def control(self, method: str, path: str, **body: Any) -> Any:
        """One of the pretend Stripe's controls. Raises `Failed`."""
        sent = body if method != "GET" else None
        return self._answer(self._stripe.request(method, f"/sandbox/{path}", json=sent))

    def at_stripe(self, path: str, **query: Any) -> Any:
        """What its API says. Raises `Failed`."""
        return self._answer(self._stripe.get(f"/v1/{path}", params=query))

    @staticmethod
    def _answer(answer: httpx.Response) -> Any:
        if answer.status_code != 200:
            raise Failed(f"the pretend Stripe answered {answer.status_code}: {answer.text[:300]}")
        return answer.json()


@contextmanager
def new_world(*, with_chain: bool) -> Iterator[tuple[World, Path]]:
    """A world on the first day of next month, and its folder; everything is stopped and removed with the block."""
    with fresh_folder() as folder:
        settings = _settings(folder, with_chain=with_chain)
        with embedding.completed(settings) as found, httpx.Client(
            base_url=str(found.stripe_api_base),
            headers={"authorization": f"Bearer {_KEY}"},
            timeout=TIMEOUT_S,
            trust_env=False,
        ) as stripe:  # fmt: skip
            clock = Clock()
            chain = local_chain.found(folder) if with_chain else None
            clocks = Clocks(clock, _secret(found), str(found.stripe_api_base), chain.rpc_url if chain else None)
            clocks.take_over()
            period = Period.of(clock().date()).next
            clocks.go_to(midnight(period.first_day) + BEGINS_AT)
            with serving(found, clock, folder) as service:
                yield World(period, service, clocks, found, chain, stripe), folder


def _secret(settings: Settings) -> str:
    if settings.migrate_url is None:
        raise Failed("the embedded database has no owner")
    return settings.migrate_url.get_secret_value()


def _settings(folder: Path, *, with_chain: bool) -> Settings:
    return OwnSettings(
        data_dir=folder,
        port=free_port(),
        credits_expire_after_days=EXPIRE_AFTER_DAYS,
        finance_second_approval_cents=ALONE_UP_TO_CENTS,
        local_chain=with_chain,
        log_format="json",
        events_every_s=0,  # its letters are brought; what is late is to stay late
    )
