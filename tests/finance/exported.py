"""A November to export, after an October: every kind of money, texts of strangers, and ids that never change."""

import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

from sqlalchemy import insert
from sqlmodel import select

from finance import watermarks
from finance.exporting import files, marks, writing
from finance.exporting.marks import Marked
from finance.exporting.reading import reading
from finance.periods import Period
from finance.statement_tables import ReconciliationRun
from finance.tables import Export
from ledger.chart import BY_CODE
from ledger.money import ether, usd, usdc
from ledger.operations import PLATFORM, SYSTEM_SCOPE, Kind, LotCause, LotOpening, Operation, Transfer
from ledger.outcomes import Outcome
from tests.finance.month import AGENT, BOOKS, Month

OCTOBER, NOVEMBER = Period.parse("2026-10"), Period.parse("2026-11")
MARK = UUID(int=0xE0 << 120)
RUN = UUID(int=0xF0 << 120)
FORMULA = '=HYPERLINK("http://evil.example","x")'
EXPORT_TABLES = "finance.exports, finance.watermarks, finance.watermark_books, finance.reconciliations"
MAPS = {name: files.ready_map(name) for name in files.READY_MAPS}


async def money(month: Month, book: UUID, *transfers: Transfer, at: datetime | None = None, key: str = "k") -> None:
    """Something is posted for what somebody else's text says."""
    said = 'a text\nof\ttwo lines, "quoted" \\ é'
    operation = Operation(
        book, Kind.MONEY, SYSTEM_SCOPE, f"{key}{next(month._keys)}", said, at or month.now, transfers=transfers
    )
    assert await month.post(operation) == [Outcome.POSTED]


async def lived(month: Month) -> None:
    """Two months of business, up to the second of December."""
    await empty(month)
    card, wallet, _ = BOOKS
    paid = await month.pay(card, 500, 495, tax=40, remainder=5, days=45)
    await month.gift(card, 20, days=35)
    await month.spend(card, 33)
    await month.wait(days=33)
    grant = month.new(
        wallet, Kind.GRANT, scope=SYSTEM_SCOPE, event_at=month.now,
        transfers=(Transfer("conversion", "deferred_revenue", usd(700)),
                   Transfer("usdc_clearing", "conversion_usdc", usdc(7_000_000))),
        lot=LotOpening(LotCause.PAID, 700, usd(700), None),
    )  # fmt: skip
    assert await month.post(grant) == [Outcome.POSTED]
    await money(month, PLATFORM, Transfer("fees_onchain", "gas_wallet", ether(123_456)))
    await money(month, card, Transfer("stripe_fees", "stripe_clearing", usd(45)), key="@balance:txn_1")
    await month.hold(card, 60, hours=30)
    hostile = Operation(card, Kind.SPEND, AGENT, "-1+1|cmd", FORMULA, credits=7)
    assert await month.post(hostile) == [Outcome.POSTED]
    await month.wait(hours=20)
    await month.capture(month.holds[-1], 11)
    await month.reverse(paid, refunds=54)
    await money(month, PLATFORM, Transfer("bank", "stripe_clearing", usd(300)))
    await money(month, card, Transfer("deferred_revenue", "revenue_usage", usd(50)))
    late = datetime(2026, 11, 30, 23, 59, 59, 999_999, tzinfo=UTC)
    await month.set_clock(late + timedelta(days=1))
    await money(month, card, Transfer("deferred_revenue", "revenue_breakage", usd(3)), at=late)
    await month.spend(card, 1)


async def empty(month: Month) -> None:
    await month.begin_anew()
    await month.owner.execute(
        f"SET session_replication_role = replica; TRUNCATE {EXPORT_TABLES}, billing.receipts, billing.payment_attempts"
        " CASCADE; SET session_replication_role = origin"
    )


