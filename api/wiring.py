"""The one place where everything is wired together: settings in, a `House` out."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from pydantic import SecretStr
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.ext.asyncio import AsyncEngine

from api import account_map, native, outside
from api.alarms import Alarms
from api.metrics import LaneMetrics
from api.native import Native
from api.outside import Outside
from api.reasons import UNUSABLE_SETTINGS, CannotGoOn
from api.settings import Settings
from api.windows import Window
from billing.bearers import Bearers
from billing.database import ANSWER_TIMEOUT_S, Sessions, connector, engine, sessions
from billing.packs import STRIPE_CHECKOUT, STRIPE_X402, X402
from billing.purchases import Place
from billing.requests import Clock
from finance.exporting.account_maps import AccountMap
from finance.receipt_signing import Keyring
from ledger.lane import Lane
from rails.rail import Rail
from rails.stripe_checkout.messages import Terms
from rails.stripe_checkout.rail import StripeCheckout
from rails.stripe_door import StripeDoor
from rails.stripe_money.reader import StripeMoney
from rails.stripe_x402.rail import StripeX402

NOT_CONFIGURED: Final = "not configured on this service"
PORT_MAX: Final = 65_535
LOOKS_PER_MINUTE: Final = 20
LOOKS_AT_ONCE: Final = 5

_SCHEMES: Final = frozenset({"postgres", "postgresql", "postgresql+asyncpg"})
_PARAMETERS: Final = {
    "ssl": re.compile("disable|allow|prefer|require|verify-ca|verify-full"),
    "target_session_attrs": re.compile("any|primary|standby|read-write|read-only|prefer-standby"),
    "prepared_statement_cache_size": re.compile(r"\d{1,5}"),
    "host": re.compile(r"/[^,]+"),
}
"""What may stand behind the `?` of a database's URL, as text. `host` is the folder of a socket."""


def now() -> datetime:
    """The process clock, in UTC."""
    return datetime.now(UTC)


@dataclass(frozen=True)
class House:
    """Everything a request or the worker needs. Made once a process; `close` gives its connections back."""

    settings: Settings
    database: AsyncEngine = field(repr=False)
    sessions: Sessions = field(repr=False)
    rails: Mapping[str, Rail]
    """By method: all that letters may still speak of, also when they are not offered any more."""
    doors: Mapping[str, StripeDoor]
    """By method: each has its own, so that a key that may not do one thing does not close the other."""
    money: StripeMoney | None = field(repr=False)
    """Reads what becomes of money after it settled, and refunds; on a door of its own. None without Stripe."""
    native: Native | None = field(repr=False)
    """Payments that wallets sign and that go straight to our treasury. None when no chain is named."""
    outside: Outside = field(repr=False)
    """The product's own servers, what they carry out, and at which price."""
    offered: frozenset[str]
    place: Place
    lane: Lane
    """The hot path into the books. It takes operations while the application runs."""
    metrics: LaneMetrics
    bearers: Bearers
    receipt_keys: Keyring = field(default_factory=Keyring, repr=False)
    """What receipts are signed with, and checked."""
    account_map: AccountMap | None = None
    """How an accounting package of the operator's own calls our accounts."""
    clock: Clock = now
    alarms: Alarms = field(default_factory=Alarms, repr=False)
    """Which alerts last, as the worker of this process knows."""
    looks: Window = field(default_factory=lambda: Window(LOOKS_PER_MINUTE), repr=False)
    """How often each organization makes us ask the provider by asking after its payments."""
    looking_now: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(LOOKS_AT_ONCE), repr=False)
    letters_arrived: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when a letter was stored by this process, so that its worker need not wait for its next look."""

    @property
    def readers(self) -> tuple[Rail | StripeMoney, ...]:
        """Who may know what a provider's message is about."""
        return (*self.rails.values(), *((self.money,) if self.money is not None else ()))

    @property
    def livemode(self) -> bool:
        """Whether payments are real."""
        return self.settings.livemode

    @property
    def live_money(self) -> bool:
        """What the catalog says of it."""
        return self.livemode or self.settings.sandbox_live_money

    def is_live_money(self, method_id: str) -> bool:
        """The same for one method: a chain's money is as real as the chain, whatever a sandbox pretends."""
        if method_id == X402.method_id:
            return self.native is not None and self.native.livemode
        return self.live_money

    def unavailable(self, method_id: str) -> str | None:
        """Why the method is not offered now; none when it is."""
        if method_id not in self.offered:
            return NOT_CONFIGURED
        if method_id == X402.method_id and self.native is not None:
            return self.native.standing.reason
        return self.doors[method_id].health.unavailable_reason(self.clock())

    async def close(self) -> None:
        """Give all connections back."""
        for door in self.doors.values():
            await door.aclose()
        if self.money is not None:
            await self.money.door.aclose()
        if self.native is not None:
            await self.native.close()
        await self.outside.close()
        self.bearers.close()
        await self.database.dispose()


