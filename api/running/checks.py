"""`purser check`: whether the settings, the database, the roles and the rails are as they should be.

Every finding says what was looked at and, when it is wrong, how to mend it. Nothing is changed.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Final

from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from sqlmodel.ext.asyncio.session import AsyncSession

import migrations
from api.http.views import signing_in
from api.reasons import CannotGoOn
from api.running.embedding import lacks_stripe
from api.settings import Settings
from api.wiring import House, build, now
from billing.wallets import Challenge
from ledger.tables import SCHEMA as BOOKS
from rails.evm.chain import WrongChain
from rails.rail import ProviderRefused, RailUnavailable
from rails.x402.facilitator import WrongFacilitator

SERVER_VERSIONS: Final = range(15, 19)
"""Major versions of PostgreSQL that are supported."""
CLOCK_DIFFERENCE_MAX_S: Final = 5.0
"""Webhooks may be five minutes off; quotes and money time should agree far better than that."""

_KEY_SHAPE: Final = re.compile(r"(sk|rk)_(test|live)_[A-Za-z0-9_]{8,}")
_WRITABLE: Final = text("""
    SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = :books AND c.relkind IN ('r', 'p', 'v')
      AND (has_any_column_privilege(c.oid, 'INSERT') OR has_any_column_privilege(c.oid, 'UPDATE')
           OR has_table_privilege(c.oid, 'DELETE') OR has_table_privilege(c.oid, 'TRUNCATE')
           OR has_table_privilege(c.oid, 'TRIGGER'))
    ORDER BY c.relname""")
_POWERS: Final = text("""
    SELECT current_user, rolsuper, rolbypassrls, rolcreaterole, rolreplication,
           pg_has_role(current_user, n.nspowner, 'MEMBER'),
           pg_has_role(current_user, d.datdba, 'MEMBER'),
           has_schema_privilege(n.oid, 'CREATE')
    FROM pg_roles, pg_namespace n, pg_database d
    WHERE rolname = current_user AND n.nspname = :books AND d.datname = current_database()""")
_POWER_NAMES: Final = (
    "is a superuser",
    "bypasses row security",
    "may create roles",
    "may replicate",
    "is a member of the books' owner",
    "owns the database",
    "may create things among the books",
)
_MAY_POST: Final = text("""
    SELECT coalesce(bool_and(has_function_privilege(p.oid, 'EXECUTE')), false)
    FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE n.nspname = :books AND p.proname = 'post_v1'""")


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at: fine when there is nothing to `mend`."""

    subject: str
    found: str
    mend: str | None = None


async def findings(settings: Settings) -> AsyncIterator[Finding]:
    """Every finding, in the order in which one would mend them. `settings` name a database."""
    for finding in of_settings(settings):
        yield finding
    house = build(settings)
    try:
        async for finding in _of_database(house):
            yield finding
        async for finding in _of_rails(house):
            yield finding
    finally:
        await house.close()


def of_settings(settings: Settings) -> Iterator[Finding]:
    """What can be seen without asking anybody."""
    yield Finding("settings", "can be read")
    yield _key_shape(settings)
    yield _webhook_secrets(settings)
    yield _public_url(settings)
    yield _links(settings)
    yield _receipt_key(settings)
    if settings.livemode and settings.stripe_api_base is not None:
        yield Finding(
            "sandbox",
            "a live key goes to another address than Stripe's",
            "unset PURSER_STRIPE_API_BASE, or use a test key",
        )


def _key_shape(settings: Settings) -> Finding:
    key = settings.stripe_secret_key
    if lacks_stripe(settings):
        return Finding(
            "Stripe key",
            "none, but PURSER_DATABASE_URL is set",
            "set PURSER_STRIPE_SECRET_KEY, or PURSER_SANDBOX=true where a pretend Stripe is meant",
        )
    if key is None:
        return Finding("Stripe key", "none: `purser serve` runs the sandbox")
    if _KEY_SHAPE.fullmatch(key.get_secret_value()) is None:
        return Finding(
            "Stripe key",
            "does not look like one",
            "set PURSER_STRIPE_SECRET_KEY to a secret or restricted key (sk_… or rk_…) of your Stripe dashboard",
        )
    return Finding("Stripe key", "of live mode: real money" if settings.livemode else "of test mode: no real money")


