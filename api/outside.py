"""The product beside the ledger, as the settings name it: who carries jobs out, at which prices, who sends links."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import structlog
from pydantic import SecretStr

from api.price_list import PriceBook
from api.reasons import UNUSABLE_SETTINGS, CannotGoOn
from api.settings import Settings
from billing.database import Sessions
from billing.jobs.turning import Desk
from billing.requests import Clock
from outbound.calling import CallingExecutor
from outbound.door import Door, NotSent
from outbound.executor import Executor
from outbound.guarding import Forbidden
from outbound.placeholder import Placeholder
from outbound.sender import CallingSender, Sender

CALLOUT: Final = "callout"
PLACEHOLDER: Final = "placeholder"

log = structlog.get_logger()


@dataclass(frozen=True)
class Outside:
    """What is the product's own. `door` is the one to receivers of webhooks; the others have doors of their own.

    `executor` is the name of the executor that new jobs get; none where nothing carries jobs out.
    """

    prices: PriceBook
    executor: str | None
    desk: Desk
    sender: Sender
    door: Door
    doors: Sequence[Door] = field(repr=False)

    async def close(self) -> None:
        """Give all connections back."""
        for door in self.doors:
            await door.aclose()


class LogSender:
    """Writes links into the log, for who tries things out and has named no sender. Who reads the log can claim."""

    async def send(self, *, contact: str, link: str, organization_id: str) -> None:
        """Say the link in the log."""
        log.warning("claim_link", link=link, contact=contact, organization_id=organization_id)


class NoSender:
    """Sends nothing, where money is real and no sender was named: a log is no place for what opens organizations."""

    async def send(self, *, contact: str, link: str, organization_id: str) -> None:  # noqa: ARG002 - as `Sender` has it
        """Raise `NotSent`."""
        raise NotSent("no sender of links is configured")


def build(settings: Settings, sessions: Sessions, *, clock: Clock) -> Outside:
    """The product as the settings name it. Opens no connection yet. Raises `CannotGoOn` for a bad price list."""
    private = settings.outbound_private
    asking = Door(allow_private=private, timeout_s=settings.executor_timeout_s)
    telling = Door(allow_private=private, timeout_s=settings.outbound_timeout_s)
    try:
        executors, sender = _executors(settings, asking, clock), _sender(settings, asking, clock)
    except (ValueError, Forbidden) as error:
        message = f"PURSER_EXECUTOR_URL, PURSER_CLAIM_SENDER_URL or their secrets cannot be used: {error}"
        raise CannotGoOn(message, exit_code=UNUSABLE_SETTINGS) from None
    name = next(iter(executors), None)
    return Outside(
        prices=PriceBook(settings.price_list, executor=name),
        executor=name,
        desk=Desk(sessions, executors, clock),
        sender=sender,
        door=telling,
        doors=(asking, telling),
    )


def _executors(settings: Settings, door: Door, clock: Clock) -> dict[str, Executor]:
    """By name, the one for new jobs first."""
    found: dict[str, Executor] = {}
    if settings.executor_url is not None:
        found[CALLOUT] = CallingExecutor(door, settings.executor_url, _plain(settings.executor_secrets), clock=clock)
    if not settings.livemode:
        found[PLACEHOLDER] = Placeholder()
    return found


def _sender(settings: Settings, door: Door, clock: Clock) -> Sender:
    if settings.claim_sender_url is None:
        return NoSender() if settings.livemode else LogSender()
    return CallingSender(door, settings.claim_sender_url, _plain(settings.claim_sender_secrets), clock=clock)


def _plain(secrets: Sequence[SecretStr]) -> list[str]:
    return [secret.get_secret_value() for secret in secrets]
