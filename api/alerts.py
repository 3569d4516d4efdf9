"""How the service stands, measured in the database: for the lines of alerts, and for the gauges of `GET /metrics`.

Theory of operation
-------------------
The numbers are about the database and not about a process, so any process may measure them. The worker does so every
`MEASURE_EVERY_S` and says alerts in its log; with several workers each says them. A server measures when it is asked
for its metrics, at most once in `MEASURE_EVERY_S`, whoever asks and however often, because the worker may be another
process on another machine. One measuring is a few statements that read through indexes,
within `MEASURE_WITHIN_S` each.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

import structlog
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from api.alarms import Saying
from api.metrics import StandingMetrics
from api.wiring import House
from billing.database import Sessions, snapshot
from billing.jobs import reading as of_jobs
from billing.operating import measures as of_payments
from billing.subscriptions import measures as of_webhooks
from finance import recognizing as of_revenue
from finance.closing import obstacles as of_exceptions
from finance.periods import midnight
from webhooks import measures as of_letters

MEASURE_EVERY_S: Final = 15.0
MEASURE_WITHIN_S: Final = 3.0

log = structlog.get_logger()


async def measured(sessions: Sessions, *, now: datetime) -> Mapping[str, float | None]:
    """The measures by name (`api.metrics.STANDING`); none where there is nothing to measure.

    Raises what the driver raises.
    """
    async with snapshot(sessions) as session:
        connection = await session.connection()
        await connection.execute(text(f"SET LOCAL statement_timeout = {int(1000 * MEASURE_WITHIN_S)}"))
        payments = await of_payments.measured(session)
        letters = await of_letters.measured(session)
        webhooks = await of_webhooks.measured(session)
        overdue = await of_jobs.deadline_passed_since(session, now=now)
        unrecognized = await of_revenue.first_unrecognized(session)
        unacknowledged = await of_exceptions.unacknowledged_since(session)
    silent = letters.silent_since(payments.oldest_open)
    day_ended = midnight(unrecognized + timedelta(days=1)) if unrecognized is not None else None
    return {
        "letters_parked": letters.parked,
        "letter_oldest_unprocessed_seconds": _age(letters.oldest_waiting, now) or 0.0,
        "requests_unknown": payments.requests_unknown,
        "request_oldest_unknown_seconds": _age(payments.oldest_unknown, now) or 0.0,
        "attempts_unknown": payments.attempts_unknown,
        "attempts_under_review": payments.under_review,
        "webhook_missed_letters": letters.missed,
        "webhook_silence_seconds": _age(silent, now) or 0.0,
        "payments_unallocated": payments.unallocated,
        "credits_owed": payments.owed_credits,
        "disputes_open": payments.disputes_open,
        "watched_oldest_seconds": _age(payments.oldest_watched, now) or 0.0,
        "settlement_oldest_seconds": _age(payments.oldest_settling, now) or 0.0,
        "payments_held": payments.payments_held,
        "payments_vanished": payments.payments_vanished,
        "webhook_deliveries_pending": webhooks.pending,
        "webhook_delivery_oldest_pending_seconds": _age(webhooks.oldest, now) or 0.0,
        "webhook_endpoints_disabled": webhooks.disabled,
        "job_oldest_overdue_seconds": _age(overdue, now) or 0.0,
        "revenue_oldest_unrecognized_seconds": _age(day_ended, now) or 0.0,
        "exception_oldest_waiting_seconds": _age(unacknowledged, now) or 0.0,
        "event_cursor_age_seconds": _age(letters.read_through, now),
    }


def _age(since: datetime | None, now: datetime) -> float | None:
    return max((now - since).total_seconds(), 0.0) if since is not None else None


async def sound(house: House) -> bool:
    """A chore of the worker: measure, and say what is an alert, what still is, and what is over."""
    now = house.clock()
    found = await measured(house.sessions, now=now)
    settings = house.settings
    for saying in house.alarms.judge(found, settings, again_after_s=settings.alert_again_s, now=now):
        _say(saying)
    return False


def _say(saying: Saying) -> None:
    alert = saying.alert
    known = {
        "alert": alert.name,
        "measure": alert.measure,
        "value": saying.value,
        "threshold": saying.threshold,
        "lasted_s": saying.lasted_s,
    }
    if saying.over:
        log.info("alert_over", **known)
    else:
        log.error("alert", **known, runbook=alert.runbook)


@dataclass
class Gauges:
    """The gauges of a server process, measured when somebody asks and the last measuring is too old."""

    metrics: StandingMetrics = field(default_factory=StandingMetrics)
    _measured_at: float | None = field(default=None, init=False)
    _measuring: asyncio.Lock = field(default_factory=asyncio.Lock, init=False, repr=False)

    async def exposed(self, house: House) -> bytes:
        """Their text for Prometheus. Without the database they are NaN, and `purser_standing_measured` says 0."""
        loop = asyncio.get_running_loop()
        async with self._measuring:
            if self._measured_at is None or loop.time() - self._measured_at >= MEASURE_EVERY_S:
                self._measured_at = loop.time()
                try:
                    self.metrics.stands(await measured(house.sessions, now=house.clock()))
                except (SQLAlchemyError, OSError) as error:
                    log.warning("standing_not_measured", reason=type(error).__name__)
                    self.metrics.stands(None)
        return self.metrics.text()
