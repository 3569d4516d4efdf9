"""Whatever happens in a month: each export comes to what stands in the books, and beancount accepts it."""

import asyncio
import json
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import HealthCheck, given, settings

from finance.periods import Period
from tests.books.books import new_id
from tests.finance.exported import balances, empty, marked, written
from tests.finance.month import month_on
from tests.finance.test_any_month import ACTIONS, act
from tests.finance.test_exports import csv_of, of_beancount, of_rows


@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(actions=ACTIONS)
def test_exports_of_any_history_come_to_the_books_and_beancount_accepts_them(month_database, actions):
    async def live(folder: Path) -> None:
        async with month_on(month_database) as month:
            await empty(month)
            for action in actions:
                await act(month, *action)
            last, period, journal = Period.of(month.now.date()), Period.parse("2026-09"), []
            while period != last:
                period = period.next
                found = await written(month, await marked(month, period, new_id()), folder / period.name)
                journal += csv_of(found["journal.csv"])
            books = await balances(month)
            assert of_rows(journal) == books
            assert of_beancount(found["ledger.beancount"].decode()) == books
            closing = {row["account"]: int(row["closing"]) for row in csv_of(found["trial-balance.csv"])}
            assert {code: amount for code, amount in closing.items() if amount} == books
            rows = [json.loads(line) for line in found["journal.jsonl"].splitlines()]
            assert len(rows) == len(csv_of(found["journal.csv"]))

    with TemporaryDirectory() as folder:
        asyncio.run(live(Path(folder)))