def _webhook_secrets(settings: Settings) -> Finding:
    secrets = settings.stripe_webhook_secrets
    mend = "set PURSER_STRIPE_WEBHOOK_SECRETS to the signing secret (whsec_…) of your webhook endpoint"
    if settings.stripe_secret_key is None:
        return Finding("webhook secrets", "none needed: the sandbox brings its own")
    if not secrets:
        return Finding("webhook secrets", "none, so no payment can be verified", mend)
    if not all(one.get_secret_value().startswith("whsec_") for one in secrets):
        return Finding("webhook secrets", "one does not look like a signing secret", mend)
    return Finding("webhook secrets", f"{len(secrets)} in use")


def _public_url(settings: Settings) -> Finding:
    if settings.livemode and not settings.url.startswith("https://"):
        return Finding(
            "public URL",
            f"{settings.url} is not https, and the Stripe key is live",
            "set PURSER_PUBLIC_URL to the https address at which payers and agents reach this service",
        )
    return Finding("public URL", settings.url)


def _receipt_key(settings: Settings) -> Finding:
    mend = "make one with `purser receipt make-key` and set PURSER_RECEIPT_KEY to its seed"
    found = settings.receipt_keys().signing
    if found is not None:
        return Finding("receipts", f"are signed with the key {found.public.key_id}")
    if settings.stripe_secret_key is None and settings.x402_network is None:
        return Finding("receipts", "are signed with a key that the sandbox brings along")
    return Finding("receipts", "are not signed", mend if settings.livemode else None)


def _links(settings: Settings) -> Finding:
    """No fault without a sender: a product may do without humans that own organizations."""
    if settings.claim_sender_url is not None:
        return Finding("links to owners", "are sent by the server that PURSER_CLAIM_SENDER_URL names")
    if settings.livemode:
        return Finding("links to owners", "none is sent, and nobody can claim: PURSER_CLAIM_SENDER_URL is not set")
    return Finding("links to owners", "stand in the log; name a sender with PURSER_CLAIM_SENDER_URL")


async def _of_database(house: House) -> AsyncIterator[Finding]:
    try:
        async with house.sessions() as session:
            yield await _version(session)
            migrated = await _migrated(session)
            yield migrated
            if migrated.mend is None:
                yield await _run_role(session)
                yield await _may_post(session)
                yield await _clock(session, house)
    except (SQLAlchemyError, OSError) as error:
        first = str(error).partition("\n")[0] or type(error).__name__
        yield Finding("database", f"cannot be used: {first}", "start it, or correct PURSER_DATABASE_URL")


async def _version(session: AsyncSession) -> Finding:
    number = int(str(await session.scalar(text("SELECT current_setting('server_version_num')"))))
    supported = f"{SERVER_VERSIONS.start} to {SERVER_VERSIONS.stop - 1}"
    if number // 10_000 not in SERVER_VERSIONS:
        return Finding("database", f"is PostgreSQL {number // 10_000}", f"use PostgreSQL {supported}")
    return Finding("database", f"answers: PostgreSQL {number // 10_000}.{number % 10_000}")


async def _migrated(session: AsyncSession) -> Finding:
    expected, found = migrations.newest(), None
    if await session.scalar(text("SELECT to_regclass('public.alembic_version') IS NOT NULL")):
        readable = await session.scalar(text("SELECT has_table_privilege('public.alembic_version', 'SELECT')"))
        if not readable:
            return Finding(
                "schema", "may not be read by this login", "run `purser migrate`, which admits it to purser_run"
            )
        found = await session.scalar(text("SELECT version_num FROM public.alembic_version"))
    if found != expected:
        return Finding("schema", f"is at {found or 'none'}, this version needs {expected}", "run `purser migrate`")
    return Finding("schema", f"is the newest ({expected})")


