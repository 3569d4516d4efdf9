import csv
import hashlib
import io
import json
import os
import stat
from collections import Counter, defaultdict
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from beancount import loader
from beancount.core import data, inventory

from billing.operator_actions import COMMAND_LINE
from billing.refusals import Refused
from finance.exporting import files, marks, writing
from finance.exporting.beancount import account_name
from finance.exporting.cells import decimal, safe
from finance.exporting.counting import Counted, TotalsDiffer
from finance.exporting.files import File
from finance.exporting.manifest import OtherExport
from finance.exporting.manifest import entries_of as entries_of_manifest
from finance.exporting.reading import reading
from ledger import ids
from ledger.chart import BY_CODE, CHART
from ledger.operations import PLATFORM
from tests.books.books import new_id
from tests.finance.exported import (
    MARK,
    NOVEMBER,
    OCTOBER,
    balances,
    content_of,
    empty,
    lived,
    marked,
    receipted,
    reconciled,
    written,
)
from tests.finance.month import BOOKS

GOLDEN = Path(__file__).parents[1] / "golden" / "finance"
RECORD = os.environ.get("PURSER_TESTS_GOLDEN")


def entries_of(text: str) -> list[Any]:
    """What beancount reads, which must find nothing wrong."""
    entries, errors, _ = loader.load_string(text)
    assert not errors, errors[:3]
    return entries


def of_beancount(text: str) -> Counter[str]:
    """What stands in each account of ours, minor units, debit positive."""
    found: dict[str, inventory.Inventory] = {}
    for entry in entries_of(text):
        for posting in entry.postings if isinstance(entry, data.Transaction) else ():
            found.setdefault(posting.account, inventory.Inventory()).add_position(posting)
    amounts = Counter[str]()
    for account in CHART:
        for position in found.get(account_name(account), ()):
            assert position.units.currency == account.currency.value
            amounts[account.code] = int(position.units.number * 10**account.currency.scale)
    return Counter({code: amount for code, amount in amounts.items() if amount})


def of_rows(rows) -> Counter[str]:
    """What transfers come to, as they stand in a journal."""
    found = Counter[str]()
    for row in rows:
        account = BY_CODE[row["debit"]]
        assert row["currency"] == account.currency.value
        assert Decimal(row["amount_decimal"]) * 10**account.currency.scale == int(row["amount"])
        found[row["debit"]] += int(row["amount"])
        found[row["credit"]] -= int(row["amount"])
    return Counter({code: amount for code, amount in found.items() if amount})


def csv_of(content: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(content.decode(), newline="")))


def record(found: dict[str, bytes]) -> None:
    GOLDEN.mkdir(exist_ok=True)
    for name, content in found.items():
        (GOLDEN / name).write_bytes(content)


async def test_every_file_is_as_its_golden_file_has_it(month, tmp_path):
    await lived(month)
    await reconciled(month)
    await receipted(month)
    found = await written(month, await marked(month), tmp_path / "files")
    if RECORD:
        record(found)
    golden = content_of(GOLDEN)
    assert sorted(found) == sorted(golden)
    for name, content in golden.items():
        assert found[name] == content, f"{name} differs; PURSER_TESTS_GOLDEN=1 writes it anew, read what has changed"
    assert len(csv_of(found["receipts.csv"])) == 1


async def test_what_is_exported_comes_to_what_stands_in_the_books(month, tmp_path):
    await lived(month)
    first = await written(month, await marked(month, OCTOBER, new_id()), tmp_path / "10")
    second = await written(month, await marked(month), tmp_path / "11")
    december = await written(month, await marked(month, NOVEMBER.next, new_id()), tmp_path / "12")
    books = await balances(month)
    exports = (first, second, december)
    assert of_rows(row for one in exports for row in csv_of(one["journal.csv"])) == books
    assert of_rows(json.loads(line) for one in exports for line in one["journal.jsonl"].splitlines()) == books
    assert of_beancount(december["ledger.beancount"].decode()) == books
    closing = {row["account"]: int(row["closing"]) for row in csv_of(december["trial-balance.csv"])}
    assert Counter({code: n for code, n in closing.items() if n}) == books
    for earlier, later in ((first, second), (second, december)):
        closed = {row["account"]: row["closing"] for row in csv_of(earlier["trial-balance.csv"])}
        opened = {row["account"]: row["opening"] for row in csv_of(later["trial-balance.csv"])}
        assert {code: opened[code] for code in closed} == closed
        assert (
            csv_of(earlier["statement.csv"])[-1]["available_after"]
            == csv_of(later["statement.csv"])[0]["available_after"]
        )
    [total] = [row for row in csv_of(december["roll-forward.csv"]) if row["organization_id"] == "total"]
    assert int(total["closing_cents"]) == -books["deferred_revenue"]


