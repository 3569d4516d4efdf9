"""The commands of a month, as a person types them; in this process, because each is a process otherwise."""

import asyncio
import os
from datetime import UTC, datetime

import pytest
from typer.testing import CliRunner

from api.cli import app
from api.reasons import CannotGoOn
from tests.finance.month import BOOKS, Month

AFTER = datetime(2026, 11, 2, 9, tzinfo=UTC)
LETTER = (
    "INSERT INTO webhooks.letters (id, source, provider_event_id, type, body, state, received_at, next_try_at)"
    " VALUES (gen_random_uuid(), 'stripe', 'evt_x', 'charge.updated', '{}'::bytea, 'parked', '2026-10-09',"
    " '2026-10-09')"
)


@pytest.fixture
def run(month_database, monkeypatch):
    """`run(argument, …)`: one command on the database of the month; what it said, or why it stopped."""
    for name in [name for name in os.environ if name.startswith("PURSER_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PURSER_DATABASE_URL", month_database.run_url)
    monkeypatch.setenv("PURSER_SANDBOX", "true")
    monkeypatch.setenv("COLUMNS", "200")

    async def typed(*arguments):
        def invoke():
            return CliRunner().invoke(app, list(arguments))

        ended = await asyncio.to_thread(invoke)
        if isinstance(ended.exception, CannotGoOn):
            return f"{ended.exception.exit_code}: {ended.output}{ended.exception}"
        assert ended.exception is None, ended.output
        return " ".join(ended.output.split())

    return typed


@pytest.fixture
async def october(month: Month):
    """Two organizations used, refunded and let expire what they bought."""
    month_of_october = month
    whole = await month.pay(BOOKS[0], 500, 500, days=12)
    await month.pay(BOOKS[1], 3, 500)
    await month.spend(BOOKS[0], 200)
    await month.spend(BOOKS[1], 1)
    await month.reverse(whole, refunds=100)
    await month.set_clock(AFTER)
    # What was paid here is no payment's, as billing's proofs would say: only the close is looked at.
    return month_of_october


@pytest.fixture
def without_proofs(monkeypatch):
    async def none(*_, **__):
        return []

    monkeypatch.setattr("billing.proofs.problems", none)


async def test_a_month_is_closed_listed_shown_and_opened_again(october, run, without_proofs):
    said = await run("close", "2026-10", "--reason", "the month is over")
    assert "2026-10 is closed: 4 books, close_" in said
    assert "Write it out with: purser export 2026-10" in said
    assert "2026-10 sealed 20" in await run("closes")
    rolled = await run("roll-forward", "2026-10", "--total")
    assert "total 0.00 10.00 -3.67 -2.00 -1.00 0.00 0.00 3.33" in rolled
    assert "is closed already" in await run("close", "2026-10", "--reason", "again")
    assert "2026-10 is open again" in await run("reopen", "2026-10", "--reason", "an invoice came late")
    assert "2026-10 reopened 20" in await run("closes")


async def test_what_is_in_the_way_of_a_close_is_named_with_what_to_do(october, run, without_proofs):
    await october.owner.execute(LETTER)
    await october.owner.execute(
        "INSERT INTO finance.exceptions (id, source, subject, finding, amount, currency, here, there, state,"
        " occurred_at, first_seen_at, opened_at, last_seen_at, updated_at) VALUES (gen_random_uuid(), 'bank', 'po_1',"
        " 'missing_there', 5, 'usd', '{}', '{}', 'open', '2026-10-31', now(), now(), now(), now())"
    )
    said = await run("close", "2026-10", "--reason", "the month is over")
    await october.owner.execute("DELETE FROM webhooks.letters")
    assert "1 letters that are not done: see `purser letters list`" in said
    assert "1 exceptions that nobody has acknowledged" in said
    assert said.startswith("1: ")
    assert "2026-10 stays open" in said
    assert await october.owner.fetchval("SELECT count(*) FROM finance.closes") == 0


async def test_books_that_are_not_clean_are_not_closed(october, run):
    said = await run("close", "2026-10", "--reason", "the month is over")
    assert "2026-10 stays open: the books must be clean first" in said


async def test_a_month_is_typed_as_year_and_month(run, month):
    assert (await run("close", "October", "--reason", "x")).startswith("2: ")
    assert "is not over yet" in await run("recognize", "--through", "2026-10-01")


async def test_revenue_can_be_recognized_by_hand(october, run):
    assert "Revenue is recognized through 2026-11-01: 3 books looked at, 3 days posted." in await run("recognize")
    assert "0 days posted" in await run("recognize")


async def test_times_are_printed_in_the_zone_of_the_settings_and_days_stay_utc(
    october, run, monkeypatch, without_proofs
):
    await run("close", "2026-10", "--reason", "the month is over")
    monkeypatch.setenv("PURSER_TIME_ZONE", "Asia/Tokyo")
    assert "JST" in await run("closes")
    monkeypatch.setenv("PURSER_TIME_ZONE", "Nowhere/Land")
    assert "no time zone" in await run("closes")
    monkeypatch.setenv("PURSER_TIME_ZONE", "UTC")
    assert "JST" not in await run("closes")