async def reconciled(month: Month, run_id: UUID = RUN, *, at: datetime | None = None) -> None:
    """A run with three exceptions, an hour before now."""
    found = [
        {
            "exception_id": "exception_1",
            "source": "stripe",
            "subject": "txn_9",
            "finding": "missing_here",
            "amount": -250,
            "currency": "USD",
            "occurred_at": "2026-11-03T10:00:00Z",
            "age_days": 4,
            "state": "open",
        },
        {
            "exception_id": "exception_2",
            "source": "bank",
            "subject": "+SUM(A1)",
            "finding": "different",
            "amount": 1,
            "currency": "USD",
            "occurred_at": "2026-11-04T10:00:00Z",
            "age_days": 3,
            "state": "acknowledged",
        },
    ]
    settled = {**found[0], "exception_id": "exception_3", "subject": "txn_8", "state": "resolved"}  # fmt: skip
    await month.owner.execute(
        "INSERT INTO finance.reconciliations (id, holder, report, created_at) VALUES ($1, 'pytest', $2, $3)",
        run_id, json.dumps({"exceptions": found, "resolved": [settled]}), at or month.now - timedelta(hours=1),
    )  # fmt: skip


async def receipted(month: Month) -> None:
    """The receipt of the first payment, which was October's, and one of November's grant."""
    grants = await month.owner.fetch(
        "SELECT organization_id, id, posted_at FROM ledger.operations WHERE kind = 'grant' AND cause = 'test'"
        " AND cardinality(lines) > 6 ORDER BY organization_id, seq"
    )
    await month.owner.execute("SET session_replication_role = replica")
    for n, grant in enumerate(grants, 1):
        known = (grant["organization_id"], UUID(int=n), grant["posted_at"])
        await month.owner.execute(
            "INSERT INTO billing.payment_attempts SELECT (jsonb_populate_record(null::billing.payment_attempts, $1)).*",
            json.dumps({
                "organization_id": str(known[0]), "id": str(known[1]), "agent_id": str(AGENT),
                "quote_id": str(UUID(int=9)), "idempotency_key": f"buy {n}", "method": "stripe_checkout",
                "state": "succeeded", "request_number": 1, "created_at": known[2].isoformat(),
                "updated_at": known[2].isoformat(), "payable_until": known[2].isoformat(),
                "looked_at": known[2].isoformat(),
            }),
        )  # fmt: skip
        await month.owner.execute(
            "INSERT INTO billing.receipts (organization_id, id, attempt_id, quote_id, operation_id, credits,"
            " subtotal_cents, discount_cents, tax_cents, total_cents, currency, late, details, settled_at, created_at)"
            " VALUES ($1, $2, $2, $2, $4, 500, 500, 0, 40, 540, 'usd', false, '{}', $3, $3)",
            *known, grant["id"],
        )  # fmt: skip
    await month.owner.execute("SET session_replication_role = origin")


async def marked(month: Month, period: Period = NOVEMBER, watermark_id: UUID = MARK) -> Marked:
    """A mark with an id that never changes."""
    async with month.books() as session, session.begin():
        await watermarks.take(session, watermark_id, now=month.now)
        await session.exec(
            insert(Export).values(
                id=watermark_id,
                period=period.name,
                holder="pytest",
                reconciliation_id=select(ReconciliationRun.id).scalar_subquery(),
                created_at=month.now,
            )
        )
    async with month.books() as session:
        return await marks.of(session, watermark_id)


async def written(
    month: Month, of: Marked, folder: Path, *, organization_id: UUID | None = BOOKS[0]
) -> dict[str, bytes]:
    """All files of an export by name."""
    wanted = files.files(MAPS, organization_id=organization_id)
    async with reading(month.books, of) as found:
        await writing.into_folder(found, wanted.values(), folder, lambda *_: None)
    return content_of(folder)


def content_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


async def balances(month: Month) -> Counter[str]:
    """What stands in each account over all books, debit positive, as the projections have it."""
    found = Counter[str]()
    for row in await month.owner.fetch("SELECT code, sum(debits - credits) AS n FROM ledger.accounts GROUP BY 1"):
        found[row["code"]] = int(row["n"])
    for code in ("wallet", "held", "issued", "consumed", "expired", "clawed_back"):
        sign = 1 if BY_CODE[code].side == "debit" else -1
        found[code] = sign * int(await month.owner.fetchval(f"SELECT coalesce(sum({code}), 0) FROM ledger.books"))
    return Counter({code: amount for code, amount in found.items() if amount})