async def test_each_assertion_of_the_beancount_file_is_one_that_beancount_checks(month, tmp_path):
    await lived(month)
    text = (await written(month, await marked(month), tmp_path))["ledger.beancount"].decode()
    asserted = [entry for entry in entries_of(text) if isinstance(entry, data.Balance)]
    assert len({entry.date for entry in asserted}) >= 4
    assert {entry.account for entry in asserted if entry.date == NOVEMBER.next.first_day} == {
        line.split()[2] for line in text.splitlines() if " open " in line
    }
    for wrong in (text.replace("-0.45 USD", "-0.46 USD"), text.replace("0.45 USD", "0.46 USD")):
        assert wrong != text
        assert loader.load_string(wrong)[1]


async def test_the_same_watermark_gives_the_same_bytes_whatever_is_posted_later(month, tmp_path):
    await lived(month)
    mark = await marked(month)
    before = await written(month, mark, tmp_path / "before")
    for day in (month.now, month.now.replace(month=11, day=9)):
        await month.pay(BOOKS[1], 50, 50, event_at=day)
    assert await written(month, mark, tmp_path / "after") == before
    assert await written(month, await marked(month, NOVEMBER, new_id()), tmp_path / "anew") != before


async def test_the_manifest_says_what_each_file_is(month, tmp_path):
    await lived(month)
    mark = await marked(month)
    found = await written(month, mark, tmp_path)
    manifest = json.loads(found.pop("manifest.json"))
    assert manifest["watermark"] == {
        "id": mark.name, "kind": "mark", "digest": mark.digest.hex(), "books": 4,
        "created_at": "2026-12-01T23:59:59.999999Z",
    }  # fmt: skip
    entries = {entry["name"]: entry for entry in manifest["files"]}
    assert entries.keys() == found.keys()
    for name, content in found.items():
        assert (entries[name]["bytes"], entries[name]["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())
    for name in ("journal.csv", "trial-balance.csv", "roll-forward.csv", "receipts.csv", "heads.csv"):
        assert entries[name]["rows"] == len(csv_of(found[name]))
    journals = [entries[name]["totals"] for name in ("journal.csv", "journal.jsonl", "ledger.beancount")]
    assert journals == [entries["trial-balance.csv"]["totals"]] * 3
    assert journals[0].keys() >= {"USD", "USDC", "ETH", "CREDIT"}
    xero = (Path(files.__file__).parent / "maps" / "xero.yaml").read_bytes()
    assert entries["accounting-xero.csv"]["notes"]["account_map_sha256"] == hashlib.sha256(xero).hexdigest()
    assert "ether" not in str(entries["journal.csv"]["notes"])
    assert entries["accounting-xero.csv"]["notes"]["ETH"].startswith("left out")


async def test_a_manifest_over_http_is_the_one_in_the_folder(month, tmp_path):
    await lived(month)
    mark = await marked(month)
    found = await written(month, mark, tmp_path)
    wanted = files.files({name: files.ready_map(name) for name in files.READY_MAPS}, organization_id=BOOKS[0])
    async with reading(month.books, mark) as of:
        streamed = b"".join([chunk async for chunk in writing.manifest_chunks(of, wanted.values())])
        journal = b"".join([chunk async for chunk in writing.file_chunks(wanted["journal.csv"], of)])
    assert (streamed, journal) == (found["manifest.json"], found["journal.csv"])


@pytest.mark.parametrize("sealed", [False, True])
async def test_what_is_reconciled_later_is_not_in_an_export(month, tmp_path, sealed):
    await lived(month)
    made = await sealed_as(month) if sealed else await make(month)
    before = await written(month, made, tmp_path / "before")
    assert csv_of(before["reconciliation.csv"]) == []
    await reconciled(month, at=made.created_at - timedelta(days=1))  # one that ended late
    assert await written(month, await again(month, made.name), tmp_path / "after") == before
    if not sealed:
        anew = await make(month, later_s=1)
        assert len(csv_of((await written(month, anew, tmp_path / "anew"))["reconciliation.csv"])) == 3
    else:
        assert await make(month) == made


async def test_a_month_is_not_marked_again_while_nothing_has_changed(month):
    await lived(month)
    first = await make(month)
    assert await make(month) == first
    [[count]] = await month.owner.fetch("SELECT count(*) FROM finance.watermarks")
    assert count == 1
    assert (await make(month, OCTOBER)).name != first.name
    await reconciled(month)
    second = await make(month, later_s=1)
    await month.spend(BOOKS[0], 1)
    third = await make(month, later_s=2)
    assert len({first.id, second.id, third.id}) == 3
    assert await make(month, later_s=3) == third


async def test_a_folder_is_of_one_export_and_files_come_to_it_one_by_one(month, tmp_path):
    await lived(month)
    one, other = await marked(month), await marked(month, OCTOBER, new_id())
    whole = await written(month, one, tmp_path)
    few = [known for name, known in files.files({}).items() if name in {"heads.csv", "journal.csv"}]
    async with reading(month.books, one) as of:
        await writing.into_folder(of, few, tmp_path, lambda *_: None)
    assert content_of(tmp_path) == whole
    (tmp_path / "journal.jsonl").unlink()
    async with reading(month.books, one) as of:
        await writing.into_folder(of, few, tmp_path, lambda *_: None)
    listed = {entry["name"] for entry in json.loads(content_of(tmp_path)["manifest.json"])["files"]}
    assert listed == whole.keys() - {"journal.jsonl", "manifest.json"}
    async with reading(month.books, other) as of:
        before = content_of(tmp_path)
        with pytest.raises(OtherExport, match="an export of '2026-11' under 'export_"):
            await writing.into_folder(of, few, tmp_path, lambda *_: None)
        assert content_of(tmp_path) == before
        await writing.into_folder(of, few, tmp_path, lambda *_: None, force=True)
    entries = json.loads(content_of(tmp_path)["manifest.json"])["files"]
    assert [entry["name"] for entry in entries] == ["heads.csv", "journal.csv"]


@pytest.mark.parametrize("said", ["x", "[]", '{"files":[{"name":"a","bytes":1e999}]}', '{"files":[]}'])
def test_a_manifest_that_is_none_is_of_no_export(said):
    nobodys = marks.Marked(MARK, NOVEMBER, False, 0, b"", None, NOVEMBER.ends_at)
    with pytest.raises(OtherExport, match="cannot be read"):
        entries_of_manifest(said.encode(), nobodys)


async def test_only_the_owner_may_read_what_is_exported_and_no_link_is_followed(month, tmp_path):
    await empty(month)
    folder, elsewhere = tmp_path / "export", tmp_path / "elsewhere"
    folder.mkdir()
    elsewhere.write_text("mine")
    (folder / "heads.csv.part").symlink_to(elsewhere)
    await written(month, await marked(month), folder)
    await written(month, await marked(month, NOVEMBER, new_id()), tmp_path / "new")
    assert elsewhere.read_text() == "mine"
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}


def older(folder: Path) -> None:
    (folder / "manifest.json").write_text("of another export")


async def test_an_export_that_does_not_balance_has_no_manifest(month, tmp_path):
    async def broken(_, counted: Counted):
        counted.debits["USD"] += 1
        yield b"x"

    await empty(month)
    mark = await marked(month)
    older(tmp_path)
    async with reading(month.books, mark) as of:
        with pytest.raises(TotalsDiffer):
            await writing.into_folder(of, [File("a.csv", "text/csv", broken)], tmp_path, lambda *_: None, force=True)
    assert content_of(tmp_path) == {}


async def test_no_cell_of_a_stranger_is_a_formula(month, tmp_path):
    await lived(month)
    found = await written(month, await marked(month), tmp_path)
    cells = [cell for name, content in found.items() if name.endswith(".csv")
             for row in csv.reader(io.StringIO(content.decode(), newline="")) for cell in row]  # fmt: skip
    dangerous = {cell for cell in cells if cell.startswith(("=", "+", "-", "@", "\t", "\r"))}
    assert all(Decimal(cell) < 0 for cell in dangerous)
    assert "'-1+1|cmd" in cells
    assert any(cell.startswith("'=HYPERLINK") for cell in cells)
    assert '"cause":"=HYPERLINK' in found["journal.jsonl"].decode()


@pytest.mark.parametrize("said", ["=1", "+1", "-1", "@a", "\t=1", "\r=1", "\n=1", "＝1"])
def test_a_text_that_begins_like_a_formula_gets_an_apostrophe(said):
    assert safe(said) == "'" + said
    assert safe("x" + said) == "x" + said


@pytest.mark.parametrize(
    ("minor", "scale", "text"),
    [(0, 2, "0.00"), (-5, 2, "-0.05"), (12345, 2, "123.45"), (7, 0, "7"), (-1, 9, "-0.000000001")],
)
def test_an_amount_has_all_digits_of_its_currency(minor, scale, text):
    assert decimal(minor, scale) == text


async def test_accounting_journals_balance_each_day_in_dollars(month, tmp_path):
    await lived(month)
    found = await written(month, await marked(month), tmp_path)
    xero, quickbooks = csv_of(found["accounting-xero.csv"]), csv_of(found["accounting-quickbooks.csv"])
    days, sides, accounts = (
        defaultdict[str, Decimal](Decimal),
        defaultdict[str, Decimal](Decimal),
        defaultdict[str, Decimal](Decimal),
    )
    for row in xero:
        days[row["*Date"]] += Decimal(row["*Amount"])
        accounts[row["*AccountCode"]] += Decimal(row["*Amount"])
    for row in quickbooks:
        sides[row["JournalNo"]] += Decimal(row["Debits"] or 0) - Decimal(row["Credits"] or 0)
    assert len(days) == len(sides) > 2
    assert not any(days.values())
    assert not any(sides.values())
    usdc_at_par = files.ready_map("xero").accounts["conversion"]
    assert accounts[usdc_at_par] == Decimal("7.00")


async def test_a_mark_is_taken_for_an_open_month_and_found_again_by_its_name(month):
    await lived(month)
    made = await marks.make(month.books, NOVEMBER, by=COMMAND_LINE, reason="a test", now=month.now)
    nobodys = ids.external("close", MARK)
    async with month.books() as session:
        assert await marks.named(session, made.name) == made
        assert made in await marks.listed(session, limit=10)
        for unknown in (made.name.replace("export_", "close_"), "export_0", "close_", "x", nobodys):
            with pytest.raises(Refused):
                await marks.named(session, unknown)
    assert (made.kind, made.books) == ("mark", 4)


async def make(month, period=NOVEMBER, *, later_s=0):
    now = month.now + timedelta(seconds=later_s)
    return await marks.make(month.books, period, by=COMMAND_LINE, reason="a test", now=now)


async def again(month, name):
    return await marks.again(month.books, name, by=COMMAND_LINE, now=month.now)


async def sealed_as(month):
    """The seal of November, closed without its walk; not exported yet."""
    seal = await marked(month)
    await month.owner.execute(
        "INSERT INTO finance.closes (id, period, first_day, last_day, state, holder, reason, seal, started_at)"
        " VALUES ($1, '2026-11', '2026-11-01', '2026-11-30', 'sealed', 'pytest', 'test', $2, now())",
        MARK, seal.digest,
    )  # fmt: skip
    await month.owner.execute("SET session_replication_role = replica; UPDATE finance.watermarks SET is_seal = true;"
                              " DELETE FROM finance.exports; SET session_replication_role = origin")  # fmt: skip
    return await again(month, ids.external("close", MARK))


async def test_a_closed_month_is_exported_under_its_seal(month, tmp_path):
    await lived(month)
    await sealed_as(month)
    for _ in range(2):
        made = await make(month)
        assert (made.id, made.kind, made.name[:6]) == (MARK, "seal", "close_")
    statement = await written(month, made, tmp_path, organization_id=PLATFORM)
    assert [row["row"] for row in csv_of(statement["statement.csv"])] == ["opening", "closing"]
