"""What becomes of an adjustment whose line fits by itself later, and what a run tells of what was adjusted."""

from dataclasses import replace
from datetime import timedelta
from itertools import count

from billing.database import snapshot
from billing.operator_actions import COMMAND_LINE
from finance.reconciling import listing, proving, resolving, running
from finance.reconciling.found import Compared, Found
from finance.statement_tables import ExceptionState, Finding
from ledger import statements
from ledger.operations import PLATFORM

SHORT = ("bank", "po_1")


def short(month, cents=-3, subject="po_1"):
    return Found("bank", subject, Finding.DIFFERENT, None, cents, "usd", {}, {}, month.now)


async def written(month, *found):
    """A comparison of the bank that found these; how many exceptions it opened, and the first one's row."""
    async with month.books() as session, session.begin():
        done = await listing.write(session, [Compared("bank", 1, found)], now=month.now)
        rows = [*await listing.listed(session, limit=9), *await listing.lately_resolved(
            session, since=month.now - timedelta(days=1), limit=9
        )]  # fmt: skip
        return done.opened, {row.subject: row for row in rows}.get("po_1")


async def resolved(month, row):
    return await resolving.resolve(
        month.books, row.id, account=None, against=None, alone_up_to_cents=10, reason="seen", by=COMMAND_LINE,
        now=month.now,
    )  # fmt: skip


async def differences(month):
    async with snapshot(month.books) as session:
        balances = {row.code: row.balance for row in await statements.trial_balance(session, PLATFORM)}
        assert await proving.problems(session, limit=9) == []
    return balances.get("bank", 0), balances.get("reconciliation_differences", 0)


async def test_an_adjustment_whose_line_fits_by_itself_is_open_until_it_is_taken_back(month):
    await month.begin_anew()
    _, row = await written(month, short(month))
    assert (await resolved(month, row)).state == ExceptionState.RESOLVED
    assert await differences(month) == (-3, 3)
    assert (await written(month, short(month)))[0] == 0, "it is found as it was resolved"
    opened, row = await written(month)
    assert (opened, row.state, row.amount, row.here["adjusted"]["bank"]) == (1, ExceptionState.OPEN, 0, -3)
    assert (await written(month))[0] == 0
    await resolving.acknowledge(month.books, row.id, reason="known", by=COMMAND_LINE, now=month.now)
    opened, row = await written(month)
    assert (opened, row.state) == (0, ExceptionState.ACKNOWLEDGED), "who knows of it is not told again"
    assert (await resolved(month, row)).adjustment["proposal"]["amount"] == 3
    assert await differences(month) == (0, 0)
    assert (await written(month))[0] == 0
    opened, row = await written(month, short(month))
    assert (opened, row.state, row.amount) == (1, ExceptionState.OPEN, -3), "it is short again"


async def test_a_run_tells_what_was_resolved_lately_is_bounded_and_is_created_when_it_is_written(month, monkeypatch):
    await month.begin_anew()
    _, row = await written(month, short(month), short(month, subject="po_2"))
    await resolved(month, row)
    monkeypatch.setattr(running, "REPORTED_MAX", 2)
    began = month.now + timedelta(days=99)
    ticks = count()

    async def run(at):
        return await running.reconcile(
            month.books, reader=None, bank_days=1, holder="test", clock=lambda: at + timedelta(minutes=next(ticks))
        )

    first = await run(began)
    assert (first.report["as_of"], first.created_at) == (began.isoformat(), began + timedelta(minutes=1))
    assert [one["subject"] for one in first.report["exceptions"]] == ["po_2"]
    assert [(one["subject"], one["amount"]) for one in first.report["resolved"]] == [("po_1", -3)]
    monkeypatch.setattr(running, "REPORTED_MAX", 1)
    told = (await run(began)).report
    assert (told["resolved"], told["more_resolved"], told["more_exceptions"]) == ([], 1, 0)
    later = (await run(began + timedelta(days=2))).report
    assert later["more_resolved"] == 0, "that was too long ago"
    async with snapshot(month.books) as session:
        [newest, *_] = await listing.runs(session, before=None, limit=1)
    assert not set(listing.LISTS) & set(newest.report)
    assert newest.report["more_resolved"] == 0


async def test_another_fault_about_no_amount_is_open_again_and_the_same_one_is_not(month):
    await month.begin_anew()
    state = Found(
        "bank", "po_1", Finding.DIFFERENT, None, 0, "usd", {"status": "paid"}, {"status": "failed"}, month.now
    )
    assert (await written(month, state))[0] == 1
    _, row = await written(month, state)
    await resolved(month, row)
    assert (await written(month, state))[0] == 0
    lines = replace(state, there={"status": "paid", "lines_net_cents": 7})
    opened, row = await written(month, lines)
    assert (opened, row.state) == (1, ExceptionState.OPEN)


async def test_two_that_are_about_one_subject_are_two_exceptions_and_stay_so(month):
    await month.begin_anew()
    assert (await written(month, short(month), short(month, 5)))[0] == 2
    assert (await written(month, short(month), short(month, 5)))[0] == 0
    assert (await written(month, short(month)))[0] == 0
    async with month.books() as session:
        assert [row.subject for row in await listing.listed(session, limit=9)] == ["po_1"]