async def _run_role(session: AsyncSession) -> Finding:
    [(login, *powers)] = (await session.execute(_POWERS, {"books": BOOKS})).all()
    faults = [name for name, has in zip(_POWER_NAMES, powers, strict=True) if has]
    writable = list((await session.execute(_WRITABLE, {"books": BOOKS})).scalars())
    if writable:
        faults.append(f"can write {', '.join(f'{BOOKS}.{name}' for name in writable)}")
    if faults:
        return Finding(
            "run role",
            f"{login} {'; '.join(faults)}",
            "let PURSER_DATABASE_URL log in as a role that owns nothing and is a member of purser_run only",
        )
    return Finding("run role", f"{login} can read the books and cannot write them")


async def _may_post(session: AsyncSession) -> Finding:
    if not await session.scalar(_MAY_POST, {"books": BOOKS}):
        return Finding("posting", "the run role may not call it", "run `purser migrate`, which admits it to purser_run")
    return Finding("posting", "the run role may call the posting function")


async def _clock(session: AsyncSession, house: House) -> Finding:
    theirs = await session.scalar(text("SELECT extract(epoch FROM ledger.clock())"))
    difference_s = abs(float(str(theirs)) - house.clock().timestamp())
    if difference_s > CLOCK_DIFFERENCE_MAX_S:
        return Finding(
            "clock", f"the database's differs from ours by {difference_s:.0f} s", "set both machines' clocks (NTP)"
        )
    return Finding("clock", f"the database's and ours agree within {CLOCK_DIFFERENCE_MAX_S:.0f} s")


async def require_chain(settings: Settings) -> None:
    """Raises `CannotGoOn` when the chain, its token or the facilitator is certainly not what the settings say.

    One that does not answer now may answer later; until then the method is not offered.
    """
    if settings.x402_network is None:
        return
    try:
        signing_in.asked(Challenge("0" * 32, now(), now()), settings.url, settings.x402_network, linking=None)
    except ValueError as error:
        raise CannotGoOn(f"Wallets cannot sign in at {settings.url} ({error}); correct PURSER_PUBLIC_URL.") from None
    house = build(settings)
    try:
        if house.native is not None:
            await house.native.check()
    except (WrongChain, WrongFacilitator) as wrong:
        raise CannotGoOn(f"{wrong}. Correct PURSER_X402_NETWORK, or the URL that is asked.") from None
    finally:
        await house.close()


async def _of_rails(house: House) -> AsyncIterator[Finding]:
    for door in list(house.doors.values())[:1]:  # all have the same key
        try:
            await door.probe()
        except (RailUnavailable, ProviderRefused) as error:
            yield Finding(
                "Stripe",
                f"does not serve: {error}",
                "check PURSER_STRIPE_SECRET_KEY, PURSER_STRIPE_API_BASE and the network",
            )
        else:
            yield Finding("Stripe", "answers and takes the key")
    if house.native is not None:
        try:
            await house.native.check()
        except (WrongChain, WrongFacilitator) as wrong:
            yield Finding(
                "x402", str(wrong), "correct PURSER_X402_NETWORK, PURSER_X402_RPC_URL or PURSER_X402_FACILITATOR_URL"
            )
        else:
            reason = house.native.standing.reason
            mend = "check the node, the facilitator, and the ether of the gas wallet" if reason is not None else None
            found = reason or f"{house.native.network.caip2}, paid to {house.native.pay_to}"
            if house.native.gas is not None:
                found = f"{found}; gas is paid by {house.native.gas.address}"
            yield Finding("x402", found, mend)
    if house.doors and not house.offered:
        yield Finding("rails", "none is switched on", "set PURSER_STRIPE_CHECKOUT or PURSER_STRIPE_X402 to true")
    elif house.offered:
        yield Finding("rails", ", ".join(sorted(house.offered)))