def async_url(url: str, name: str = "PURSER_DATABASE_URL") -> str:
    """A PostgreSQL URL in the form that SQLAlchemy's asyncpg dialect takes.

    Raises `CannotGoOn` for one that is mistyped, naming the variable and never its value.
    """
    scheme, _, rest = url.partition("://")
    if scheme not in _SCHEMES:
        raise _mistyped(name, "does not begin with postgresql://")
    found = f"postgresql+asyncpg://{rest}"
    try:
        parsed = make_url(found)
        (parsed.host or "").encode("idna")  # as the resolver will do
    except (ArgumentError, ValueError):
        raise _mistyped(name, "cannot be read; reserved characters of a password are written as %40 for @") from None
    if parsed.port is not None and not 0 < parsed.port <= PORT_MAX:
        raise _mistyped(name, "names no port")
    for parameter, value in parsed.query.items():
        known = _PARAMETERS.get(parameter)
        if known is None or not isinstance(value, str) or known.fullmatch(value) is None:
            raise _mistyped(name, f"may carry {', '.join(_PARAMETERS)} behind the ?; TLS is asked for by ssl=require")
    return found


def _mistyped(name: str, fault: str) -> CannotGoOn:
    shape = "postgresql://login:password@host:port/database"
    return CannotGoOn(f"{name} {fault}; it is {shape}.", exit_code=UNUSABLE_SETTINGS)


def build(settings: Settings, *, clock: Clock = now, answer_timeout_s: int | None = ANSWER_TIMEOUT_S) -> House:
    """Wire a house. Opens no connection yet. Raises `ValueError` when there is no database to use.

    Raises `CannotGoOn` when its URL is mistyped.
    """
    if settings.database_url is None:
        raise ValueError("PURSER_DATABASE_URL is not set; `purser serve` sets it when it embeds a database")
    database = engine(async_url(settings.database_url.get_secret_value()), answer_timeout_s=answer_timeout_s)
    wanted = {STRIPE_CHECKOUT.method_id: settings.stripe_checkout, STRIPE_X402.method_id: settings.stripe_x402}
    doors: dict[str, StripeDoor] = {}
    rails: dict[str, Rail] = {}
    money: StripeMoney | None = None
    if settings.stripe_secret_key is not None:
        doors = {method_id: _door(settings, settings.stripe_secret_key, clock) for method_id in wanted}
        rails = {
            STRIPE_CHECKOUT.method_id: StripeCheckout(doors[STRIPE_CHECKOUT.method_id], _terms(settings)),
            STRIPE_X402.method_id: StripeX402(
                doors[STRIPE_X402.method_id],
                api_version=settings.stripe_crypto_version,
                any_amount=settings.stripe_crypto_partial,
            ),
        }
        money = StripeMoney(_door(settings, settings.stripe_secret_key, clock), clock=clock)
    metrics, made = LaneMetrics(), sessions(database)
    offered = {method_id for method_id in rails if wanted[method_id]}
    paid_natively = native.build(settings, made, clock=clock)
    if paid_natively is not None:
        rails[X402.method_id] = paid_natively.rail
        offered.add(X402.method_id)
    return House(
        settings=settings,
        database=database,
        sessions=made,
        rails=rails,
        doors=doors,
        money=money,
        native=paid_natively,
        outside=outside.build(settings, made, clock=clock),
        offered=frozenset(offered),
        place=Place(settings.url, settings.offer()),
        lane=Lane(connector(database), metrics),
        metrics=metrics,
        bearers=Bearers(connector(database)),
        receipt_keys=settings.receipt_keys(),
        account_map=account_map.own(settings.account_map),
        clock=clock,
    )


def _terms(settings: Settings) -> Terms:
    return Terms(
        payment_methods=tuple(settings.checkout_payment_methods),
        promotion_codes=settings.checkout_promotion_codes,
        tax=settings.checkout_tax,
    )


def _door(settings: Settings, key: SecretStr, clock: Clock) -> StripeDoor:
    return StripeDoor(
        key.get_secret_value(), clock=clock, api_base=settings.stripe_api_base, timeout_s=settings.stripe_timeout_s
    )
