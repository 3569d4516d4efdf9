"""Files of others: what is read of them, and that anything else refuses them whole, naming line and column."""

from datetime import UTC, date, datetime

import pytest

from finance.reconciling import bank_statement, stripe_report
from finance.reconciling.files import StatementRefused

HEAD = "balance_transaction_id,created_utc,currency,gross,fee,net,reporting_category,source_id,automatic_payout_id"
LINE = "txn_1,2026-10-31 08:00:00,usd,5.00,0.45,4.55,charge,ch_1,po_1"
AT = "2026-10-31 08:00:00"


def report(*lines: str, head: str = HEAD) -> bytes:
    return "\n".join((head, *lines)).encode()


def test_amounts_are_read_by_their_digits_and_times_in_utc():
    second = f"txn_2,{AT},USD,-1234567.8,0,-1234567.80,refund,re_1,"
    one, two = stripe_report.parsed(report(LINE, second), "r.csv")
    assert (one.line.amount, one.line.fee, one.line.net, one.payout_id) == (500, 45, 455, "po_1")
    assert one.line.occurred_at == datetime(2026, 10, 31, 8, tzinfo=UTC)
    assert (two.line.amount, two.line.net, two.line.currency, two.payout_id) == (-123456780, -123456780, "usd", None)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (report(LINE, LINE), "line 3, column balance_transaction_id: txn_1 stands there twice"),
        (report(LINE.replace("charge", "gift")), "line 2, column reporting_category: 'gift' is not known"),
        (report(LINE.replace("usd", "eur")), "line 2, column currency: is eur"),
        (report(LINE.replace("4.55", "4.54")), "line 2, column net: 5.00 less 0.45 is not 4.54"),
        (report(LINE.replace("5.00", "5.001")), "line 2, column gross: is not an amount"),
        (report(LINE.replace("5.00", "5e2")), "line 2, column gross: is not an amount"),
        (report(LINE.replace("5.00", '"5,00"')), "line 2, column gross: is not an amount"),
        (report(LINE.replace("5.00", "9" * 17)), "line 2, column gross: is not an amount"),
        (report(LINE.replace(AT, "10/31/2026")), "line 2, column created_utc: is not a time"),
        (report(LINE.replace(AT, "2026-13-31 08:00")), "line 2, column created_utc: is not a time"),
        (report(LINE.replace("txn_1", " ")), "line 2, column balance_transaction_id: is empty"),
        (report(f"{LINE},more"), "line 2: has 10 columns, its header 9"),
        (report(LINE, head=HEAD.replace("created_utc", "created")), "line 1: has no column created_utc"),
        (report(LINE, head=HEAD.replace("source_id", "fee")), "line 1: has a column twice"),
        (b"\xff", "is not text in UTF-8"),
        (b"", "line 1: has no column"),
        (report(f'"{LINE}'), "is not a CSV file"),
    ],
)
def test_a_report_that_cannot_be_compared_is_refused_and_says_where(content, why):
    with pytest.raises(StatementRefused, match=why):
        stripe_report.parsed(content, "r.csv")


def test_a_cell_of_several_lines_does_not_move_the_numbers_of_those_behind_it():
    content = b'date,amount,currency,description\n2026-10-01,1.00,usd,"two\nlines"\n\n2026-10-02,1.001,usd,B\n'
    with pytest.raises(StatementRefused, match="line 5, column amount"):
        bank_statement.parsed(content, "b.csv")
    with pytest.raises(StatementRefused, match="line 2, column amount"):
        bank_statement.parsed(content.replace(b"1.00,", b"x,", 1), "b.csv")


def test_a_line_of_the_bank_that_two_files_have_is_one_and_two_equal_ones_are_two():
    head = "booked_on,currency,amount,description"
    first = bank_statement.parsed(f"{head}\n2026-10-01,usd,1.50,A\n2026-10-01,usd,1.50,A\n".encode(), "a.csv")
    other = bank_statement.parsed(f"\ufeff{head}\r\n2026-10-01,USD,1.5,A\r\n2026-10-02,usd,-2,B\r\n".encode(), "b.csv")
    assert [entry.amount for entry in first] == [150, 150]
    assert first[0].digest == other[0].digest != first[1].digest
    assert (other[1].booked_on, other[1].amount, other[1].reference) == (date(2026, 10, 2), -200, "")


@pytest.mark.parametrize(
    "line", ["31.10.2026,1.00,usd", "2026-10-31,1.00,eur", "2026-10-31,one,usd", "2026-02-30,1,usd"]
)
def test_a_statement_of_the_bank_that_cannot_be_read_is_refused(line):
    with pytest.raises(StatementRefused, match=r"b.csv, line 2, column (date|amount|currency)"):
        bank_statement.parsed(f"date,amount,currency\n{line}\n".encode(), "b.csv")
